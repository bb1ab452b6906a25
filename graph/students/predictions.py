"""Predictions of a run: answers are stored, and compared with the labels when that is allowed."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import Answer
from tutelage.graph.context import Workshop
from tutelage.graph.students.committee import Fold, members, rows_of
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.models.base import Student
from tutelage.student.tasks.scoring import Marks

EXAMS = ("diagnose", "gate", "test")


def sit(shop: Workshop, name: str, student: Student) -> None:
    """Store one student's answers on every set; those on test are not looked at before the end."""
    sheets = {}
    for exam in EXAMS:
        texts = [row["text"] for row in getattr(shop.splits, exam)]
        sheets[exam] = np.array(student.answer(texts) if texts else [], str)
    shop.folder.seal(name, **sheets)


def predict_round(shop: Workshop, round: int) -> None:
    """Store the answers of a round's students: each row is answered by the student that has not learnt it."""
    name = f"round-{round:02d}"
    if shop.splits.folded:
        predict_out_of_fold(shop, name, members(shop, round))
    else:
        sit(shop, name, shop.student(round))


def predict_out_of_fold(shop: Workshop, name: str, students: Iterable[tuple[Fold, Student]]) -> None:
    """Store the answer to each labelled row by the student of its fold and, of classifiers, the probabilities
    of all labels, shape (rows, labels), in the order of the labelled rows.

    Test is left out: it measures the students that are refitted at the end.
    """
    place = {row["id"]: i for i, row in enumerate(shop.splits.diagnose)}
    answers = [""] * len(place)
    probabilities = np.zeros((len(place), len(shop.labels)))
    for fold, student in students:
        rows = rows_of(shop, fold)
        found = student.read([row["text"] for row in rows], best=True)
        for i, row in enumerate(rows):
            answers[place[row["id"]]] = found.answers[i]
            if found.probabilities is not None:
                probabilities[place[row["id"]]] = found.probabilities[i]
    known = {"probabilities": probabilities} if probabilities.any() else {}
    sheets = dict.fromkeys(("diagnose", "gate"), np.array(answers, str))
    shop.folder.seal(name, **sheets, test=np.array([], str), **known)


def out_of_fold_probabilities(shop: Workshop, round: int) -> NDArray[np.float64] | None:
    """Return the probabilities of each labelled row by the student that has not learnt it, shape (rows,
    labels); None where rows are not folded or the students give no probabilities.
    """
    if not shop.splits.folded:
        return None
    try:
        return shop.folder.unseal_array(f"round-{round:02d}", "probabilities")
    except KeyError:
        return None


def answers_on_diagnose(shop: Workshop, round: int, fold: Fold = None) -> list[Answer]:
    """Return the labelled rows that agents may see, of one fold or all, with a round's answers to them."""
    given = shop.folder.unseal(f"round-{round:02d}", "diagnose")
    folds = shop.splits.folds
    answers = []
    for row, said in zip(shop.splits.diagnose, given, strict=True):
        answer = Answer(id=row["id"], text=row["text"], label=row["label"], predicted=said)
        if folds:
            answer["fold"] = folds[row["id"]]
        if fold is None or answer["fold"] == fold:
            answers.append(answer)
    return answers


def graded(shop: Workshop, round: int | str, exam: str) -> Report:
    """Return the report on the answers of a round's students, or of the predictions of that name."""
    return grade(shop.task.form, *_sheet(shop, round, exam), shop.labels, shop.task.metric)


def marks(shop: Workshop, round: int | str, exam: str) -> Marks:
    """Return what each answer adds to the score, shape (rows, m)."""
    return shop.task.form.marks(*_sheet(shop, round, exam), shop.labels, shop.task.metric)


def _sheet(shop: Workshop, round: int | str, exam: str) -> tuple[list[str], list[str], list[str]]:
    """Return the texts of a set, their gold labels, and the stored answers."""
    rows: list[Row] = getattr(shop.splits, exam)
    answers = shop.folder.unseal(round if isinstance(round, str) else f"round-{round:02d}", exam)
    return [row["text"] for row in rows], [row["label"] for row in rows], answers
