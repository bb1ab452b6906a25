"""The node that trains the students of a round."""

import shutil
import time
from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.committee import folds, member
from tutelage.graph.students.predictions import evaluation, predict_out_of_fold, store_predictions
from tutelage.graph.students.training import fresh_student, train_round_student, tune_members
from tutelage.graph.students.training_rows import training_rows
from tutelage.student.training.loop import untrained_student


def train(ctx: RunContext, state: State) -> State:
    """Train the round's students: from scratch on labelled rows and the samples of promoted rounds and this
    one, each without its own fold; or, with `carry`, continue the best student on the samples of this round.
    """
    kept = [state["best"], *([0] if ctx.strategy.importance else [])]
    ctx.folder.drop_students(kept if state["round"] else [])
    if state["round"] == 0:
        choose_training(ctx)
    train_members(ctx, state["promoted"], state["round"])
    return {}


def predict_untrained(ctx: RunContext) -> None:
    """Store the answers of the student before any training, the baseline of the report."""
    training_config, seed = ctx.task.training_config(), ctx.task.seed
    store_predictions(
        ctx,
        "untouched",
        untrained_student(ctx.labels, training_config, seed=seed, encoder=ctx.student_encoder),
    )


def train_members(ctx: RunContext, promoted: Sequence[int], round: int) -> None:
    """Train the students of a round, unless they are on disk, and save all of them or none."""
    place = ctx.folder.student_of(round)
    if place.exists():
        return  # trained in the comparison of training configurations
    part = f"{place.name}.part"
    shutil.rmtree(ctx.folder.student_of(part), ignore_errors=True)
    for fold in folds(ctx):
        student = train_round_student(ctx, promoted, round, fold)
        student.save(ctx.folder.student_of(part, fold))
        if fold is None:
            ctx.remember(round, student)
    tune_members(ctx, part)
    ctx.folder.student_of(part).rename(place)


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
        place = f"training-{name}"
        for fold in folds(ctx):
            rows = training_rows(ctx, [], fold)
            student = fresh_student(ctx, rows, ctx.strategy.objective, fold, training_config)
            student.save(ctx.folder.student_of(place, fold))
        tune_members(ctx, place)
        predict_out_of_fold(ctx, place, ((fold, member(ctx, place, fold)) for fold in folds(ctx)))
        score = evaluation(ctx, place, "diagnose")["metric"]
        seconds = round(time.monotonic() - start, 1)
        tried.append({"configuration": name, "score": score, "seconds": seconds})
    best = max(tried, key=lambda one: float(str(one["score"])))
    ctx.folder.student_of(f"training-{best['configuration']}").rename(ctx.folder.student_of(0))
    ctx.folder.drop_students([0])
    ctx.folder.write_json(ctx.folder.training, {"chosen": best["configuration"], "tried": tried})
    ctx.trace.log(configurations=tried, chosen=best["configuration"])
