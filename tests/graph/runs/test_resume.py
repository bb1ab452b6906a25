"""Real processes, killed for real: what was paid is paid once, and the result is the same."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.build import build_graph
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student

# Where each process is killed: at the end of every node, when its work is done and its checkpoint is
# not written, and between the calls of the nodes that pay.
DEATHS = [
    ("leave", "prepare", 0), ("leave", "examine", 0), ("call", "calibrate", 0), ("call", "generator", 1),
    ("leave", "screen", 1), ("call", "labeler", 1), ("leave", "critic", 1), ("leave", "keep", 1),
    ("leave", "train", 1), ("leave", "examine", 1), ("leave", "analyst", 2), ("leave", "generator", 2),
    ("leave", "refit", 2), ("leave", "report", 2),
]  # fmt: skip

# One process loads the libraries once and forks a child for every life of the run.
MOTHER = """
import json, os, signal, sys
import chromadb, torch, transformers, langgraph.checkpoint.sqlite, langchain_openai
import matplotlib.figure, transformers.models.bert.modeling_bert
from pathlib import Path
from tutelage.graph.runs.run import run, resume

task, folder, deaths = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
for death in [*deaths, None]:
    child = os.fork()
    if not child:
        def listener(event):
            if [event["event"], event["node"], event["round"]] == death:
                os.kill(os.getpid(), signal.SIGKILL)
        torch.set_num_threads(1)
        resume(folder, listener=listener) if folder.exists() else run(task, folder, listener=listener)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)
    if not os.WIFSIGNALED(status) and status:
        sys.exit(1)
"""


@pytest.fixture
def shop_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small shop task as a file; keyword arguments replace its parts."""

    def write(**parts: Any) -> Path:
        raw = json.loads(sample_task().model_dump_json(exclude_none=True))
        strategy = {"base": "auto", "samples": 16, "oversample": 2, "critic": "all"}
        raw |= {"student": {"mode": "head"}, "strategy": strategy}
        raw |= {"budget": {"rounds": 2}, **parts}
        for name in ("diagnose", "gate", "test"):
            few = Path(raw["data"][name]["path"]).read_text().splitlines()[:48]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(few))
            raw["data"][name]["path"] = f"{name}.jsonl"
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    return write


@pytest.fixture
def folded_file(folded: Callable[..., Task], tmp_path: Path) -> Callable[..., Path]:
    """Writes a shop task of one small round as a file: labelled rows in three folds, a pool of unlabelled
    texts, a head student and a teacher behind HTTP; without `labelled` no row is.
    """

    def write(url: str, *, labelled: bool = True) -> Path:
        raw = json.loads(folded(budget={"rounds": 1}).model_dump_json(exclude_none=True))
        raw["teacher"] = {"model": "openai:rehearsal", "base_url": url, "concurrency": 2, "calibrate": 24}
        raw["strategy"] = {"base": "auto", "samples": 16}
        raw["data"]["folds"] = 3
        if not labelled:
            del raw["data"]["labelled"]
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    return write


