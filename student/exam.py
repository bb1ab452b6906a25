"""The exam: a student's answers against gold labels, as numbers with their uncertainty."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from tutelage.student.model import Student
from tutelage.student.rows import Row

Metric = Literal["macro_f1", "accuracy"]
Labels = NDArray[np.int64]


class ClassReport(TypedDict):
    """One label's figures; `support` counts its gold rows."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Report(TypedDict):
    """A graded exam. `confusion[i][j]` counts rows of gold label i answered j."""

    metric: float
    accuracy: float
    macro_f1: float
    size: int
    classes: list[ClassReport]
    confusion: list[list[int]]


def grade(gold: Labels, answers: Labels, labels: Sequence[str], metric: Metric) -> Report:
    """Grade answers, both arrays of label numbers, shape (n,)."""
    table = confusion(gold, answers, len(labels))
    precision, recall, f1 = class_scores(table)
    classes = [
        ClassReport(
            label=label,
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            support=int(table[i].sum()),
        )
        for i, label in enumerate(labels)
    ]
    return Report(
        metric=METRICS[metric](table),
        accuracy=accuracy(table),
        macro_f1=macro_f1(table),
        size=len(gold),
        classes=classes,
        confusion=table.tolist(),
    )


def evaluate(student: Student, rows: Sequence[Row], metric: Metric = "macro_f1") -> Report:
    """Grade a student on rows that carry its labels."""
    number = {label: i for i, label in enumerate(student.labels)}
    gold = np.array([number[row["label"]] for row in rows], np.int64)
    answers = student.probabilities([row["text"] for row in rows]).argmax(1)
    return grade(gold, answers, student.labels, metric)


def confusion(gold: Labels, answers: Labels, size: int) -> NDArray[np.int64]:
    """Counts of shape (size, size), gold label by row."""
    return np.bincount(gold * size + answers, minlength=size * size).reshape(size, size)


def class_scores(table: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Precision, recall and F1 of each class, each of shape (size,); 0 where nothing was there."""
    hit = np.diagonal(table).astype(float)
    asked, given = table.sum(1), table.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = hit / given, hit / asked, 2 * hit / (asked + given)
    return tuple(np.nan_to_num(part) for part in parts)


def accuracy(table: NDArray[np.int64]) -> float:
    """Share of right answers."""
    return float(np.trace(table) / max(table.sum(), 1))


def macro_f1(table: NDArray[np.int64]) -> float:
    """Mean F1 over the labels that occur in gold or answers."""
    present = (table.sum(0) + table.sum(1)) > 0
    return float(class_scores(table)[2][present].mean()) if present.any() else 0.0


METRICS: dict[Metric, Callable[[NDArray[np.int64]], float]] = {"macro_f1": macro_f1, "accuracy": accuracy}


def chance_not_worse(
    gold: Labels, before: Labels, after: Labels, size: int, metric: Metric, draws: int = 1000
) -> float:
    """One-sided p-value for "after is worse than before" on the same exam, by paired bootstrap.

    The share of resampled exams in which `after` scores at least as well as `before`: small means that
    the loss is beyond noise. Works for any metric of a confusion table (Koehn, EMNLP 2004).
    """
    random = np.random.default_rng(0)
    score = METRICS[metric]
    kept = 0
    for _ in range(draws):
        pick = random.integers(0, len(gold), len(gold))
        old = score(confusion(gold[pick], before[pick], size))
        kept += score(confusion(gold[pick], after[pick], size)) >= old
    return kept / draws


def wilson(errors: int, size: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a rate of `errors` in `size`; (0, 1) when nothing was seen."""
    if size == 0:
        return 0.0, 1.0
    rate, factor = errors / size, 1 + z * z / size
    centre = (rate + z * z / (2 * size)) / factor
    half = z * sqrt(rate * (1 - rate) / size + z * z / (4 * size * size)) / factor
    return max(0.0, centre - half), min(1.0, centre + half)


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Entropy of each row of shape (n, k), divided by log k: 0 sure, 1 clueless."""
    p = np.clip(probabilities.astype(float), 1e-12, 1)
    return -(p * np.log(p)).sum(1) / np.log(max(p.shape[1], 2))  # type: ignore[no-any-return]
