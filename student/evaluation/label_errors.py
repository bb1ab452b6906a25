"""Label errors: rows whose label disagrees with the predictions of students that were not trained on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks.multilabel import written
from tutelage.student.tasks.task_type import TaskType

_ROUNDING = 1e-9  # a probability this close to a threshold counts as equal


class LabelError(NamedTuple):
    """A row whose label is suspected to be wrong.

    For a multi-label row, `given` and `suggested` are whole sets that differ in one label. The probabilities
    are then for this label: of being as in the given set, and of being as in the suggested set.

    Attributes:
        row_index: index of the row in the input.
        given: the label that the row has.
        suggested: the label that it should probably have.
        p_given: out-of-fold probability of the given label.
        p_suggested: out-of-fold probability of the suggested label.
    """

    row_index: int
    given: str
    suggested: str
    p_given: float
    p_suggested: float


def label_errors(
    task_type: TaskType, given: Sequence[str], probabilities: NDArray[Any] | None, labels: Sequence[str]
) -> list[LabelError]:
    """Find labels that are probably wrong by confident learning (Northcutt et al., JAIR 2021, arXiv
    1911.00068).

    The threshold of a label is its mean probability over the rows that have this label. A row is counted
    under the most probable label among those that reach their thresholds (eq. 1 and 2). If this is not the
    row's own label, the row is a label error. Errors are ranked by the normalised margin,
    `p(given) - max p(other)`, lowest first.

    Each label of a multi-label task is a binary problem of its own; a row with two wrong labels is returned
    twice (ours). For tasks without class probabilities (entities, targets) the result is empty.

    Args:
        task_type: the task type.
        given: the labels of n rows, in the form of student/tasks/.
        probabilities: predictions of students that were not trained on the row (out of fold), shape
            (n, labels); None if the student gives none.
        labels: the names of the columns.

    Returns:
        The suspected rows, the most suspicious first.

    Raises:
        ValueError: the probabilities have the wrong shape.
    """
    if probabilities is None or not task_type.label_probabilities or not given:
        return []
    if probabilities.shape != (len(given), len(labels)):
        raise ValueError(
            f"probabilities have the shape {probabilities.shape};"
            f" {len(given)} rows and {len(labels)} labels need {(len(given), len(labels))}"
        )
    p = probabilities.astype(float)
    find = _single_label_errors if task_type.single_label else _multi_label_errors
    ranked = find(task_type, given, p, labels)
    return [error for _, error in sorted(ranked, key=lambda pair: pair[0])]


def _single_label_errors(
    task_type: TaskType, given: Sequence[str], p: NDArray[np.float64], labels: Sequence[str]
) -> list[tuple[float, LabelError]]:
    index = {label: i for i, label in enumerate(labels)}
    own = np.array([index[label] for label in given])
    return [
        (margin, LabelError(i, given[i], labels[other], float(p[i, own[i]]), float(p[i, other])))
        for i, other, margin in _off_diagonal(own, p)
    ]


def _multi_label_errors(
    task_type: TaskType, given: Sequence[str], p: NDArray[np.float64], labels: Sequence[str]
) -> list[tuple[float, LabelError]]:
    sets = [set(task_type.labels_in(label)) - set(task_type.no_label) for label in given]
    errors = []
    for column, label in enumerate(labels):
        own = np.array([int(label in one) for one in sets])
        both = np.stack([1 - p[:, column], p[:, column]], axis=1)
        for i, other, margin in _off_diagonal(own, both):
            p_given, p_suggested = float(both[i, own[i]]), float(both[i, other])
            suggested = written(sets[i] ^ {label})
            errors.append((margin, LabelError(i, given[i], suggested, p_given, p_suggested)))
    return errors


def _off_diagonal(own: NDArray[np.int64], p: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Return (row, counted label, normalised margin) of rows counted under another label than their own."""
    labels = range(p.shape[1])
    # A label without rows has no threshold, so no row can be counted under it.
    thresholds = np.array([p[own == j, j].mean() if (own == j).any() else np.inf for j in labels])
    reached = p >= thresholds - _ROUNDING
    counted = np.where(reached, p, -1).argmax(1)
    others = np.where(own[:, None] == np.arange(p.shape[1]), -1, p).max(1)
    margins = p[np.arange(len(own)), own] - others
    errors = np.flatnonzero(reached.any(1) & (counted != own))
    return [(int(i), int(counted[i]), float(margins[i])) for i in errors]
