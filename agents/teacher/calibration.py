"""Calibration: compares the teacher's confidence with its accuracy, and corrects the confidence."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from tutelage.student.evaluation.evaluate import wilson

BINS = 10
FEWEST = 20  # rows needed to fit a temperature; with fewer it would be fitted to chance (ours)
_FOLDS = 5
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_PRIOR_SD = 0.5  # standard deviation of the prior on 1 / T, whose mean is 1 (ours)
_MARGIN = 1e-4  # confidences are kept this far from 0 and 1, where log-odds are infinite

Floats = NDArray[np.float64]


class Bin(TypedDict):
    """The rows with a confidence above `low` and at most `high`: their mean confidence and their accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Baselines(TypedDict):
    """The teacher's score on the user's own rows, compared with a student that was not trained on them and
    with always predicting the most common label; each score with its 95 % interval (bootstrap).
    """

    metric: str
    rows: int
    teacher: list[float]
    student: list[float]
    majority_class: list[float]


class Answer(TypedDict):
    """The teacher's label of one of the user's rows, and its confidence in it."""

    id: str
    label: str
    confidence: float


class Calibration(TypedDict):
    """The teacher's calibration, measured on rows whose gold label is known.

    `source` is the source of the confidence that it applies to, and `labels` the number of labels to choose
    from. `accuracy` is the teacher's, `interval` its 95 % interval (Wilson). The values `after` are
    cross-fitted: no row is scaled by a temperature that was fitted on it. Without rows all values are None
    or empty, and the temperature is 1. `note` states the limitations of the measurement. `answers` holds the
    answers to the user's rows, `left_out` says which rows were not measured, and `reviewed` counts samples
    that a person judged and that are measured, too.
    """

    source: str
    labels: int
    temperature: float
    rows: int
    accuracy: float | None
    interval: list[float]
    ece_before: float | None
    ece_after: float | None
    bins_before: list[Bin]
    bins_after: list[Bin]
    note: str
    answers: NotRequired[list[Answer]]
    left_out: NotRequired[str]
    reviewed: NotRequired[int]
    baselines: NotRequired[Baselines]


def calibrate(confidences: Sequence[float], correct: Sequence[bool], source: str, labels: int) -> Calibration:
    """Fit a temperature to a teacher's answers, and measure the calibration before and after scaling.

    Args:
        confidences: the confidence of each answer, from 0 to 1.
        correct: whether each answer was the gold label.
        source: the source of the confidences.
        labels: the number of labels to choose from, at least 2.
    """
    before, right, rows = np.array(confidences, float), np.array(correct, float), len(confidences)
    temperature, after = 1.0, before
    if rows >= FEWEST:
        temperature, after = _fit(before, right, labels), _cross_fitted(before, right, labels)
    hits = int(right.sum())
    return Calibration(
        source=source,
        labels=labels,
        temperature=temperature,
        rows=rows,
        accuracy=hits / rows if rows else None,
        interval=list(wilson(hits, rows)),
        ece_before=expected_calibration_error(before, right) if rows else None,
        ece_after=expected_calibration_error(after, right) if rows else None,
        bins_before=reliability(before, right),
        bins_after=reliability(after, right),
        note=_note(before, hits, temperature),
    )


def calibrated(confidence: float, calibration: Calibration) -> float:
    """Return a confidence after temperature scaling."""
    if calibration["temperature"] == 1:  # keeps 0 and 1, whose log-odds are infinite
        return confidence
    log_odds = _log_odds(np.array([confidence]), calibration["labels"])
    return float(_scaled(log_odds, 1 / calibration["temperature"], calibration["labels"])[0])


def expected_calibration_error(
    confidences: Sequence[float] | Floats, correct: Sequence[bool] | Floats, bins: int = BINS
) -> float:
    """Return the mean gap between accuracy and confidence over the rows, by bin (Guo et al. 2017, eq. 3).

    It is biased upwards if bins hold few rows, because chance alone moves their accuracy.
    """
    gaps = [
        one["count"] * abs(one["accuracy"] - one["confidence"])
        for one in reliability(confidences, correct, bins)
    ]
    return sum(gaps) / max(len(confidences), 1)


