"""Stratified samples of labelled rows, and their K folds (cross-fitting): a student that was not trained on a
row's fold predicts its label.
"""

import random
from collections import Counter
from collections.abc import Sequence

from tutelage.student.data.rows import Row
from tutelage.student.tasks.task_type import TaskType


def stratified_folds(rows: Sequence[Row], task_type: TaskType, count: int, seed: int) -> dict[str, int]:
    """Assign each row to a fold, stratified by label.

    Rows are sorted by their label and dealt out in turn, so that the folds differ by at most one row in
    size, and by at most one row in every label. A row with several labels is stratified by its rarest.

    Args:
        rows: distinct labelled rows.
        task_type: the task type, which determines the labels that a row contains.
        count: K, at least 2.
        seed: decides which rows of a label go to which fold.

    Returns:
        Row id -> fold, from 0 to `count` - 1.
    """
    assert count >= 2, f"at least 2 folds are needed, got {count}"
    frequency = Counter(label for row in rows for label in set(task_type.labels_in(row["label"])))
    stratum = {row["id"]: _rarest(task_type.labels_in(row["label"]), frequency) for row in rows}
    shuffled = random.Random(f"{seed} folds").sample(list(rows), len(rows))
    ordered = sorted(shuffled, key=lambda row: stratum[row["id"]])
    return {row["id"]: index % count for index, row in enumerate(ordered)}


def labels_below(rows: Sequence[Row], task_type: TaskType, count: int) -> list[str]:
    """Return the labels with fewer rows than there are folds. Some fold's student learns such a label from
    fewer rows than it is tested on, or from none.
    """
    frequency = Counter(label for row in rows for label in set(task_type.labels_in(row["label"])))
    return sorted(label for label, rows_with in frequency.items() if label and rows_with < count)


def stratified_sample(rows: Sequence[Row], task_type: TaskType, size: int, seed: int) -> list[Row]:
    """Return at most `size` rows, drawn with the seed and balanced by (first) label as far as rows allow."""
    drawn = random.Random(f"{seed} slice").sample(rows, len(rows))
    seen: Counter[str] = Counter()
    turns = []
    for number, row in enumerate(drawn):
        label = first_label(row["label"], task_type)
        turns.append((seen[label], number))
        seen[label] += 1
    picked = sorted(turns)[:size]
    return [drawn[number] for number in sorted(number for _, number in picked)]


def first_label(label: str, task_type: TaskType) -> str:
    """Return the (first) label of a row, by which samples are stratified; "" for unlabelled texts."""
    return task_type.labels_in(label)[0] if label else ""


def _rarest(labels: Sequence[str], frequency: Counter[str]) -> str:
    return min(labels, key=lambda label: (frequency[label], label), default="")
