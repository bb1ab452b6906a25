"""The exam: a student's answers against gold labels, as numbers with their uncertainty."""

from collections.abc import Sequence
from math import sqrt
from typing import TypedDict

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.gains import resampled
from tutelage.student.models.base import Student
from tutelage.student.tasks import KINDS, Kind
from tutelage.student.tasks.scoring import ClassReport, Marks
from tutelage.student.tasks.user_functions import title


class Report(TypedDict):
    """A graded exam: `metric` is the figure asked for, `figures` are all by their names. `classes` and
    `confusion[i][j]`, the texts of gold label i answered j, are empty where a kind has none. `items` are the
    labels of a text on average, in gold and in the answers.
    """

    metric: float
    figures: dict[str, float]
    size: int
    classes: list[ClassReport]
    confusion: list[list[int]]
    items: list[float]


def grade(
    kind: Kind,
    texts: Sequence[str],
    gold: Sequence[str],
    answers: Sequence[str],
    labels: Sequence[str],
    metric: str,
) -> Report:
    """Grade the answers to texts, both labels as student/kinds/ writes them."""
    marks = kind.marks(texts, gold, answers, labels, metric)
    scores = kind.scores(marks.sum(0), len(gold), labels, metric)
    return Report(
        metric=scores["figures"][title(metric)],
        figures=scores["figures"],
        size=len(gold),
        classes=scores["classes"],
        confusion=confusion(gold, answers, labels) if kind.key == "label" else [],
        items=scores["items"],
    )


def evaluate(student: Student, rows: Sequence[Row], metric: str | None = None) -> Report:
    """Grade a student on rows that carry its labels; by default by the first metric of its kind."""
    kind, texts = KINDS[student.kind], [row["text"] for row in rows]
    gold = [row["label"] for row in rows]
    return grade(kind, texts, gold, student.answer(texts), student.labels, metric or kind.metrics[0])


def confusion(gold: Sequence[str], answers: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Counts of shape (labels, labels), gold label by row."""
    place = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), int)
    for true, given in zip(gold, answers, strict=True):
        table[place[true], place[given]] += 1
    return table.tolist()


def chance_not_worse(
    kind: Kind, before: Marks, after: Marks, labels: Sequence[str], metric: str, draws: int = 1000
) -> float:
    """One-sided p-value for "after is worse than before" on the same exam, by paired bootstrap.

    The share of resampled exams in which `after` scores at least as well as `before`: small means that
    the loss is beyond noise. Works for any figure of summed marks (Koehn, EMNLP 2004).

    Args:
        kind: of the task.
        before: marks of one student's answers, shape (n, m).
        after: those of another's answers to the same texts.
        labels: of the task.
        metric: which figure.
        draws: resampled exams.
    """
    if not len(before):
        return 1.0
    old, new = resampled(kind, [before, after], labels, metric, draws)
    return float((new >= old).mean())


def wilson(errors: int, size: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a rate of `errors` in `size`; (0, 1) when nothing was seen."""
    if size == 0:
        return 0.0, 1.0
    rate, factor = errors / size, 1 + z * z / size
    centre = (rate + z * z / (2 * size)) / factor
    half = z * sqrt(rate * (1 - rate) / size + z * z / (4 * size * size)) / factor
    return max(0.0, centre - half), min(1.0, centre + half)
