"""The nodes that train students: `train` those of a round, and `final` the last one of GOLD."""

import random
import shutil
import time
from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold, members
from tutelage.graph.students.predictions import evaluation, predict_out_of_fold, store_predictions
from tutelage.graph.students.training import continued_student, fresh_student, tune_members
from tutelage.graph.students.training_rows import training_rows
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.loop import untrained_student


def train(ctx: RunContext, state: State) -> State:
    """Train the round's students: from scratch on labelled rows and the samples of promoted rounds and this
    one, each without its own fold; or, with `continue_training`, go on with the student promoted last.
    """
    kept = [state["best"], *([0] if ctx.strategy.importance else [])]
    ctx.folder.drop_students(kept if state["round"] else [])
    if state["round"] == 0:
        choose_training(ctx)
    train_members(ctx, state["promoted"], state["round"])
    return {}


def final(ctx: RunContext, state: State) -> State:
    """Train a fresh student with the objective `Strategy.final` on the samples of all promoted rounds. This
    round has no samples of its own and is undone if the run is extended later.
    """
    assert ctx.strategy.final, "checked in routes.py"
    number = state["round"] + 1
    rows = training_rows(ctx.strategy, ctx.splits, ctx.corpus, state["promoted"])
    student = fresh_student(ctx, rows, ctx.strategy.final)
    ctx.folder.drop_students([state["best"]])
    student.save(ctx.folder.student_of(number))
    ctx.remember(number, student)
    return {"round": number, "final": True}


def predict_untrained(ctx: RunContext) -> None:
    """Store the answers of the student before any training, the baseline of the report."""
    config, seed, encoder = ctx.task.training_config(), ctx.task.seed, ctx.student_encoder
    student = untrained_student(ctx.labels, config, seed=seed, encoder=encoder)
    store_predictions(ctx.folder, ctx.splits, "untouched", student)


def train_members(ctx: RunContext, promoted: Sequence[int], round: int) -> None:
    """Train the students of a round, unless they are on disk, and save all of them or none."""
    place = ctx.folder.student_of(round)
    if place.exists():
        return  # trained in the comparison of training configurations
    part = f"{place.name}.part"
    shutil.rmtree(ctx.folder.student_of(part), ignore_errors=True)
    for fold in ctx.folds:
        student = _round_student(ctx, promoted, round, fold)
        student.save(ctx.folder.student_of(part, fold))
        if fold is None:
            ctx.remember(round, student)
    tune_members(ctx, part)
    ctx.folder.student_of(part).rename(place)


def _round_student(ctx: RunContext, promoted: Sequence[int], round: int, fold: Fold = None) -> Student:
    """Train the student of a round, or of one of its folds, as the strategy prescribes."""
    rows = training_rows(ctx.strategy, ctx.splits, ctx.corpus, [*promoted, round], fold)
    if not (ctx.strategy.continue_training and round):
        return fresh_student(ctx, rows, ctx.strategy.objective, fold)
    last = promoted[-1] if promoted else 0
    stored = ctx.folder.student_of(last).exists()  # the end of a run deletes it
    start = ctx.student(last) if stored else _round_student(ctx, promoted[:-1], last)
    return continued_student(ctx, start, _new_and_old(ctx, rows, round))


def _new_and_old(ctx: RunContext, rows: Sequence[Row], round: int) -> list[Row]:
    """Return a round's samples and, drawn at random, `replay` times as many earlier rows."""
    new = {sample["id"] for sample in ctx.corpus.drafts(round=round, status="kept")}
    fresh, old = [r for r in rows if r["id"] in new], [r for r in rows if r["id"] not in new]
    replay = ctx.strategy.replay
    count = len(old) if replay == "all" else min(len(old), int(replay * len(fresh)))
    again = random.Random(f"{ctx.task.seed} {round} replay").sample(old, count)
    return fresh + again or list(rows)  # without new samples, train on the old rows


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
        for fold in ctx.folds:
            rows = training_rows(ctx.strategy, ctx.splits, ctx.corpus, [], fold)
            student = fresh_student(ctx, rows, ctx.strategy.objective, fold, training_config)
            student.save(ctx.folder.student_of(place, fold))
        tune_members(ctx, place)
        predict_out_of_fold(ctx.folder, ctx.splits, place, members(ctx, place))
        score = evaluation(ctx, place, "diagnose")["metric"]
        seconds = round(time.monotonic() - start, 1)
        tried.append({"configuration": name, "score": score, "seconds": seconds})
    best = max(tried, key=lambda one: float(str(one["score"])))
    ctx.folder.student_of(f"training-{best['configuration']}").rename(ctx.folder.student_of(0))
    ctx.folder.drop_students([0])
    ctx.folder.write_json(ctx.folder.training, {"chosen": best["configuration"], "tried": tried})
    ctx.trace.log(configurations=tried, chosen=best["configuration"])
