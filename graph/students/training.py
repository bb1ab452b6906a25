"""Train the students of a run: from scratch, continued from the last round, or refitted on all rows."""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import Fold, members
from tutelage.graph.students.predictions import evaluation, out_of_fold_probabilities, predict_out_of_fold
from tutelage.graph.students.processes import fold_processes, train_folds_side_by_side, train_one
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.students.white_box import distilled
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.decision_thresholds import tune_thresholds, tune_thresholds_out_of_fold
from tutelage.student.training.loop import continue_training
from tutelage.student.training.losses import Objective


def choose_training(ctx: RunContext) -> None:
    """Compare training configurations out of fold on the labelled rows, and write training.json. The students
    of the best configuration become those of round 0.

    Nothing is compared if the task fixes the configuration or the rows are not folded.
    """
    wanted = ctx.task.training_candidates(len(ctx.splits.labelled))
    ctx.folder.training.unlink(missing_ok=True)
    if len(wanted) < 2 or not ctx.splits.folded:
        return
    tried: list[dict[str, object]] = []
    for number, (name, training_config) in enumerate(wanted.items(), 1):
        start = time.monotonic()
        ctx.trace.write("training", configuration=name, number=number, of=len(wanted))
        stored = f"training-{name}"
        train_folds(ctx, stored, partial(_rows, ctx, []), training_config)
        tune_members(ctx, stored)
        predict_out_of_fold(ctx.folder, ctx.splits, stored, members(ctx, stored))
        score = evaluation(ctx, stored, "diagnose")["metric"]
        seconds = round(time.monotonic() - start, 1)
        tried.append({"configuration": name, "score": score, "seconds": seconds})
    best = max(tried, key=lambda one: float(str(one["score"])))
    ctx.folder.student_of(f"training-{best['configuration']}").rename(ctx.folder.student_of(0))
    ctx.folder.drop_students([0])
    ctx.folder.write_json(ctx.folder.training, {"chosen": best["configuration"], "tried": tried})
    ctx.trace.log(configurations=tried, chosen=best["configuration"])


def train_members(ctx: RunContext, promoted: Sequence[int], round: int) -> None:
    """Train the students of a round, unless they are on disk, and save all of them or none."""
    path = ctx.folder.student_of(round)
    if path.exists():
        return  # trained in the comparison of training configurations
    part = f"{path.name}.part"
    shutil.rmtree(ctx.folder.student_of(part), ignore_errors=True)
    if ctx.splits.folded and not (ctx.strategy.continue_training and round):
        train_folds(ctx, part, partial(_rows, ctx, [*promoted, round]))
    else:
        for fold in ctx.folds:
            student = _round_student(ctx, promoted, round, fold)
            student.save(ctx.folder.student_of(part, fold))
            if fold is None:
                ctx.students.put(round, student)
    tune_members(ctx, part)
    ctx.folder.student_of(part).rename(path)


def train_folds(
    ctx: RunContext,
    name: str,
    rows_of: Callable[[Fold], list[Row]],
    training_config: TrainingConfig | None = None,
) -> None:
    """Train a student from scratch for each fold on `rows_of(fold)`, and save them under a name."""
    config = training_config or ctx.training_config()
    if processes := fold_processes(ctx, config, len(rows_of(ctx.folds[0]))):
        train_folds_side_by_side(ctx, name, rows_of, config, processes)
        return
    for fold in ctx.folds:
        student = fresh_student(ctx, rows_of(fold), ctx.strategy.objective, fold, training_config)
        student.save(ctx.folder.student_of(name, fold))


def _rows(ctx: RunContext, rounds: Sequence[int], fold: Fold = None) -> list[Row]:
    return training_rows(ctx.strategy, ctx.splits, ctx.corpus, rounds, fold)


def _round_student(ctx: RunContext, promoted: Sequence[int], round: int, fold: Fold = None) -> Student:
    """Train the student of a round, or of one of its folds, as the strategy prescribes."""
    rows = _rows(ctx, [*promoted, round], fold)
    if not (ctx.strategy.continue_training and round):
        return fresh_student(ctx, rows, ctx.strategy.objective, fold)
    last = promoted[-1] if promoted else 0
    stored = ctx.folder.student_of(last).exists()  # the end of a run deletes it
    start = ctx.students.get(last) if stored else _round_student(ctx, promoted[:-1], last)
    return continued_student(ctx, start, _new_and_old(ctx, rows, round))


