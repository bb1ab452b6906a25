"""Exams of a run: a student sits them all, its answers are put away, and each is graded when it may be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import Answer
from tutelage.graph.workshop import Workshop
from tutelage.student.exam import Report, grade
from tutelage.student.model import Student
from tutelage.student.rows import Row

EXAMS = ("diagnose", "gate", "test")


def sit(shop: Workshop, name: str, student: Student) -> None:
    """Have a student answer every exam; the answers on test are not looked at before the end."""
    sheets: dict[str, Any] = {}
    for exam in EXAMS:
        texts = [row["text"] for row in getattr(shop.splits, exam)]
        sheets[exam] = student.probabilities(texts).argmax(1) if texts else np.zeros(0, np.int64)
    shop.folder.seal(name, **sheets)


def answers_on_diagnose(shop: Workshop, round: int) -> list[Answer]:
    """The diagnose rows with a student's answers: the only answers that agents may see."""
    given = shop.folder.unseal(f"round-{round:02d}", "diagnose")
    return [
        Answer(id=row["id"], text=row["text"], label=row["label"], predicted=shop.labels[answer])
        for row, answer in zip(shop.splits.diagnose, given, strict=True)
    ]


def graded(shop: Workshop, round: int | None, exam: str) -> Report:
    """The graded exam of a round's student, or of the untouched one (None)."""
    rows: list[Row] = getattr(shop.splits, exam)
    answers = shop.folder.unseal("untouched" if round is None else f"round-{round:02d}", exam)
    return grade(gold(shop, rows), answers, shop.labels, shop.task.metric)


def gold(shop: Workshop, rows: Sequence[Row]) -> NDArray[np.int64]:
    """Label numbers of rows, shape (len(rows),)."""
    number = {label: i for i, label in enumerate(shop.labels)}
    return np.array([number[row["label"]] for row in rows], np.int64)
