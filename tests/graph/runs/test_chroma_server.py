"""Two runs with the same name and the same texts write to one Chroma server at once, and one is killed."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import chromadb
import pytest
import yaml
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.load import Task
from tutelage.student.corpus import stored_samples

# Where the first run is killed: with a draft stored, with its status updated, and with its texts judged.
KILLS = ["screen", "labeler", "keep"]

PROGRAM = """
import os, signal, sys
from pathlib import Path
from tutelage.graph.runs.run import resume, run

task, folder, node = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def listener(event):
    if (event["event"], event["node"], event["round"]) == ("leave", node, 1):
        os.kill(os.getpid(), signal.SIGKILL)

resume(folder, listener=listener) if folder.exists() else run(task, folder, listener=listener)
"""


def started(task: Path, folder: Path, node: str = "") -> "subprocess.Popen[bytes]":
    """Start a run, or resume it, in a process that is killed at the end of a node."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(task), str(folder), node])


@pytest.mark.slow
@pytest.mark.long
def test_two_runs_at_once_have_the_samples_of_a_run_with_a_folder(
    folded: Callable[..., Task], chroma_at: Callable[..., AbstractContextManager[str]], tmp_path: Path
) -> None:
    raw = json.loads(folded(budget={"rounds": 1}).model_dump_json(exclude_none=True))
    raw["strategy"] = {"base": "auto", "samples": 16, "control": False}
    folders = [tmp_path / place / "first" for place in ("one", "other", "plain")]
    with chroma_at(tmp_path / "data") as server:
        for folder in folders:
            folder.parent.mkdir()
            fields = raw if folder.parent.name == "plain" else raw | {"chroma": server}
            (folder.parent / "task.yaml").write_text(yaml.safe_dump(fields))
        tasks = [folder.parent / "task.yaml" for folder in folders]
        with started(tasks[1], folders[1]) as other:
            for node in KILLS:
                assert started(tasks[0], folders[0], node).wait() == -9
            assert started(tasks[0], folders[0]).wait() == 0
            assert other.wait() == 0
        assert started(tasks[2], folders[2]).wait() == 0
        stored = [stored_samples(RunFolder(folder).corpus) for folder in folders]
        client = chromadb.HttpClient(*server.removeprefix("http://").split(":"))
        drafts = [one.count() for one in client.list_collections() if one.name.endswith(".drafts")]
    assert stored[0] == stored[1] == stored[2]
    assert len(stored[0]) == 16
    samples = [RunFolder(folder).samples.read_text() for folder in folders]
    assert samples[0] == samples[1] == samples[2]
    assert drafts == [len(stored[0])] * 2