def _new_and_old(ctx: RunContext, rows: Sequence[Row], round: int) -> list[Row]:
    """Return a round's samples and, drawn at random, `replay` times as many earlier rows."""
    new = {sample["id"] for sample in ctx.corpus.drafts(round=round, status="kept")}
    fresh, old = [r for r in rows if r["id"] in new], [r for r in rows if r["id"] not in new]
    replay = ctx.strategy.replay
    count = len(old) if replay == "all" else min(len(old), int(replay * len(fresh)))
    again = random.Random(f"{ctx.task.seed} {round} replay").sample(old, count)
    return fresh + again or list(rows)  # without new samples, train on the old rows


def tune_members(ctx: RunContext, name: str) -> None:
    """Set the decision thresholds of multi-label fold students, each on the rows of the other folds.

    Thresholds tuned on a student's own fold would inflate its out-of-fold score. The probabilities of the
    other rows come from students trained on this fold; the information about its labels that leaks through
    one threshold per label is assumed to be negligible.
    """
    if not ctx.splits.folded or not ctx.task.type.decision_thresholds:
        return
    stored, labelled = f"thresholds-{name}", ctx.splits.labelled
    predict_out_of_fold(ctx.folder, ctx.splits, stored, members(ctx, name))
    probabilities = ctx.folder.load_array(stored, "probabilities")
    for fold, student in members(ctx, name):
        others = [i for i, row in enumerate(labelled) if ctx.splits.folds[row["id"]] != fold]
        rows = [labelled[i] for i in others]
        tune_thresholds_out_of_fold(student, probabilities[others], rows).save(
            ctx.folder.student_of(name, fold)
        )


def fresh_student(
    ctx: RunContext,
    rows: Sequence[Row],
    objective: Objective,
    fold: Fold = None,
    training_config: TrainingConfig | None = None,
) -> Student:
    """Train a student from scratch on these rows; each fold has its own seed."""
    ctx.students.clear()
    ctx.trace.log(rows=len(rows))
    if objective.knowledge:
        return distilled(ctx, rows, objective.knowledge, ctx.observer(fold))
    config = replace(training_config or ctx.training_config(), objective=objective)
    seed = ctx.task.seed + (fold or 0)
    student = train_one(ctx, rows, config, seed, ctx.observer(fold))
    return student if ctx.splits.folded else tune_thresholds(student, ctx.splits.gate)


def continued_student(ctx: RunContext, start: Student, rows: Sequence[Row]) -> Student:
    """Train a student further on these rows, for `Strategy.repeat` epochs."""
    ctx.students.clear()
    ctx.trace.log(rows=len(rows))
    strategy = ctx.strategy
    config = replace(ctx.training_config(), epochs=strategy.repeat, objective=strategy.objective)
    student = continue_training(
        start, rows, config, seed=ctx.task.seed, encoder=ctx.student_encoder, observer=ctx.observer()
    )
    return student if ctx.splits.folded else tune_thresholds(student, ctx.splits.gate)


def refitted_student(ctx: RunContext, rows: Sequence[Row], round: int) -> Student:
    """Train a student on all these rows.

    The decision thresholds of a multi-label student are tuned on the out-of-fold probabilities of the given
    round, whose students had similar training sets. Without folds they are copied from the round's student.
    """
    ctx.students.clear()
    config, seed = replace(ctx.training_config(), objective=ctx.strategy.objective), ctx.task.seed
    student = train_one(ctx, rows, config, seed, ctx.observer())
    if not ctx.task.type.decision_thresholds:
        return student
    if (probabilities := out_of_fold_probabilities(ctx.folder, ctx.splits, round)) is not None:
        return tune_thresholds_out_of_fold(student, probabilities, ctx.splits.labelled)
    student.thresholds = ctx.students.get(round).thresholds  # type: ignore[attr-defined]
    return student
