"""Every part past one machine, together on loopback with real servers, by the code of docs/scaling.md.

It is skipped where Postgres is not installed.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import chromadb
import pytest
import yaml
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.student.corpus import stored_samples
from tutelage.student.encoder import Encoder

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
CONCURRENCY, SAMPLES = 2, 16
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the wheel has no pages")


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in a language."""
    pattern = rf'^```{language}(?: title="[^"\n]*")?\n(.*?)^```'
    found: list[str] = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return found


@contextmanager
def chroma(folder: Path) -> Iterator[str]:
    """Run the page's command for a Chroma server in a folder, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    [command] = [block for block in blocks("sh") if block.startswith("chroma run")]
    program, *arguments = shlex.split(command.replace("8000", str(port)))
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    started = [str(Path(sys.executable).with_name(program)), *arguments]
    with subprocess.Popen(started, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            wait(lambda: answers(f"http://127.0.0.1:{port}/api/v2/heartbeat"), server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def answers(url: str) -> bool:
    try:
        return bool(urlopen(url).read())
    except URLError:
        return False


def wait(ready: Callable[[], bool], process: "subprocess.Popen[Any]") -> None:
    end = time.monotonic() + 900  # on a busy machine
    while not ready():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def called(folder: RunFolder, node: str) -> bool:
    """Return whether a node of the run has had a reply."""
    lines = folder.trace.read_text().splitlines(keepends=True) if folder.trace.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return any(event["event"] == "call" and event["node"] == node for event in events)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_on_servers_is_killed_and_goes_on_and_its_student_predicts_in_shards(
    postgres: str, folded: Callable[..., Task], encoder: Encoder, command: Callable[..., Any], tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    folder = RunFolder(tmp_path / "runs" / "first")
    with (
        serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as teacher,
        chroma(tmp_path) as server,
    ):
        real = {"http://localhost:8001/v1": teacher, "http://localhost:8000": server}
        real["postgresql://user@localhost/postgres"] = postgres
        forget, distil = (placed(block, real) for block in blocks("python"))
        (tmp_path / "distil.py").write_text(distil)
        write_task(tmp_path / "task.yaml", folded, [placed(block, real) for block in blocks("yaml")])

        def started() -> "subprocess.Popen[bytes]":
            return subprocess.Popen([sys.executable, "distil.py"], cwd=tmp_path)

        with started() as killed:
            wait(lambda: called(folder, "labeler"), killed)
            killed.send_signal(signal.SIGKILL)
        paid = Counter(json.dumps(request, sort_keys=True) for request in log)
        assert "stop" not in folder.about()
        with started() as again:
            assert again.wait() == 0
        stored = stored_samples(folder.corpus)
        requests = Counter(json.dumps(request, sort_keys=True) for request in log)
        collections = chromadb.HttpClient(*server.removeprefix("http://").split(":")).list_collections
        assert len(collections()) == 3
        with contextlib.chdir(tmp_path):
            exec(forget, {})
        assert collections() == []

    assert folder.about()["stop"] == "1 round is done"
    assert sorted(path.name for path in folder.path.glob("c*")) == [
        "calibration.json",
        "confidence.json",
        "corpus",
    ]
    assert [path.name for path in folder.corpus.iterdir()] == ["server.json"]
    written = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    assert [sample["id"] for sample in stored] == [sample["id"] for sample in written]
    assert len({(sample["round"], sample["attempt"], sample["place"]) for sample in stored}) == len(stored)
    assert len({sample["text"] for sample in stored}) == len(stored) >= SAMPLES
    last = folder.read_rounds()[-1]
    assert Counter(sample["status"] == "kept" for sample in stored) == {
        True: last["samples_kept"],
        False: last["samples_rejected"],
    }
    assert paid <= requests
    assert requests.total() - len(requests) <= CONCURRENCY, "only calls in flight are paid for again"
    predict_in_shards(tmp_path, command)


def placed(block: str, real: dict[str, str]) -> str:
    """Return a block with the addresses of the test's servers."""
    for address, ours in real.items():
        block = block.replace(address, ours)
    return block


def write_task(path: Path, folded: Callable[..., Task], sections: list[str]) -> None:
    """Write the small task with the sections of the page."""
    task = json.loads(folded(budget={"rounds": 1}).model_dump_json(exclude_none=True))
    for section in sections:
        task |= yaml.safe_load(section)
    task["teacher"] |= {"concurrency": CONCURRENCY, "calibrate": 24}
    task["strategy"] = {"base": "auto", "samples": SAMPLES, "control": False}
    path.write_text(yaml.safe_dump(task))


def predict_in_shards(folder: Path, command: Callable[..., Any]) -> None:
    """Run the page's commands for shards, and compare their result with that of one process."""
    texts = [f"where is parcel {i} of {i % 13}?" if i % 50 else "" for i in range(2_500)]
    (folder / "pool.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    [shards] = [block for block in blocks("sh") if block.startswith("tutelage predict")]
    for line in shards.splitlines():
        if line.startswith("tutelage "):
            assert command(*shlex.split(line)[1:], cwd=folder).returncode == 0
        else:
            subprocess.run(line, shell=True, check=True, cwd=folder)
    whole = ["predict", "runs/first", "--file", "pool.jsonl", "--to", "whole.jsonl"]
    assert command(*whole, cwd=folder).returncode == 0
    assert (folder / "predicted.jsonl").read_text() == (folder / "whole.jsonl").read_text()
    assert len((folder / "predicted-1-of-2.jsonl").read_text().splitlines()) == 1_024
