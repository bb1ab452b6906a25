"""Train the students of a run: from scratch, continued from the last round, or refitted on all rows."""

from collections.abc import Sequence
from dataclasses import replace

from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import Fold, members
from tutelage.graph.students.predictions import out_of_fold_probabilities, predict_out_of_fold
from tutelage.graph.students.white_box import distilled
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.decision_thresholds import tune_thresholds, tune_thresholds_out_of_fold
from tutelage.student.training.loop import continue_training
from tutelage.student.training.loop import train as train_student
from tutelage.student.training.losses import Objective


def tune_members(ctx: RunContext, place: str) -> None:
    """Set the decision thresholds of multi-label fold students, each on the rows of the other folds.

    Thresholds tuned on a student's own fold would inflate its out-of-fold score. The probabilities of the
    other rows come from students trained on this fold; the information about its labels that leaks through
    one threshold per label is assumed to be negligible.
    """
    if not ctx.splits.folded or not ctx.task.type.decision_thresholds:
        return
    name, labelled = f"thresholds-{place}", ctx.splits.labelled
    predict_out_of_fold(ctx.folder, ctx.splits, name, members(ctx, place))
    probabilities = ctx.folder.load_array(name, "probabilities")
    for fold, student in members(ctx, place):
        others = [i for i, row in enumerate(labelled) if ctx.splits.folds[row["id"]] != fold]
        rows = [labelled[i] for i in others]
        tune_thresholds_out_of_fold(student, probabilities[others], rows).save(
            ctx.folder.student_of(place, fold)
        )


def fresh_student(
    ctx: RunContext,
    rows: Sequence[Row],
    objective: Objective,
    fold: Fold = None,
    training_config: TrainingConfig | None = None,
) -> Student:
    """Train a student from scratch on these rows; each fold has its own seed."""
    ctx.unload()
    ctx.trace.log(rows=len(rows))
    if objective.knowledge:
        return distilled(ctx, rows, objective.knowledge)
    config = replace(training_config or ctx.training_config(), objective=objective)
    seed = ctx.task.seed + (fold or 0)
    student = train_student(
        rows, ctx.labels, config, seed=seed, encoder=ctx.student_encoder, log=ctx.trace.log
    )
    return student if ctx.splits.folded else tune_thresholds(student, ctx.splits.gate)


def continued_student(ctx: RunContext, start: Student, rows: Sequence[Row]) -> Student:
    """Train a student further on these rows, for `Strategy.repeat` epochs."""
    ctx.unload()
    ctx.trace.log(rows=len(rows))
    strategy = ctx.strategy
    config = replace(ctx.training_config(), epochs=strategy.repeat, objective=strategy.objective)
    student = continue_training(
        start, rows, config, seed=ctx.task.seed, encoder=ctx.student_encoder, log=ctx.trace.log
    )
    return student if ctx.splits.folded else tune_thresholds(student, ctx.splits.gate)


def refitted_student(ctx: RunContext, rows: Sequence[Row], round: int) -> Student:
    """Train a student on all these rows.

    The decision thresholds of a multi-label student are tuned on the out-of-fold probabilities of the given
    round, whose students had similar training sets. Without folds they are copied from the round's student.
    """
    ctx.unload()
    config, seed = replace(ctx.training_config(), objective=ctx.strategy.objective), ctx.task.seed
    student = train_student(
        rows, ctx.labels, config, seed=seed, encoder=ctx.student_encoder, log=ctx.trace.log
    )
    if not ctx.task.type.decision_thresholds:
        return student
    if (probabilities := out_of_fold_probabilities(ctx.folder, ctx.splits, round)) is not None:
        return tune_thresholds_out_of_fold(student, probabilities, ctx.splits.labelled)
    student.thresholds = ctx.student(round).thresholds  # type: ignore[attr-defined]
    return student
