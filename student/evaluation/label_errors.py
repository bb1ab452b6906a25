"""Label errors: rows whose label disagrees with the predictions of students that were not trained on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks.multilabel import written
from tutelage.student.tasks.task_type import TaskType

_FEWEST = 3  # rows of a label; with fewer, no student can learn it well enough to judge them
_KNOWN_RIGHT = 10  # the prior on the share of wrong labels weighs as much as this many rows known to be right
_SHARES = np.geomspace(0.002, 0.5, 30)
_SHARPNESS = np.geomspace(0.25, 4, 17)


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
    """Find labels that are more probably wrong than right (ours).

    A share of all labels is wrong, any other label being equally likely (random classification noise, Angluin
    and Laird 1988), and the students' probabilities are too soft or too sharp. Both the share and the
    sharpness (the inverse of a temperature) are those under which the given labels are most likely. A row is
    named if, with these, its label is wrong with a probability above 0.5. Students that hardly know the
    labels therefore name no row, whereas confident learning (Northcutt et al., JAIR 2021, arXiv 1911.00068)
    names up to half of them (benchmarks/label_check.py). Labels with fewer than three rows are not judged.

    Each label of a multi-label task is a binary problem of its own; a row with two wrong labels is returned
    twice (ours). For tasks without class probabilities (entities, targets) the result is empty.

    Args:
        task_type: the task type.
        given: the labels of n rows, in the form of student/tasks/.
        probabilities: predictions of students that were not trained on the row (out of fold), shape
            (n, labels); None if the student gives none.
        labels: the names of the columns.

    Returns:
        The suspected rows, those most probably wrong first.

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
    return [error for _, error in sorted(ranked, key=lambda pair: -pair[0])]


def _single_label_errors(
    task_type: TaskType, given: Sequence[str], p: NDArray[np.float64], labels: Sequence[str]
) -> list[tuple[float, LabelError]]:
    index = {label: i for i, label in enumerate(labels)}
    own = np.array([index[label] for label in given])
    return [
        (wrong, LabelError(i, given[i], labels[other], float(p[i, own[i]]), float(p[i, other])))
        for i, other, wrong in _probably_wrong(own, p)
    ]


def _multi_label_errors(
    task_type: TaskType, given: Sequence[str], p: NDArray[np.float64], labels: Sequence[str]
) -> list[tuple[float, LabelError]]:
    sets = [set(task_type.labels_in(label)) - set(task_type.no_label) for label in given]
    errors = []
    for column, label in enumerate(labels):
        own = np.array([int(label in one) for one in sets])
        both = np.stack([1 - p[:, column], p[:, column]], axis=1)
        for i, other, wrong in _probably_wrong(own, both):
            p_given, p_suggested = float(both[i, own[i]]), float(both[i, other])
            suggested = written(sets[i] ^ {label})
            errors.append((wrong, LabelError(i, given[i], suggested, p_given, p_suggested)))
    return errors


def _probably_wrong(own: NDArray[np.int64], p: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Return (row, most probable other label, probability of being wrong) of rows that are probably wrong."""
    counts = np.bincount(own, minlength=p.shape[1])
    judged = np.flatnonzero(counts[own] >= _FEWEST)
    if not len(judged) or p.shape[1] < 2:
        return []
    wrong = _wrong(own[judged], p[judged])
    others = np.where(own[:, None] == np.arange(p.shape[1]), -1, p).argmax(1)
    named = zip(judged.tolist(), wrong.tolist(), strict=True)
    return [(row, int(others[row]), chance) for row, chance in named if chance > 0.5]


def _wrong(own: NDArray[np.int64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each row the probability that its label is wrong, under the most likely share of wrong
    labels and sharpness of the probabilities.
    """
    rows, others = np.arange(len(own)), p.shape[1] - 1
    likeliest, wrong = -np.inf, np.zeros(len(own))
    for sharpness in _SHARPNESS:
        scaled = np.log(p.clip(1e-12)) * sharpness
        scaled = np.exp(scaled - scaled.max(1, keepdims=True))
        q = (scaled / scaled.sum(1, keepdims=True))[rows, own]
        as_right, as_wrong = np.outer(1 - _SHARES, q), np.outer(_SHARES, (1 - q) / others)
        likelihood = np.log((as_right + as_wrong).clip(1e-12)).sum(1) + _KNOWN_RIGHT * np.log(1 - _SHARES)
        if likelihood.max() > likeliest:
            best = int(likelihood.argmax())
            likeliest = likelihood[best]
            wrong = as_wrong[best] / (as_right[best] + as_wrong[best]).clip(1e-12)
    return wrong
