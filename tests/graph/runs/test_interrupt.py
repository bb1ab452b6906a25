"""Ctrl-C: it says how to go on, stops soon, and the resumed run has the results of an unbroken one."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch.optim.optimizer import register_optimizer_step_post_hook
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import Interrupted
from tutelage.student.models.load import load_student


@pytest.fixture
def task_file(folded: Callable[..., Task], tiny_bert: Callable[..., str], tmp_path: Path) -> Path:
    """Return a task that trains a few tiny students on few rows, and asks no teacher."""
    raw = json.loads(folded(budget={"rounds": 0}).model_dump_json(exclude_none=True))
    raw["student"] = {"base": tiny_bert(tmp_path / "tiny"), "training": "plain", "min_steps": 40}
    raw["teacher"]["calibrate"] = 0
    for name in ("labelled", "test"):
        rows = Path(raw["data"][name]["path"]).read_text(encoding="utf-8").splitlines()[-48:]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    raw["data"] = {"labelled": "labelled.jsonl", "test": "test.jsonl", "folds": 2}
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@contextmanager
def counting_steps(steps: list[object]) -> Iterator[None]:
    """Add every step that an optimizer takes to a list."""
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: steps.append(optimizer))
    try:
        yield
    finally:
        handle.remove()


def test_a_training_stops_between_two_steps_and_the_resumed_run_gives_the_same_student(
    task_file: Path, encoder: Encoder, tmp_path: Path
) -> None:
    interrupted: list[int] = []
    steps: list[object] = []  # of the optimizer: of the `step` events, only a few in a second are told

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["fold"] == 1:
            interrupted.append(len(steps))
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stopped = pytest.raises(Interrupted, match=f"stopped; continue with `tutelage resume {tmp_path / 'run'}`")
    with stopped, counting_steps(steps):
        run(task_file, tmp_path / "run", encoder=encoder, listener=interrupt)
    assert signal.getsignal(signal.SIGINT) == before
    assert interrupted == [40], "in the first step of the second fold"
    assert len(steps) == 41, "that step was finished, and no further one was taken"
    trained = [
        e for e in _events(RunFolder(tmp_path / "run")) if e["event"] == "leave" and e["node"] == "train"
    ]
    assert not trained, "the training was not waited for"
    folder = resume(tmp_path / "run", encoder=encoder)
    whole = run(task_file, tmp_path / "whole", encoder=encoder)
    texts = ["where is my parcel?", "the lid is cracked", "please send the money back"]
    probabilities = [load_student(one.student).predict_proba(texts) for one in (folder, whole)]
    assert np.array_equal(*probabilities)
    assert folder.about()["comparison"] == whole.about()["comparison"]
    assert "step" not in {event["event"] for event in _events(folder)}, "steps are shown, not stored"


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_process_says_at_once_how_to_go_on(times: int, task_file: Path, tmp_path: Path) -> None:
    folder, lines = tmp_path / "run", list[dict[str, Any]]()
    command = [sys.executable, "-m", "tutelage.cli", "run", str(task_file), "--out", str(folder)]
    with subprocess.Popen(
        [*command, "--events", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1]["event"] == "step" and times:
                times -= 1
                process.send_signal(signal.SIGINT)
                time.sleep(0.01)  # two signals at once would be delivered as one
        errors = process.stderr.read()
    assert process.returncode == 130
    assert f"stopping; continue later with `tutelage resume {folder}`" in errors
    assert errors.splitlines()[-1] == f"stopped; continue with `tutelage resume {folder}`"
    assert "Traceback" not in errors
    assert (lines[0]["event"], lines[0]["rounds"]) == ("begin", 0)
    assert (lines[-1]["event"], lines[-1]["state"]) == ("end", "interrupted")
    assert not [e for e in lines if e["event"] == "leave" and e["node"] == "train"], "it was not waited for"


def _events(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.trace.read_text(encoding="utf-8").splitlines()]
