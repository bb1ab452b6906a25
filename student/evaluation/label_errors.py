"""Label errors: rows whose given label looks wrong to students that were not trained on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks import Kind
from tutelage.student.tasks.multilabel import written

_ROUNDING = 1e-9  # a probability this close to a threshold counts as equal


class LabelError(NamedTuple):
    """A row whose label is suspected to be wrong.

    Of a multi-label row, `given` and `suggested` are whole sets that differ in one label, and the two
    probabilities are of this label being right or wrong as stated.

    Attributes:
        place: of the row among those given.
        given: the label that the row has.
        suggested: the label that it would have instead.
        p_given: out-of-fold probability of the given label.
        p_suggested: out-of-fold probability of the suggested label.
    """

    place: int
    given: str
    suggested: str
    p_given: float
    p_suggested: float


def label_errors(
    kind: Kind, given: Sequence[str], probabilities: NDArray[Any] | None, labels: Sequence[str]
) -> list[LabelError]:
    """Find labels that are probably wrong by confident learning (Northcutt et al., JAIR 2021, arXiv
    1911.00068).

    The threshold of a label is the mean probability of this label over the rows that carry it. A row is
    counted for the most probable label among those that reach their thresholds (eq. 1 and 2). A row
    that is counted for another label than its own is an error. Errors are ranked by the normalised margin,
    `p(given) - max p(other)`, lowest first.

    The labels of a multi-label task are binary problems, each by itself; a row with two wrong labels is
    found twice (ours). Tasks whose students give no class probabilities (entities, targets) are not
    supported: nothing is found.

    Args:
        kind: of the task.
        given: the labels of n rows, as student/kinds/ writes them.
        probabilities: of students that were not trained on the row (out of fold), shape (n, labels); None
            where a student has none.
        labels: the names of the columns.

    Returns:
        The suspected rows, the most suspicious first.

    Raises:
        ValueError: the probabilities have another shape.
    """
    if probabilities is None or kind.key not in ("label", "labels") or not given:
        return []
    if probabilities.shape != (len(given), len(labels)):
        raise ValueError(
            f"probabilities have the shape {probabilities.shape};"
            f" {len(given)} rows and {len(labels)} labels need {(len(given), len(labels))}"
        )
    p = probabilities.astype(float)
    ranked = _of_sets(kind, given, p, labels) if kind.key == "labels" else _of_classes(given, p, labels)
    return [error for _, error in sorted(ranked, key=lambda pair: pair[0])]


def _of_classes(
    given: Sequence[str], p: NDArray[np.float64], labels: Sequence[str]
) -> list[tuple[float, LabelError]]:
    number = {label: i for i, label in enumerate(labels)}
    own = np.array([number[label] for label in given])
    return [
        (margin, LabelError(i, given[i], labels[other], float(p[i, own[i]]), float(p[i, other])))
        for i, other, margin in _off_diagonal(own, p)
    ]


def _of_sets(
    kind: Kind, given: Sequence[str], p: NDArray[np.float64], labels: Sequence[str]
) -> list[tuple[float, LabelError]]:
    sets = [set(kind.groups(label)) - set(kind.bare) for label in given]
    found = []
    for column, label in enumerate(labels):
        own = np.array([int(label in one) for one in sets])
        both = np.stack([1 - p[:, column], p[:, column]], axis=1)
        for i, other, margin in _off_diagonal(own, both):
            sure, unsure = float(both[i, own[i]]), float(both[i, other])
            found.append((margin, LabelError(i, given[i], written(sets[i] ^ {label}), sure, unsure)))
    return found


def _off_diagonal(own: NDArray[np.int64], p: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """(row, counted label, normalised margin) of rows counted for another label than their own."""
    labels = range(p.shape[1])
    # A label that no row carries has no threshold: no row can be counted for it.
    thresholds = np.array([p[own == j, j].mean() if (own == j).any() else np.inf for j in labels])
    reached = p >= thresholds - _ROUNDING
    counted = np.where(reached, p, -1).argmax(1)
    others = np.where(own[:, None] == np.arange(p.shape[1]), -1, p).max(1)
    margins = p[np.arange(len(own)), own] - others
    places = np.flatnonzero(reached.any(1) & (counted != own))
    return [(int(i), int(counted[i]), float(margins[i])) for i in places]
