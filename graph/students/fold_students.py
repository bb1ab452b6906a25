"""Train the students of all folds, in this process or side by side in child processes."""

import shutil
from collections.abc import Callable
from dataclasses import replace

from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import Fold
from tutelage.student.data.rows import Row
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.processes.child import Job
from tutelage.student.training.processes.side_by_side import processes_for, threads_for, train_side_by_side


def fold_processes(ctx: RunContext, training_config: TrainingConfig, rows: int) -> int:
    """Return in how many child processes to train the students of the folds; 0 is in this process."""
    if not ctx.splits.folded or ctx.strategy.objective.knowledge:
        return 0
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
    folder = ctx.folder.student_of(f"{name}.jobs")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(ctx.folder.student_of(name), ignore_errors=True)
    observers = [ctx.observer(fold) for fold in ctx.folds]
    try:
        trained = train_side_by_side(jobs, folder, processes=processes, observers=observers)
        ctx.folder.student_of(name).mkdir(parents=True)
        for fold, student in zip(ctx.folds, trained, strict=True):
            student.rename(ctx.folder.student_of(name, fold))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
