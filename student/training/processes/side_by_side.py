"""Train several students side by side, each in a child process, or one after the other by a launcher's ranks.

A GPU is given back completely when a process ends.
"""

import math
import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from tutelage.student.device import device
from tutelage.student.errors import InputError
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.child import STUDENT, Job
from tutelage.student.training.processes.workers import (
    Child,
    Launched,
    Launcher,
    Report,
    Worker,
    visible_devices,
)

_LEAST = 3000  # samples of a training for which a child's start, 5 CPU seconds, should pay (an estimate)


def processes_for(training_config: TrainingConfig, rows: int, students: int) -> int:
    """Return in how many child processes to train this many students; 0 trains them in this process.

    The threads of torch are shared among the children: one thread, e.g. by OMP_NUM_THREADS=1, means no
    children. With GPUs there is one child for each of them, so that their memory is free afterwards.
    """
    import torch

    if training_config.mode == "head":
        return 0
    where = device(training_config.device)
    if where != "cpu":
        return min(students, _devices(where) or 1) if where.startswith("cuda") else 0
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
    jobs: Sequence[Job],
    folder: Path,
    *,
    processes: int,
    observers: Sequence[Observer],
    launcher: Launcher | None = None,
) -> list[Path]:
    """Train the students of jobs in at most `processes` child processes; return the folders of the students.

    Students, scores and logged figures do not depend on the number of processes, as long as `Job.threads`
    does not. Figures are logged in the order of the jobs. Only the first job at work reports its steps, but
    every observer's exception ends all children. If this process sees several CUDA devices, and `cuda` or
    `auto` is to be used, each child gets one of them in turn.

    With a launcher, its ranks train one student after the other together (data parallelism), and there are no
    other processes.

    Args:
        jobs: at least one.
        folder: a folder for the jobs, which does not exist yet.
        processes: at least one.
        observers: one for each job.
        launcher: the command that starts the ranks.

    Raises:
        InputError: a training raised it, or the launcher ended too early.
        RuntimeError: a training failed, or a child ended.
    """
    waiting, reports = queue.SimpleQueue[int](), queue.SimpleQueue[tuple[int, Report]]()
    folders = [folder / f"job-{number}" for number in range(len(jobs))]
    for number, (job, place) in enumerate(zip(jobs, folders, strict=True)):
        job.write(place)
        waiting.put(number)
    workers = [Launched(launcher, folders)] if launcher else _children(jobs, processes)
    threads = [
        threading.Thread(target=_work, args=(worker, waiting, folders, reports), daemon=True)
        for worker in workers
    ]
    try:
        for thread in threads:
            thread.start()
        figures = _follow(reports, observers)
    finally:
        for worker in workers:
            worker.end()
        for thread in threads:
            thread.join()
    for observer, logged in zip(observers, figures, strict=True):
        if logged:
            observer.log(**logged)
    return [place / STUDENT for place in folders]


def _children(jobs: Sequence[Job], processes: int) -> list[Child]:
    count = min(processes, len(jobs))
    devices = _devices(device(jobs[0].training_config.device))
    return [Child(shown) for shown in visible_devices(count, devices, os.environ.get("CUDA_VISIBLE_DEVICES"))]


def _devices(where: str) -> int:
    """Return the number of GPUs over which children are dealt out; 0 if the task names another device."""
    import torch

    return torch.cuda.device_count() if where == "cuda" else 0


def _work(
    worker: Worker,
    waiting: "queue.SimpleQueue[int]",
    folders: Sequence[Path],
    reports: "queue.SimpleQueue[tuple[int, Report]]",
) -> None:
    """Give a worker one job after the other, and put its reports into the queue."""
    while not waiting.empty():
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            return
        for report in worker.reports(folders[number]):
            reports.put((number, report))
            if "done" in report or "error" in report:
                break


def _follow(reports: "queue.SimpleQueue[tuple[int, Report]]", observers: Sequence[Observer]) -> list[Report]:
    """Pass reports to the observers until all jobs are done; return the figures of each job."""
    open_jobs, figures = set(range(len(observers))), [Report() for _ in observers]
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