def test_a_run_killed_in_every_node_ends_as_if_nothing_had_happened(
    shop_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = shop_file(teacher={"model": "openai:rehearsal", "base_url": url, "concurrency": 2})
        lives = _live(task, tmp_path / "killed", DEATHS)
        assert lives == [signal.SIGKILL] * len(DEATHS) + [0]
        killed_requests = _counted(log)
        log.clear()
        assert _live(task, tmp_path / "whole", []) == [0]
    killed, whole = RunFolder(tmp_path / "killed"), RunFolder(tmp_path / "whole")
    _alike(killed, whole)
    assert killed.about()["test_by_round"] == whole.about()["test_by_round"]
    texts = ["where is my parcel?", "the lid is cracked"]
    answers = [load_student(folder.student).probabilities(texts) for folder in (killed, whole)]
    assert np.allclose(*answers, atol=1e-4)
    _paid_once(killed_requests, _counted(log), DEATHS)


def test_a_folded_run_with_a_pool_killed_in_every_node_ends_as_if_nothing_had_happened(
    folded_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = folded_file(url)
        assert _live(task, tmp_path / "whole", []) == [0]
        whole, whole_requests = RunFolder(tmp_path / "whole"), _counted(log)
        deaths = _deaths(whole)
        passed = {node for _, node, _ in deaths}
        assert passed >= {"calibrate", "analyst", "pool", "generator", "labeler", "critic", "refit", "report"}
        assert ("call", "refit", 1) in deaths, "labels of random texts, to compare with"
        log.clear()
        assert _live(task, tmp_path / "killed", deaths) == [signal.SIGKILL] * len(deaths) + [0]
    killed = RunFolder(tmp_path / "killed")
    _alike(killed, whole)
    assert killed.control_labels.read_text() == whole.control_labels.read_text()
    names = [arm["name"] for arm in whole.about()["comparison"]["arms"]]
    assert names == ["own", "self_trained", "random", "chosen", "all"]
    _paid_once(_counted(log), whole_requests, deaths)


def test_a_run_that_begins_without_labelled_rows_can_be_killed_too(
    folded_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = folded_file(url, labelled=False)
        assert _live(task, tmp_path / "whole", []) == [0]
        whole, whole_requests = RunFolder(tmp_path / "whole"), _counted(log)
        deaths = [
            ("call", "first_labels", 0), ("leave", "first_labels", 0), ("leave", "train", 0),
            ("leave", "calibrate", 0), ("call", "labeler", 1), ("leave", "train", 1), ("leave", "refit", 1),
        ]  # fmt: skip
        log.clear()
        assert _live(task, tmp_path / "killed", deaths) == [signal.SIGKILL] * len(deaths) + [0]
    killed = RunFolder(tmp_path / "killed")
    _alike(killed, whole)
    assert killed.first_labels.read_text() == whole.first_labels.read_text()
    assert killed.rows_to_check.read_text() == whole.rows_to_check.read_text()
    assert killed.about()["notes"] == whole.about()["notes"]
    assert any("no row was labelled by a person" in note for note in whole.about()["notes"])
    assert len(whole.first_labels.read_text().splitlines()) > 90
    _paid_once(_counted(log), whole_requests, deaths)


def test_interrupted_from_the_keyboard_it_stops_after_the_step_and_can_go_on(
    shop_file: Callable[..., Path], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tutelage.cli", "run", str(shop_file()), "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if "generator" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "stopping after this step" in rest
    assert f"stopped; continue with `tutelage resume {tmp_path / 'run'}`" in rest
    folder = resume(tmp_path / "run")
    assert folder.about()["stop"] == "2 rounds are done"


def test_a_finished_run_is_left_as_it_is(
    shop_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(shop_file(budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    trace = folder.trace.read_text()
    resume(folder.path)
    assert folder.trace.read_text() == trace


def test_a_full_student_killed_around_its_training_is_the_same_in_the_end(
    shop_file: Callable[..., Path], tiny_bert: Callable[..., str], tmp_path: Path
) -> None:
    student = {"mode": "full", "base": tiny_bert(tmp_path / "tiny"), "epochs": 1, "min_steps": 20}
    task = shop_file(student=student, budget={"rounds": 1})
    deaths = [("leave", "train", 0), ("leave", "examine", 0), ("leave", "train", 1), ("leave", "report", 1)]
    assert _live(task, tmp_path / "killed", deaths) == [signal.SIGKILL] * 4 + [0]
    assert _live(task, tmp_path / "whole", []) == [0]
    killed, whole = RunFolder(tmp_path / "killed"), RunFolder(tmp_path / "whole")
    assert killed.about()["test_by_round"] == whole.about()["test_by_round"]
    assert killed.samples.read_text() == whole.samples.read_text()


def test_a_new_start_on_the_folder_of_a_run_replays_it_and_pays_nothing(
    shop_file: Callable[..., Path], tmp_path: Path
) -> None:
    first = build_graph(shop_file(), tmp_path / "run").invoke({"rounds": 2})
    folder = RunFolder(tmp_path / "run")
    samples, spent = folder.samples.read_text(), folder.about()["spent"]
    second = build_graph(shop_file(), tmp_path / "run").invoke({"rounds": 2})
    assert folder.samples.read_text() == samples
    assert folder.about()["spent"] == spent
    assert second["test"] == first["test"]


def test_a_folder_is_held_by_one_process(shop_file: Callable[..., Path], tmp_path: Path) -> None:
    refusals = []

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "enter" and event["node"] == "analyst" and not refusals:
            with pytest.raises(InputError, match="another process is at work") as caught:
                resume(tmp_path / "run")
            refusals.append(caught)

    run(shop_file(budget={"rounds": 1}), tmp_path / "run", listener=listener)
    assert refusals


def _live(task: Path, folder: Path, deaths: list[tuple[str, str, int]]) -> list[int]:
    """How each life of a run ended: the number of the signal, or 0."""
    arguments = [sys.executable, "-c", MOTHER, str(task), str(folder), json.dumps(deaths)]
    found = subprocess.run(arguments, capture_output=True, text=True, env=os.environ, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    return [int(line) for line in found.stdout.split()]


def _deaths(folder: RunFolder) -> list[tuple[str, str, int]]:
    """Where to kill a run like this one: at the end of every node, and after the first call in it."""
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    places = [(e["event"], e["node"], e["round"]) for e in events if e["event"] in ("call", "leave")]
    return list(dict.fromkeys(places))


def _alike(killed: RunFolder, whole: RunFolder) -> None:
    """Two runs that brought the same."""
    assert killed.samples.read_text() == whole.samples.read_text()
    assert killed.weaknesses.read_text() == whole.weaknesses.read_text()
    assert killed.read_calibration() == whole.read_calibration()
    assert _without_seconds(killed) == _without_seconds(whole)
    for key in ("stop", "best", "spent", "test", "comparison", "labels_to_check", "overlap"):
        assert killed.about()[key] == whole.about()[key], key


def _counted(log: list[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(request, sort_keys=True) for request in log)


def _paid_once(killed: Counter[str], whole: Counter[str], deaths: list[tuple[str, str, int]]) -> None:
    """Of the calls in flight at a death at most `concurrency` may be made again; no other ever is."""
    assert set(killed) == set(whole)
    deaths_in_calls = sum(event == "call" for event, _, _ in deaths)
    assert sum(killed.values()) - sum(whole.values()) <= 2 * deaths_in_calls


def _without_seconds(folder: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in folder.read_rounds()]
