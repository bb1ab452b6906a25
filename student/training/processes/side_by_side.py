"""Train several students side by side, each in a child process (student/training/processes/child.py).

A GPU is given back completely when a child ends.
"""

import json
import math
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tutelage
from tutelage.student.device import device
from tutelage.student.errors import InputError
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.child import STUDENT, Job

_LEAST = 3000  # samples of a training for which a child's start, 5 CPU seconds, should pay (an estimate)


def processes_for(training_config: TrainingConfig, rows: int, students: int) -> int:
    """Return in how many child processes to train this many students; 0 trains them in this process.

    The threads of torch are shared among the children: one thread, e.g. by OMP_NUM_THREADS=1, means no
    children. Students on a GPU are trained in one child, so that its memory is free afterwards.
    """
    import torch

    if training_config.mode == "head":
        return 0
    where = device(training_config.device)
    if where != "cpu":
        return 1 if where.startswith("cuda") else 0
    batch = training_config.batch
    steps = max(training_config.epochs * math.ceil(rows / batch), training_config.steps)
    threads = torch.get_num_threads()
    return min(students, threads) if threads > 1 and steps * batch >= _LEAST else 0


def threads_for(number: int, students: int, processes: int) -> int:
    """Return the threads of a student, by its number from 0: those that train at the same time share all."""
    import torch

    first = number - number % processes
    return max(1, torch.get_num_threads() // min(processes, students - first))


def train_side_by_side(
    jobs: Sequence[Job], folder: Path, *, processes: int, observers: Sequence[Observer]
) -> list[Path]:
    """Train the students of jobs in at most `processes` child processes; return the folders of the students.

    Students, scores and logged figures do not depend on the number of processes, as long as `Job.threads`
    does not. Figures are logged in the order of the jobs. Only the first job at work reports its steps, but
    every observer's exception ends all children.

    Args:
        jobs: at least one.
        folder: a folder for the jobs, which does not exist yet.
        processes: at least one.
        observers: one for each job.

    Raises:
        InputError: a training raised it.
        RuntimeError: a training failed, or a child ended.
    """
    waiting, reports = queue.SimpleQueue[int](), queue.SimpleQueue[tuple[int, dict[str, Any]]]()
    folders = [folder / f"job-{number}" for number in range(len(jobs))]
    for number, (job, place) in enumerate(zip(jobs, folders, strict=True)):
        job.write(place)
        waiting.put(number)
    children = [_start() for _ in range(min(processes, len(jobs)))]
    threads = [
        threading.Thread(target=_work, args=(child, waiting, folders, reports), daemon=True)
        for child in children
    ]
    try:
        for thread in threads:
            thread.start()
        figures = _follow(reports, observers)
    finally:
        for child in children:
            child.kill()
            child.wait()
        for thread in threads:
            thread.join()
    for observer, logged in zip(observers, figures, strict=True):
        if logged:
            observer.log(**logged)
    return [place / STUDENT for place in folders]


def _start() -> "subprocess.Popen[str]":
    root = str(Path(tutelage.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "tutelage.student.training.processes.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C reaches only the parent, which ends its children
    )


def _work(
    child: "subprocess.Popen[str]",
    waiting: "queue.SimpleQueue[int]",
    folders: Sequence[Path],
    reports: "queue.SimpleQueue[tuple[int, dict[str, Any]]]",
) -> None:
    """Give a child one job after the other, and put its reports into the queue."""
    assert child.stdin
    assert child.stdout
    while not waiting.empty():
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            child.stdin.write(f"{folders[number]}\n")
            child.stdin.flush()
        except OSError:  # it has ended, which the next lines find
            pass
        for line in child.stdout:
            report = json.loads(line)
            reports.put((number, report))
            if "done" in report or "error" in report:
                break
        else:
            reports.put((number, {"error": "the process that trained a student ended", "input": False}))


def _follow(
    reports: "queue.SimpleQueue[tuple[int, dict[str, Any]]]", observers: Sequence[Observer]
) -> list[dict[str, Any]]:
    """Pass reports to the observers until all jobs are done; return the figures of each job."""
    open_jobs, figures = set(range(len(observers))), [dict[str, Any]() for _ in observers]
    while open_jobs:
        number, report = reports.get()
        if "step" in report and number == min(open_jobs):
            observers[number].step(*report["step"])
        figures[number] |= report.get("log", {})
        if "done" in report:
            open_jobs.remove(number)
        if "error" in report:
            raise (InputError if report["input"] else RuntimeError)(report["error"])
    return figures
