"""Exams of a run: a student sits them all, its answers are put away, and each is graded when it may be."""

import numpy as np
from tutelage.agents.analyst import Answer
from tutelage.graph.workshop import Workshop
from tutelage.student.exam import Report, grade
from tutelage.student.model import Student
from tutelage.student.rows import Row
from tutelage.student.scoring import Marks

EXAMS = ("diagnose", "gate", "test")


def sit(shop: Workshop, name: str, student: Student) -> None:
    """Have a student answer every exam; the answers on test are not looked at before the end."""
    sheets = {}
    for exam in EXAMS:
        texts = [row["text"] for row in getattr(shop.splits, exam)]
        sheets[exam] = np.array(student.answer(texts) if texts else [], str)
    shop.folder.seal(name, **sheets)


def answers_on_diagnose(shop: Workshop, round: int) -> list[Answer]:
    """The diagnose rows with a student's answers: the only answers that agents may see."""
    given = shop.folder.unseal(f"round-{round:02d}", "diagnose")
    return [
        Answer(id=row["id"], text=row["text"], label=row["label"], predicted=answer)
        for row, answer in zip(shop.splits.diagnose, given, strict=True)
    ]


def graded(shop: Workshop, round: int | None, exam: str) -> Report:
    """The graded exam of a round's student, or of the untouched one (None)."""
    return grade(shop.task.form, *_sheet(shop, round, exam), shop.labels, shop.task.metric)


def marks(shop: Workshop, round: int, exam: str) -> Marks:
    """What each answer of a round's student adds to its score, shape (rows, m)."""
    return shop.task.form.marks(*_sheet(shop, round, exam), shop.labels, shop.task.metric)


def _sheet(shop: Workshop, round: int | None, exam: str) -> tuple[list[str], list[str], list[str]]:
    """The texts of an exam, their gold labels, and a student's answers."""
    rows: list[Row] = getattr(shop.splits, exam)
    answers = shop.folder.unseal("untouched" if round is None else f"round-{round:02d}", exam)
    return [row["text"] for row in rows], [row["label"] for row in rows], answers
