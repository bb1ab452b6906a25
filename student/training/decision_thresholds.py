"""Decision thresholds of multi-label students, tuned on held-out texts."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Classifier, Student
from tutelage.student.models.predictions import Floats, sigmoid
from tutelage.student.training.training_set import TrainingSet

_MIN_GOLD = 10  # gold texts of a label; with fewer, its own threshold would fit chance (ours)
_GRID = np.arange(0.05, 0.96, 0.05)


def tune_thresholds(student: Student, rows: Sequence[Row]) -> Student:
    """Return the student with thresholds tuned on rows that it was not trained on. A student without
    thresholds is returned as it is, and so is any student if there are no rows.

    The threshold with the best micro F1 is shared by all labels. A label with ten gold texts or more gets
    the threshold of its own best F1 (per-label thresholds by the F-measure: Lipton et al. 2014, arXiv
    1402.1892). Of equally good thresholds, the one nearest to 0.5 is taken.
    """
    if getattr(student, "thresholds", None) is None or not rows:
        return student
    classifier = cast(Classifier, student)
    p = sigmoid(classifier.logits([row["text"] for row in rows]))
    return tune_thresholds_out_of_fold(student, p, rows)


def tune_thresholds_out_of_fold(student: Student, p: Floats, rows: Sequence[Row]) -> Student:
    """Return the student with thresholds tuned on the probabilities `p`, shape (rows, labels), predicted by
    students that were not trained on these rows.
    """
    classifier = cast(Classifier, student)
    gold = TrainingSet.of(rows).sets(student.labels) > 0
    shared = _best(p, gold)
    own = [
        _best(p[:, i], gold[:, i]) if gold[:, i].sum() >= _MIN_GOLD else shared for i in range(gold.shape[1])
    ]
    classifier.thresholds = np.array(own)
    return student


def _best(p: Floats, gold: NDArray[np.bool_]) -> float:
    """Return the threshold with the best F1 over all entries."""
    scores = [(_f1(p >= threshold, gold), -abs(threshold - 0.5), threshold) for threshold in _GRID]
    return float(round(max(scores)[2], 2))


def _f1(predicted: NDArray[np.bool_], gold: NDArray[np.bool_]) -> float:
    total = predicted.sum() + gold.sum()
    return float(round(2 * (predicted & gold).sum() / total, 6)) if total else 0.0
