"""How students of a run are trained: fresh, carried on, or refitted on everything."""

import random
from collections.abc import Sequence
from dataclasses import replace

from tutelage.graph.context import Workshop
from tutelage.graph.students.committee import Fold, folds, member
from tutelage.graph.students.predictions import out_of_fold_probabilities, predict_out_of_fold
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.students.white_box import distilled
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.decision_thresholds import tuned, tuned_out_of_fold
from tutelage.student.training.loop import train as train_student
from tutelage.student.training.losses import Objective


def tune_members(shop: Workshop, place: str) -> None:
    """Set the decision thresholds of the multi-label fold students under a name, each by the rows of the
    other folds: its own fold would flatter its answers.

    The probabilities of those rows come from students that have learnt this fold; what is left of its labels
    in one number a label is taken to be negligible.
    """
    if not shop.splits.folded or shop.task.kind != "multilabel":
        return
    name, labelled = f"thresholds-{place}", shop.splits.labelled
    predict_out_of_fold(shop, name, ((fold, member(shop, place, fold)) for fold in folds(shop)))
    probabilities = shop.folder.unseal_array(name, "probabilities")
    for fold in folds(shop):
        others = [i for i, row in enumerate(labelled) if shop.splits.folds[row["id"]] != fold]
        student = member(shop, place, fold)
        rows = [labelled[i] for i in others]
        tuned_out_of_fold(student, probabilities[others], rows).save(shop.folder.student_of(place, fold))


def taught(shop: Workshop, promoted: Sequence[int], round: int, fold: Fold = None) -> Student:
    """Train a student of a round, or of a fold of it, as the strategy says."""
    strategy, rows = shop.strategy, training_rows(shop, [*promoted, round], fold)
    if not (strategy.carry and round):
        return fresh_student(shop, rows, strategy.objective, fold)
    start, rows = _carried(shop, promoted), _new_and_old(shop, rows, round)
    return _trained(
        shop, rows, strategy.objective, replace(shop.recipe(), epochs=strategy.repeat), start=start
    )


def fresh_student(
    shop: Workshop, rows: Sequence[Row], objective: Objective, fold: Fold = None, recipe: Recipe | None = None
) -> Student:
    """Train a student that has seen nothing but these rows; each fold has a seed of its own."""
    if not objective.knowledge:
        return _trained(shop, rows, objective, recipe or shop.recipe(), fold=fold)
    shop.let_go()
    shop.trace.tell(rows=len(rows))
    return distilled(shop, rows, objective.knowledge)


def refitted_student(shop: Workshop, rows: Sequence[Row], round: int) -> Student:
    """Train a student of all these rows.

    The decision thresholds of a multi-label one are set by the out-of-fold probabilities of the given round,
    whose students learnt about the same, or, without folds, are those of the round's student.
    """
    shop.let_go()
    student = train_student(
        rows,
        shop.labels,
        shop.recipe(),
        seed=shop.task.seed,
        encoder=shop.student_encoder,
        objective=shop.strategy.objective,
        tell=shop.trace.tell,
    )
    if shop.task.kind != "multilabel":
        return student
    if (probabilities := out_of_fold_probabilities(shop, round)) is not None:
        return tuned_out_of_fold(student, probabilities, shop.splits.labelled)
    student.thresholds = shop.student(round).thresholds  # type: ignore[attr-defined]
    return student


def _trained(
    shop: Workshop,
    rows: Sequence[Row],
    objective: Objective,
    recipe: Recipe,
    *,
    start: Student | None = None,
    fold: Fold = None,
) -> Student:
    shop.let_go()
    shop.trace.tell(rows=len(rows))
    student = train_student(
        rows,
        shop.labels,
        recipe,
        seed=shop.task.seed + (fold or 0),
        encoder=shop.student_encoder,
        objective=objective,
        start=start,
        tell=shop.trace.tell,
    )
    return student if shop.splits.folded else tuned(student, shop.splits.gate)


def _carried(shop: Workshop, promoted: Sequence[int]) -> Student:
    """The student promoted last."""
    last = promoted[-1] if promoted else 0
    if shop.folder.student_of(last).exists():
        return shop.student(last)
    return taught(shop, promoted[:-1], last)


def _new_and_old(shop: Workshop, rows: Sequence[Row], round: int) -> list[Row]:
    """A round's samples and, drawn by chance, `replay` times as many rows from before."""
    new = {sample["id"] for sample in shop.corpus.drafts(round=round, status="kept")}
    fresh, old = [r for r in rows if r["id"] in new], [r for r in rows if r["id"] not in new]
    replay = shop.strategy.replay
    count = len(old) if replay == "all" else min(len(old), int(replay * len(fresh)))
    again = random.Random(f"{shop.task.seed} {round} replay").sample(old, count)
    return fresh + again or list(rows)  # a round that brought nothing teaches nothing new
