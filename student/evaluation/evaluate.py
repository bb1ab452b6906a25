"""Score a student's predictions against gold labels, with uncertainty."""

from collections.abc import Sequence
from math import sqrt
from typing import TypedDict

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.gains import resampled
from tutelage.student.models.base import Student
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.scoring import ClassReport, ExampleStatistics
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.tasks.user_functions import title


class Report(TypedDict):
    """The result of an evaluation: `metric` is the requested score, and `figures` are all scores by name.
    `classes` and `confusion[i][j]`, the number of texts with gold label i and prediction j, are empty if the
    task type has none. `items` are the mean numbers of labels per text, in gold and in the predictions.
    """

    metric: float
    figures: dict[str, float]
    size: int
    classes: list[ClassReport]
    confusion: list[list[int]]
    items: list[float]


def grade(
    task_type: TaskType,
    texts: Sequence[str],
    gold: Sequence[str],
    answers: Sequence[str],
    labels: Sequence[str],
    metric: str,
) -> Report:
    """Return the scores of predictions; gold and predicted labels have the string form of student/tasks/."""
    statistics = task_type.example_statistics(texts, gold, answers, labels, metric)
    scores = task_type.aggregate(statistics.sum(0), len(gold), labels, metric)
    return Report(
        metric=scores["figures"][title(metric)],
        figures=scores["figures"],
        size=len(gold),
        classes=scores["classes"],
        confusion=confusion(gold, answers, labels) if task_type.single_label else [],
        items=scores["items"],
    )


def evaluate(student: Student, rows: Sequence[Row], metric: str | None = None) -> Report:
    """Evaluate a student on labelled rows; the default metric is the first one of its task type."""
    task_type, texts = TASK_TYPES[student.kind], [row["text"] for row in rows]
    gold = [row["label"] for row in rows]
    return grade(
        task_type, texts, gold, student.predict_best(texts), student.labels, metric or task_type.metrics[0]
    )


def confusion(gold: Sequence[str], answers: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Return the confusion matrix, shape (labels, labels): a row per gold label, a column per prediction."""
    index = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), int)
    for true, predicted in zip(gold, answers, strict=True):
        table[index[true], index[predicted]] += 1
    return table.tolist()


def p_value_worse(
    task_type: TaskType, before: ExampleStatistics, after: ExampleStatistics, metric: str, draws: int = 1000
) -> float:
    """Return a one-sided p-value for "after is worse than before" on the same texts, by paired bootstrap.

    It is the share of resampled sets where `after` scores at least as well as `before`. A small value means
    a loss beyond noise. This works for any metric of summed per-example statistics (Koehn, EMNLP 2004).

    Args:
        task_type: the task type.
        before: per-example statistics of one student's predictions, shape (n, m).
        after: those of another student's predictions for the same texts.
        metric: the metric to compare.
        draws: number of resampled sets.
    """
    if not len(before):
        return 1.0
    old, new = resampled(task_type, [before, after], metric, draws)
    return float((new >= old).mean())


def wilson(errors: int, size: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for a rate of `errors` in `size`; (0, 1) if `size` is 0."""
    if size == 0:
        return 0.0, 1.0
    rate, factor = errors / size, 1 + z * z / size
    centre = (rate + z * z / (2 * size)) / factor
    half = z * sqrt(rate * (1 - rate) / size + z * z / (4 * size * size)) / factor
    return max(0.0, centre - half), min(1.0, centre + half)
