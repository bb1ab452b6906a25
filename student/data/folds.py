"""Folds: the user's labelled rows in K stratified parts, so that each row is answered by a student that has
not learnt it.
"""

import random
from collections import Counter
from collections.abc import Sequence

from tutelage.student.data.rows import Row
from tutelage.student.tasks import Kind


def stratified_folds(rows: Sequence[Row], kind: Kind, count: int, seed: int) -> dict[str, int]:
    """Assign each row to a fold, stratified by label.

    Rows are sorted by their label and dealt out in turn, so that the folds differ by at most one row in
    size, and by at most one row in every label. A row with several labels is stratified by its rarest.

    Args:
        rows: distinct labelled rows.
        kind: of the task: which labels a row has.
        count: K, at least 2.
        seed: decides which rows of a label go to which fold.

    Returns:
        Row id -> fold, from 0 to `count` - 1.
    """
    assert count >= 2, f"{count} folds hold nothing out"
    frequency = Counter(label for row in rows for label in set(kind.groups(row["label"])))
    stratum = {row["id"]: _rarest(kind.groups(row["label"]), frequency) for row in rows}
    shuffled = random.Random(f"{seed} folds").sample(list(rows), len(rows))
    ordered = sorted(shuffled, key=lambda row: stratum[row["id"]])
    return {row["id"]: place % count for place, row in enumerate(ordered)}


def labels_below(rows: Sequence[Row], kind: Kind, count: int) -> list[str]:
    """Return the labels with fewer rows than there are folds: some fold student learns them from fewer rows
    than it is tested on, or from none.
    """
    frequency = Counter(label for row in rows for label in set(kind.groups(row["label"])))
    return sorted(label for label, rows_of in frequency.items() if label and rows_of < count)


def _rarest(labels: Sequence[str], frequency: Counter[str]) -> str:
    return min(labels, key=lambda label: (frequency[label], label), default="")