def reliability(
    confidences: Sequence[float] | Floats, correct: Sequence[bool] | Floats, bins: int = BINS
) -> list[Bin]:
    """Return the accuracy by confidence, in bins of equal width; empty bins are left out."""
    values, right = np.asarray(confidences, float), np.asarray(correct, float)
    edges = np.arange(bins + 1) / bins
    bin_of_row = np.clip(np.searchsorted(edges, values) - 1, 0, bins - 1)
    return [
        Bin(
            low=float(edges[index]),
            high=float(edges[index + 1]),
            count=int((bin_of_row == index).sum()),
            confidence=float(values[bin_of_row == index].mean()),
            accuracy=float(right[bin_of_row == index].mean()),
        )
        for index in np.unique(bin_of_row)
    ]


def _log_odds(confidences: Floats, labels: int) -> Floats:
    """Return the log of the confidence over that of each other label, assuming that the others share the rest
    evenly (ours: the teacher's confidence in the others is not known).
    """
    clipped = np.clip(confidences, _MARGIN, 1 - _MARGIN)
    return np.log(clipped) - np.log((1 - clipped) / (labels - 1))


def _scaled(log_odds: Floats, inverse: float, labels: int) -> Floats:
    """Return the softmax at temperature 1 / inverse (Guo et al. 2017, eq. 9) for the label that was given."""
    return 1 / (1 + (labels - 1) * np.exp(-inverse * log_odds))


def _fit(confidences: Floats, correct: Floats, labels: int) -> float:
    """Return the temperature with the least cross-entropy (Guo et al. 2017, arXiv 1706.04599, section 4.2).

    A normal prior on 1 / T (ours) prevents that a teacher that is right on each of a few rows counts as
    always right. Simulated with 20 rows, 6 labels and a true T of 0.6, four fits in five lie between 0.65
    and 0.9 with the prior, and between 0.05 and 0.86 without. With 500 rows it has hardly any effect.
    """
    log_odds = _log_odds(confidences, labels)
    # Loss and prior are convex in 1 / T, so the slope increases: bisect to its zero, or to a bound.
    low, high = 1 / _MAX_TEMPERATURE, 1 / _MIN_TEMPERATURE
    for _ in range(60):
        middle = (low + high) / 2
        slope = ((_scaled(log_odds, middle, labels) - correct) * log_odds).sum() + (middle - 1) / _PRIOR_SD**2
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(2 / (low + high))


def _cross_fitted(confidences: Floats, correct: Floats, labels: int) -> Floats:
    """Return each confidence, scaled by the temperature fitted on the other folds."""
    folds = np.random.default_rng(0).permutation(len(confidences)) % _FOLDS
    log_odds, scaled = _log_odds(confidences, labels), np.empty_like(confidences)
    for fold in range(_FOLDS):
        temperature = _fit(confidences[folds != fold], correct[folds != fold], labels)
        scaled[folds == fold] = _scaled(log_odds[folds == fold], 1 / temperature, labels)
    return scaled


def _note(confidences: Floats, hits: int, temperature: float) -> str:
    rows = len(confidences)
    if rows < FEWEST:
        return (
            f"{rows} rows are too few to fit a temperature (at least {FEWEST}): the confidence is not scaled"
        )
    notes = []
    if hits in (0, rows):
        notes.append(f"it was {'right' if hits else 'wrong'} on every row: T depends on its confidence alone")
    if np.ptp(confidences) < _MARGIN:
        notes.append("its confidence was the same on every row: it cannot tell right from wrong")
    if temperature > 0.99 * _MAX_TEMPERATURE:
        notes.append("its confidence does not tell right from wrong: T is at its upper bound")
    return "; ".join(notes)
