"""Borders: from which probability on a multi-label student answers a label, tuned on held-out texts."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Classifier, Student
from tutelage.student.models.predictions import Floats, sigmoid
from tutelage.student.training.training_set import Lessons

_FEWEST = 10  # gold texts of a label; below it the label's own border would be fitted to chance (ours)
_GRID = np.arange(0.05, 0.96, 0.05)


def tuned(student: Student, rows: Sequence[Row]) -> Student:
    """The student with its borders set by rows that it was not trained on; one without borders, or without
    rows, as it is.

    One border of the best micro F1 is shared by all labels; a label with ten gold texts or more gets its own,
    of the best F1 (per-label thresholds by the F-measure: Lipton et al. 2014, arXiv 1402.1892). Of equal
    ones the nearest to a half is taken.
    """
    if getattr(student, "thresholds", None) is None or not rows:
        return student
    classifier = cast(Classifier, student)
    p = sigmoid(classifier.logits([row["text"] for row in rows]))
    return tuned_out_of_fold(student, p, rows)


def tuned_out_of_fold(student: Student, p: Floats, rows: Sequence[Row]) -> Student:
    """Return the student with its thresholds set by the probabilities `p`, shape (rows, labels), given by
    students that had not learnt these rows.
    """
    classifier = cast(Classifier, student)
    gold = Lessons.of(rows).sets(student.labels) > 0
    shared = _best(p, gold)
    own = [
        _best(p[:, i], gold[:, i]) if gold[:, i].sum() >= _FEWEST else shared for i in range(gold.shape[1])
    ]
    classifier.thresholds = np.array(own)
    return student


def _best(p: Floats, gold: NDArray[np.bool_]) -> float:
    """The border of the best F1 over all entries."""
    scores = [(_f1(p >= border, gold), -abs(border - 0.5), border) for border in _GRID]
    return float(round(max(scores)[2], 2))


def _f1(given: NDArray[np.bool_], gold: NDArray[np.bool_]) -> float:
    both = given.sum() + gold.sum()
    return float(round(2 * (given & gold).sum() / both, 6)) if both else 0.0
