"""Killed processes: a resumed run has the results of an unbroken one and pays for nothing twice."""

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
from tutelage.graph.opening import claim, describe
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task, load_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student

# Where each process is killed: at the end of every node, when its work is done and its checkpoint is not
# written, and between the calls of the nodes that call the teacher.
KILLS = [
    ("leave", "prepare", 0), ("leave", "evaluate", 0), ("call", "calibrate", 0), ("call", "generator", 1),
    ("leave", "screen", 1), ("call", "labeler", 1), ("leave", "critic", 1), ("leave", "keep", 1),
    ("leave", "train", 1), ("leave", "evaluate", 1), ("leave", "analyst", 2), ("leave", "generator", 2),
    ("leave", "refit", 2), ("leave", "report", 2),
]  # fmt: skip

# One process loads the libraries once and forks a child for every start of the run.
PARENT = """
import json, os, signal, sys
import chromadb, torch, transformers, langgraph.checkpoint.sqlite, langchain_openai
import matplotlib.figure, transformers.models.bert.modeling_bert
from pathlib import Path
from tutelage.graph.runs.run import run, resume

task, folder, kills = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
for kill in [*kills, None]:
    child = os.fork()
    if not child:
        def listener(event):
            if [event["event"], event["node"], event["round"]] == kill:
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
def task_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a small version of the bundled task; keyword arguments replace parts."""

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
    """Return a function that writes a task of one small round on three folds, with unlabelled texts.

    The student is a head, and the teacher is at a URL. With `labelled=False` the task has no labelled rows.
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


@pytest.mark.slow
def test_a_run_killed_in_every_node_has_the_results_of_an_unbroken_run(
    task_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = task_file(teacher={"model": "openai:rehearsal", "base_url": url, "concurrency": 2})
        codes = _run_killed(task, tmp_path / "killed", KILLS)
        assert codes == [signal.SIGKILL] * len(KILLS) + [0]
        killed_requests = _count(log)
        log.clear()
        assert _run_killed(task, tmp_path / "whole", []) == [0]
    killed, whole = RunFolder(tmp_path / "killed"), RunFolder(tmp_path / "whole")
    _assert_same_results(killed, whole)
    assert killed.about()["test_by_round"] == whole.about()["test_by_round"]
    texts = ["where is my parcel?", "the lid is cracked"]
    probabilities = [load_student(folder.student).predict_proba(texts) for folder in (killed, whole)]
    assert np.allclose(*probabilities, atol=1e-4)
    _assert_paid_once(killed_requests, _count(log), KILLS)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_on_folds_killed_in_every_node_has_the_results_of_an_unbroken_run(
    folded_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = folded_file(url)
        assert _run_killed(task, tmp_path / "whole", []) == [0]
        whole, whole_requests = RunFolder(tmp_path / "whole"), _count(log)
        kills = _kill_points(whole)
        nodes = {node for _, node, _ in kills}
        assert nodes >= {"calibrate", "analyst", "pool", "generator", "labeler", "critic", "refit", "report"}
        assert ("call", "refit", 1) in kills, "labels of random texts for the comparison"
        log.clear()
        assert _run_killed(task, tmp_path / "killed", kills) == [signal.SIGKILL] * len(kills) + [0]
    killed = RunFolder(tmp_path / "killed")
    _assert_same_results(killed, whole)
    assert killed.control_labels.read_text() == whole.control_labels.read_text()
    names = [arm["name"] for arm in whole.about()["comparison"]["arms"]]
    assert names == ["labels_alone", "self_trained", "random", "chosen", "all"]
    _assert_paid_once(_count(log), whole_requests, kills)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_without_labelled_rows_killed_in_every_node_has_the_results_of_an_unbroken_run(
    folded_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = folded_file(url, labelled=False)
        assert _run_killed(task, tmp_path / "whole", []) == [0]
        whole, whole_requests = RunFolder(tmp_path / "whole"), _count(log)
        kills = [
            ("call", "first_labels", 0), ("leave", "first_labels", 0), ("leave", "train", 0),
            ("leave", "calibrate", 0), ("call", "labeler", 1), ("leave", "train", 1), ("leave", "refit", 1),
        ]  # fmt: skip
        log.clear()
        assert _run_killed(task, tmp_path / "killed", kills) == [signal.SIGKILL] * len(kills) + [0]
    killed = RunFolder(tmp_path / "killed")
    _assert_same_results(killed, whole)
    assert killed.first_labels.read_text() == whole.first_labels.read_text()
    assert killed.rows_to_check.read_text() == whole.rows_to_check.read_text()
    assert killed.about()["notes"] == whole.about()["notes"]
    assert any("no row was labelled by a person" in note for note in whole.about()["notes"])
    assert len(whole.first_labels.read_text().splitlines()) > 90
    _assert_paid_once(_count(log), whole_requests, kills)


@pytest.mark.slow
def test_a_run_interrupted_by_ctrl_c_while_texts_are_written_can_be_resumed(
    task_file: Callable[..., Path], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tutelage.cli", "run", str(task_file()), "--out", str(tmp_path / "run")],
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
    assert f"stopping; continue later with `tutelage resume {tmp_path / 'run'}`" in rest
    assert f"stopped; continue with `tutelage resume {tmp_path / 'run'}`" in rest
    folder = resume(tmp_path / "run")
    assert folder.about()["stop"] == "2 rounds are done"


def test_resuming_a_finished_run_changes_nothing(
    task_file: Callable[..., Path], encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(task_file(budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    trace = folder.trace.read_text()
    resume(folder.path)
    assert folder.trace.read_text() == trace


def test_a_run_that_is_older_than_a_field_of_its_task_goes_on(
    task_file: Callable[..., Path], tmp_path: Path
) -> None:
    task, folder = load_task(task_file()), RunFolder(tmp_path / "run")
    about = describe(task, load_splits(task))
    fields = {name: value for name, value in about["task"].items() if name != "chroma"}
    folder.create({**about, "task": fields})
    claim(folder, about)
    with pytest.raises(InputError, match=r"the task changed after the run in .* began; undo this"):
        claim(folder, {**about, "task": {**about["task"], "duplicate_above": 0.5}})


@pytest.mark.slow
@pytest.mark.long
def test_a_run_with_a_full_student_killed_around_training_has_the_same_results(
    task_file: Callable[..., Path], tiny_bert: Callable[..., str], tmp_path: Path
) -> None:
    student = {"mode": "full", "base": tiny_bert(tmp_path / "tiny"), "epochs": 1, "min_steps": 20}
    task = task_file(student=student, budget={"rounds": 1})
    kills = [("leave", "train", 0), ("leave", "evaluate", 0), ("leave", "train", 1), ("leave", "report", 1)]
    assert _run_killed(task, tmp_path / "killed", kills) == [signal.SIGKILL] * 4 + [0]
    assert _run_killed(task, tmp_path / "whole", []) == [0]
    killed, whole = RunFolder(tmp_path / "killed"), RunFolder(tmp_path / "whole")
    assert killed.about()["test_by_round"] == whole.about()["test_by_round"]
    assert killed.samples.read_text() == whole.samples.read_text()


@pytest.mark.slow
def test_building_the_graph_on_the_folder_of_a_finished_run_repeats_it_without_paying(
    task_file: Callable[..., Path], tmp_path: Path
) -> None:
    first = build_graph(task_file(), tmp_path / "run").invoke({"rounds": 2})
    folder = RunFolder(tmp_path / "run")
    samples, spent = folder.samples.read_text(), folder.about()["spent"]
    second = build_graph(task_file(), tmp_path / "run").invoke({"rounds": 2})
    assert folder.samples.read_text() == samples
    assert folder.about()["spent"] == spent
    assert second["test"] == first["test"]


def test_a_run_folder_is_locked_by_one_process(task_file: Callable[..., Path], tmp_path: Path) -> None:
    refusals = []

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "enter" and event["node"] == "analyst" and not refusals:
            with pytest.raises(InputError, match="another process is using") as caught:
                resume(tmp_path / "run")
            refusals.append(caught)

    run(task_file(budget={"rounds": 1}), tmp_path / "run", listener=listener)
    assert refusals


def _run_killed(task: Path, folder: Path, kills: list[tuple[str, str, int]]) -> list[int]:
    """Start a run once for each kill and once more; return the signal that ended each process, or 0."""
    arguments = [sys.executable, "-c", PARENT, str(task), str(folder), json.dumps(kills)]
    found = subprocess.run(arguments, capture_output=True, text=True, env=os.environ, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    return [int(line) for line in found.stdout.split()]


def _kill_points(folder: RunFolder) -> list[tuple[str, str, int]]:
    """Return where to kill a run like this one: after the first call of every node, and at its end."""
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    places = [(e["event"], e["node"], e["round"]) for e in events if e["event"] in ("call", "leave")]
    return list(dict.fromkeys(places))


def _assert_same_results(killed: RunFolder, whole: RunFolder) -> None:
    """Assert that two runs have the same samples, scores and costs."""
    assert killed.samples.read_text() == whole.samples.read_text()
    assert killed.weaknesses.read_text() == whole.weaknesses.read_text()
    assert killed.read_calibration() == whole.read_calibration()
    assert _without_seconds(killed) == _without_seconds(whole)
    for key in ("stop", "best", "spent", "test", "comparison", "labels_to_check", "overlap"):
        assert killed.about()[key] == whole.about()[key], key


def _count(log: list[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(request, sort_keys=True) for request in log)


def _assert_paid_once(killed: Counter[str], whole: Counter[str], kills: list[tuple[str, str, int]]) -> None:
    """Assert that no call was repeated but those in flight at a kill, `concurrency` of them at most."""
    assert set(killed) == set(whole)
    kills_in_calls = sum(event == "call" for event, _, _ in kills)
    assert sum(killed.values()) - sum(whole.values()) <= 2 * kills_in_calls


def _without_seconds(folder: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in folder.read_rounds()]
