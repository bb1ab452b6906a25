"""Train the students of a run: from scratch, continued from the last round, or refitted on all rows."""

import random
from collections.abc import Sequence
from dataclasses import replace

from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import Fold, folds, member
from tutelage.graph.students.predictions import out_of_fold_probabilities, predict_out_of_fold
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.students.white_box import distilled
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.decision_thresholds import tune_thresholds, tune_thresholds_out_of_fold
from tutelage.student.training.loop import train as train_student
from tutelage.student.training.losses import Objective


def tune_members(ctx: RunContext, place: str) -> None:
    """Set the decision thresholds of multi-label fold students, each on the rows of the other folds.

    Thresholds tuned on a student's own fold would inflate its out-of-fold score. The probabilities of the
    other rows come from students trained on this fold; the information about its labels that leaks through
    one threshold per label is assumed to be negligible.
    """
    if not ctx.splits.folded or ctx.task.kind != "multilabel":
        return
    name, labelled = f"thresholds-{place}", ctx.splits.labelled
    predict_out_of_fold(ctx, name, ((fold, member(ctx, place, fold)) for fold in folds(ctx)))
    probabilities = ctx.folder.load_array(name, "probabilities")
    for fold in folds(ctx):
        others = [i for i, row in enumerate(labelled) if ctx.splits.folds[row["id"]] != fold]
        student = member(ctx, place, fold)
        rows = [labelled[i] for i in others]
        tune_thresholds_out_of_fold(student, probabilities[others], rows).save(
            ctx.folder.student_of(place, fold)
        )


def train_round_student(ctx: RunContext, promoted: Sequence[int], round: int, fold: Fold = None) -> Student:
    """Train the student of a round, or of one of its folds, as the strategy prescribes."""
    strategy, rows = ctx.strategy, training_rows(ctx, [*promoted, round], fold)
    if not (strategy.carry and round):
        return fresh_student(ctx, rows, strategy.objective, fold)
    start, rows = _carried(ctx, promoted), _new_and_old(ctx, rows, round)
    return _trained(
        ctx, rows, strategy.objective, replace(ctx.training_config(), epochs=strategy.repeat), start=start
    )


def fresh_student(
    ctx: RunContext,
    rows: Sequence[Row],
    objective: Objective,
    fold: Fold = None,
    training_config: TrainingConfig | None = None,
) -> Student:
    """Train a student from scratch on these rows; each fold has its own seed."""
    if not objective.knowledge:
        return _trained(ctx, rows, objective, training_config or ctx.training_config(), fold=fold)
    ctx.unload()
    ctx.trace.log(rows=len(rows))
    return distilled(ctx, rows, objective.knowledge)


def refitted_student(ctx: RunContext, rows: Sequence[Row], round: int) -> Student:
    """Train a student on all these rows.

    The decision thresholds of a multi-label student are tuned on the out-of-fold probabilities of the given
    round, whose students had similar training sets. Without folds they are copied from the round's student.
    """
    ctx.unload()
    student = train_student(
        rows,
        ctx.labels,
        ctx.training_config(),
        seed=ctx.task.seed,
        encoder=ctx.student_encoder,
        objective=ctx.strategy.objective,
        log=ctx.trace.log,
    )
    if ctx.task.kind != "multilabel":
        return student
    if (probabilities := out_of_fold_probabilities(ctx, round)) is not None:
        return tune_thresholds_out_of_fold(student, probabilities, ctx.splits.labelled)
    student.thresholds = ctx.student(round).thresholds  # type: ignore[attr-defined]
    return student


def _trained(
    ctx: RunContext,
    rows: Sequence[Row],
    objective: Objective,
    training_config: TrainingConfig,
    *,
    start: Student | None = None,
    fold: Fold = None,
) -> Student:
    ctx.unload()
    ctx.trace.log(rows=len(rows))
    student = train_student(
        rows,
        ctx.labels,
        training_config,
        seed=ctx.task.seed + (fold or 0),
        encoder=ctx.student_encoder,
        objective=objective,
        start=start,
        log=ctx.trace.log,
    )
    return student if ctx.splits.folded else tune_thresholds(student, ctx.splits.gate)


def _carried(ctx: RunContext, promoted: Sequence[int]) -> Student:
    """Return the student promoted last, trained again if its folder is gone."""
    last = promoted[-1] if promoted else 0
    if ctx.folder.student_of(last).exists():
        return ctx.student(last)
    return train_round_student(ctx, promoted[:-1], last)


def _new_and_old(ctx: RunContext, rows: Sequence[Row], round: int) -> list[Row]:
    """Return a round's samples and, drawn at random, `replay` times as many earlier rows."""
    new = {sample["id"] for sample in ctx.corpus.drafts(round=round, status="kept")}
    fresh, old = [r for r in rows if r["id"] in new], [r for r in rows if r["id"] not in new]
    replay = ctx.strategy.replay
    count = len(old) if replay == "all" else min(len(old), int(replay * len(fresh)))
    again = random.Random(f"{ctx.task.seed} {round} replay").sample(old, count)
    return fresh + again or list(rows)  # without new samples, train on the old rows
