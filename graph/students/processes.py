"""Train students in this process, side by side in child processes, or by `student.launcher`."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import Fold
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.child import Job
from tutelage.student.training.processes.side_by_side import processes_for, threads_for, train_side_by_side


def train_one(
    ctx: RunContext, rows: Sequence[Row], training_config: TrainingConfig, seed: int, observer: Observer
) -> Student:
    """Train a student from scratch on these rows, by the launcher if the task has one."""
    if not ctx.launcher:
        encoder = ctx.student_encoder
        return train(rows, ctx.labels, training_config, seed=seed, encoder=encoder, observer=observer)
    job = Job(rows, ctx.labels, training_config, seed, threads_for(0, 1, 1))
    with _trained(ctx, "launched", [job], 1, [observer]) as [path]:
        return ctx.students.load(path)


def fold_processes(ctx: RunContext, training_config: TrainingConfig, rows: int) -> int:
    """Return in how many child processes to train the students of the folds; 0 is in this process. With a
    launcher it is 1: all its ranks train one student after the other.
    """
    if not ctx.splits.folded or ctx.strategy.objective.knowledge:
        return 0
    if ctx.launcher:
        return 1
    wanted, students = ctx.task.student.processes, len(ctx.folds)
    if wanted is None or training_config.mode == "head":
        return processes_for(training_config, rows, students)
    return min(wanted, students)


def train_folds_side_by_side(
    ctx: RunContext,
    name: str,
    rows_of: Callable[[Fold], list[Row]],
    training_config: TrainingConfig,
    processes: int,
) -> None:
    """Train a student from scratch for each fold in child processes, and save all under a name or none."""
    ctx.students.clear()
    config = replace(training_config, objective=ctx.strategy.objective)
    rows = [rows_of(fold) for fold in ctx.folds]
    ctx.trace.log(rows=len(rows[-1]))
    jobs = [
        Job(part, ctx.labels, config, ctx.task.seed + number, threads_for(number, len(rows), processes))
        for number, part in enumerate(rows)
    ]
    observers = [ctx.observer(fold) for fold in ctx.folds]
    shutil.rmtree(ctx.folder.student_of(name), ignore_errors=True)
    with _trained(ctx, name, jobs, processes, observers) as trained:
        ctx.folder.student_of(name).mkdir(parents=True)
        for fold, student in zip(ctx.folds, trained, strict=True):
            student.rename(ctx.folder.student_of(name, fold))


@contextmanager
def _trained(
    ctx: RunContext, name: str, jobs: Sequence[Job], processes: int, observers: Sequence[Observer]
) -> Iterator[list[Path]]:
    """Yield the folders of the trained students, which are gone after this block."""
    folder = ctx.folder.student_of(f"{name}.jobs")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield train_side_by_side(
            jobs, folder, processes=processes, observers=observers, launcher=ctx.launcher
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
