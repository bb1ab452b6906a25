"""The node that trains the students of a round."""

import shutil
import time
from collections.abc import Sequence

from tutelage.graph.context import Workshop
from tutelage.graph.state import State
from tutelage.graph.students.committee import folds, member
from tutelage.graph.students.predictions import graded, predict_out_of_fold, sit
from tutelage.graph.students.training import fresh_student, taught, tune_members
from tutelage.graph.students.training_rows import training_rows
from tutelage.student.training.loop import untouched


def train(shop: Workshop, state: State) -> State:
    """Train the round's students: fresh ones on labelled rows, the samples of promoted rounds and those of
    this one, each without its own fold; or, carried, the best so far on those of this round.
    """
    kept = [state["best"], *([0] if shop.strategy.importance else [])]
    shop.folder.drop_students(kept if state["round"] else [])
    if state["round"] == 0:
        choose_training(shop)
    train_members(shop, state["promoted"], state["round"])
    return {}


def answer_untouched(shop: Workshop) -> None:
    """Store what the student answers before any training: what every gain is measured from."""
    recipe, seed = shop.task.recipe(), shop.task.seed
    sit(shop, "untouched", untouched(shop.labels, recipe, seed=seed, encoder=shop.student_encoder))


def train_members(shop: Workshop, promoted: Sequence[int], round: int) -> None:
    """Train the students of a round (again, if their weights are gone) and save them, all or none."""
    place = shop.folder.student_of(round)
    if place.exists():
        return  # trained already, while configurations were compared
    part = f"{place.name}.part"
    shutil.rmtree(shop.folder.student_of(part), ignore_errors=True)
    for fold in folds(shop):
        student = taught(shop, promoted, round, fold)
        student.save(shop.folder.student_of(part, fold))
        if fold is None:
            shop.remember(round, student)
    tune_members(shop, part)
    shop.folder.student_of(part).rename(place)


def choose_training(shop: Workshop) -> None:
    """Compare the training configurations out of fold on the labelled rows; write training.json, and keep the
    students of the best one as those of round 0.

    Nothing is compared where the task fixes the configuration, or where rows are not folded.
    """
    wanted = shop.task.training_candidates(len(shop.splits.labelled))
    shop.folder.training.unlink(missing_ok=True)
    if len(wanted) < 2 or not shop.splits.folded:
        return
    tried: list[dict[str, object]] = []
    for number, (name, recipe) in enumerate(wanted.items(), 1):
        start = time.monotonic()
        shop.trace.write("training", configuration=name, number=number, of=len(wanted))
        place = f"training-{name}"
        for fold in folds(shop):
            rows = training_rows(shop, [], fold)
            student = fresh_student(shop, rows, shop.strategy.objective, fold, recipe)
            student.save(shop.folder.student_of(place, fold))
        tune_members(shop, place)
        predict_out_of_fold(shop, place, ((fold, member(shop, place, fold)) for fold in folds(shop)))
        score = graded(shop, place, "diagnose")["metric"]
        seconds = round(time.monotonic() - start, 1)
        tried.append({"configuration": name, "score": score, "seconds": seconds})
    best = max(tried, key=lambda one: float(str(one["score"])))
    shop.folder.student_of(f"training-{best['configuration']}").rename(shop.folder.student_of(0))
    shop.folder.drop_students([0])
    shop.folder.write_json(shop.folder.training, {"chosen": best["configuration"], "tried": tried})
    shop.trace.tell(configurations=tried, chosen=best["configuration"])
