"""Predictions of a run: they are stored first, and those on test are graded only at the end."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import Answer
from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import Fold, members, rows_of
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.models.base import Student
from tutelage.student.tasks.scoring import ExampleStatistics

SETS = ("diagnose", "gate", "test")


def store_predictions(ctx: RunContext, name: str, student: Student) -> None:
    """Store one student's answers on every set. Answers on test are not graded before the end of the run."""
    stored = {}
    for set_name in SETS:
        texts = [row["text"] for row in getattr(ctx.splits, set_name)]
        stored[set_name] = np.array(student.predict_best(texts) if texts else [], str)
    ctx.folder.store_predictions(name, **stored)


def predict_round(ctx: RunContext, round: int) -> None:
    """Store the answers of a round's students; each row is answered by a student not trained on it."""
    name = f"round-{round:02d}"
    if ctx.splits.folded:
        predict_out_of_fold(ctx, name, members(ctx, round))
    else:
        store_predictions(ctx, name, ctx.student(round))


def predict_out_of_fold(ctx: RunContext, name: str, students: Iterable[tuple[Fold, Student]]) -> None:
    """Store the answer to each labelled row by the student of its fold, in the order of the labelled rows,
    and for classifiers the probabilities of all labels, shape (rows, labels).

    Test is left out: it measures only the students that are refitted at the end.
    """
    place = {row["id"]: i for i, row in enumerate(ctx.splits.diagnose)}
    answers = [""] * len(place)
    probabilities = np.zeros((len(place), len(ctx.labels)))
    for fold, student in students:
        rows = rows_of(ctx, fold)
        predicted = student.predict([row["text"] for row in rows], best=True)
        for i, row in enumerate(rows):
            answers[place[row["id"]]] = predicted.answers[i]
            if predicted.probabilities is not None:
                probabilities[place[row["id"]]] = predicted.probabilities[i]
    optional = {"probabilities": probabilities} if probabilities.any() else {}
    stored = dict.fromkeys(("diagnose", "gate"), np.array(answers, str))
    ctx.folder.store_predictions(name, **stored, test=np.array([], str), **optional)


def out_of_fold_probabilities(ctx: RunContext, round: int) -> NDArray[np.float64] | None:
    """Return the probabilities for each labelled row by the student not trained on it, shape (rows, labels),
    or None if the rows are not folded or the students give no probabilities.
    """
    if not ctx.splits.folded:
        return None
    try:
        return ctx.folder.load_array(f"round-{round:02d}", "probabilities")
    except KeyError:
        return None


def answers_on_diagnose(ctx: RunContext, round: int, fold: Fold = None) -> list[Answer]:
    """Return the labelled rows that agents may see, with a round's answers; those of one fold, or all."""
    stored = ctx.folder.load_predictions(f"round-{round:02d}", "diagnose")
    folds = ctx.splits.folds
    answers = []
    for row, predicted in zip(ctx.splits.diagnose, stored, strict=True):
        answer = Answer(id=row["id"], text=row["text"], label=row["label"], predicted=predicted)
        if folds:
            answer["fold"] = folds[row["id"]]
        if fold is None or answer["fold"] == fold:
            answers.append(answer)
    return answers


def evaluation(ctx: RunContext, round: int | str, set_name: str) -> Report:
    """Grade the stored answers of a round's students, or those stored under a name, on a set."""
    return grade(ctx.task.type, *_texts_gold_answers(ctx, round, set_name), ctx.labels, ctx.task.metric)


def example_statistics(ctx: RunContext, round: int | str, set_name: str) -> ExampleStatistics:
    """Return the per-example statistics of the stored answers, shape (rows, m)."""
    return ctx.task.type.example_statistics(
        *_texts_gold_answers(ctx, round, set_name), ctx.labels, ctx.task.metric
    )


def _texts_gold_answers(
    ctx: RunContext, round: int | str, set_name: str
) -> tuple[list[str], list[str], list[str]]:
    rows: list[Row] = getattr(ctx.splits, set_name)
    answers = ctx.folder.load_predictions(round if isinstance(round, str) else f"round-{round:02d}", set_name)
    return [row["text"] for row in rows], [row["label"] for row in rows], answers
