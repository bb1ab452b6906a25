"""Test training in child processes: same students, figures and errors, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student
from tutelage.student.training.adaptive_selection import AdaptiveSelection
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.losses import Objective
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.child import Job
from tutelage.student.training.processes.side_by_side import processes_for, threads_for, train_side_by_side

LABELS = ["refund", "status"]

# A parent that trains for minutes, to be killed.
PARENT = """
import json, sys
from pathlib import Path
from tutelage.student.training.processes.child import Job
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.side_by_side import train_side_by_side
job = Job.read(Path(sys.argv[1]))
report = Observer(step=lambda number, of: print(number, flush=True))
train_side_by_side([job, job], Path(sys.argv[2]), processes=2, observers=[report, report])
"""


def children_of(folder: Path) -> list[int]:
    """Return the ids of the processes that train in this folder, found by their open standard input."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            words, path = (one / "cmdline").read_bytes().split(b"\0"), (one / "environ").read_bytes()
        except OSError:
            continue
        if b"tutelage.student.training.processes.child" in words and f"TEST_FOLDER={folder}".encode() in path:
            found.append(int(one.name))
    return found


def test_a_job_is_the_same_after_it_was_written_and_read(easy: list[Row], tmp_path: Path) -> None:
    config = TrainingConfig(
        fields=("first", "second"), objective=Objective(adaptive_selection=AdaptiveSelection()), average=0.1
    )
    job = Job(easy, LABELS, config, 7, 2)
    job.write(tmp_path / "job")
    assert Job.read(tmp_path / "job") == job


@pytest.mark.slow
def test_students_of_children_equal_those_of_this_process_and_figures_come_in_order(
    quick: TrainingConfig, encoder, easy: list[Row], tmp_path: Path
) -> None:
    absurd = replace(quick, min_steps=100, learning_rate=50.0)  # restarts, which are logged
    jobs = [Job(easy, LABELS, config, seed, 1) for seed, config in enumerate([quick, absurd, quick])]
    logged: list[tuple[int, dict[str, object]]] = []
    steps: list[int] = []
    observers = [
        Observer(lambda n=n, **figures: logged.append((n, figures)), lambda number, of, n=n: steps.append(n))
        for n in range(3)
    ]
    torch.set_num_threads(1)
    found = train_side_by_side(jobs, tmp_path / "jobs", processes=2, observers=observers)
    texts = [row["text"] for row in easy]
    for job, folder in zip(jobs, found, strict=True):
        here = train(easy, LABELS, job.training_config, seed=job.seed, encoder=encoder)
        there = load_student(folder, encoder=encoder)
        np.testing.assert_array_equal(there.logits(texts), here.logits(texts))
    assert logged == [(1, {"restarted": 2})]
    assert steps == sorted(steps)  # only of the first job at work
    assert steps.count(0) == 60


@pytest.mark.slow
def test_errors_of_a_child_arrive_and_end_all_children(
    quick: TrainingConfig, easy: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    unusable = [Row(**{**row, "weight": -1.0}) for row in easy]
    jobs = [Job(rows, LABELS, quick, 0, 1) for rows in (easy, unusable)]
    with pytest.raises(InputError, match="weights of rows must be finite"):
        train_side_by_side(jobs, tmp_path / "a", processes=2, observers=[Observer(), Observer()])
    unknown = Job(easy, ["refund"], quick, 0, 1)
    with pytest.raises(RuntimeError, match="status"):
        train_side_by_side([unknown], tmp_path / "b", processes=1, observers=[Observer()])
    assert not children_of(tmp_path)


@pytest.mark.slow
def test_an_exception_of_an_observer_ends_all_children_and_writes_no_student(
    quick: TrainingConfig, easy: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))

    def stop(number: int, of: int) -> None:
        assert len(children_of(tmp_path)) == 2
        raise KeyboardInterrupt

    jobs = [Job(easy, LABELS, replace(quick, min_steps=100_000), seed, 1) for seed in range(2)]
    with pytest.raises(KeyboardInterrupt):
        train_side_by_side(jobs, tmp_path / "jobs", processes=2, observers=[Observer(step=stop)] * 2)
    assert not children_of(tmp_path)
    assert not list(tmp_path.rglob("student*"))


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["parent", "child"])
def test_killing_the_parent_or_a_child_leaves_no_process_and_no_student(
    quick: TrainingConfig, easy: list[Row], tmp_path: Path, whom: str
) -> None:
    Job(easy, LABELS, replace(quick, min_steps=100_000), 0, 1).write(tmp_path / "job")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "job"), str(tmp_path / "jobs")],
        env={**os.environ, "TEST_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    assert parent.stdout.readline() == "1\n"  # the first step
    children = children_of(tmp_path)
    assert len(children) == 2
    os.kill(parent.pid if whom == "parent" else children[0], signal.SIGKILL)
    _, error = parent.communicate(timeout=60)
    assert whom == "parent" or "the process that trained a student ended" in error
    end = time.monotonic() + 60
    while children_of(tmp_path) and time.monotonic() < end:
        time.sleep(0.1)
    assert not children_of(tmp_path)
    assert not list(tmp_path.rglob("student*"))


def test_threads_are_shared_and_short_trainings_stay_in_this_process() -> None:
    config, before = TrainingConfig(device="cpu"), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert processes_for(config, 400, 3) == 0
        torch.set_num_threads(2)
        assert processes_for(config, 400, 3) == 2
        assert processes_for(replace(config, probe_first=True, epochs=0), 400, 3) == 0
        assert processes_for(replace(config, mode="head"), 5000, 3) == 0
        assert [threads_for(number, 3, 2) for number in range(3)] == [1, 1, 2]
        torch.set_num_threads(8)
        assert processes_for(config, 400, 3) == 3
        assert [threads_for(number, 3, 3) for number in range(3)] == [2, 2, 2]
    finally:
        torch.set_num_threads(before)
