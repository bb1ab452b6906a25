"""Calibration: how often the teacher is right where it says it is sure, and its confidence mended by that."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from tutelage.student.evaluation.evaluate import wilson

BINS = 10
FEWEST = 20  # rows; below it a temperature would be fitted to chance (ours)
_FOLDS = 5
_COLDEST, _HOTTEST = 0.05, 20.0
_SPREAD = 0.5  # of 1 / T around 1, before anything is measured (ours)
_SURE = 1e-4  # confidences are kept this far from 0 and 1, where log-odds have no end

Floats = NDArray[np.float64]


class Bin(TypedDict):
    """The rows whose confidence is above `low` and at most `high`: their mean confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Rivals(TypedDict):
    """What the teacher scores on the user's own rows, beside a student that has not learnt them and beside
    naming the commonest label always; each with the ends of its 95 % interval (bootstrap).
    """

    metric: str
    rows: int
    teacher: list[float]
    student: list[float]
    commonest: list[float]


class Calibration(TypedDict):
    """What was measured on rows whose gold label is known.

    `source` is the kind of confidence it holds for, `labels` how many there are to choose from.
    `accuracy` is the teacher's, `interval` its 95 % interval (Wilson). What is called `after` is
    cross-fitted: no row is judged by a temperature that it helped to fit. Without rows all of them are
    None or empty, and the temperature is 1. `note` says what to beware of.
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
    rivals: NotRequired[Rivals]


def calibrate(confidences: Sequence[float], correct: Sequence[bool], source: str, labels: int) -> Calibration:
    """Fit a temperature to a teacher's answers, and measure what it is worth.

    Args:
        confidences: of each answer, from 0 to 1.
        correct: whether it was the gold label.
        source: where the confidences come from.
        labels: how many labels there are to choose from, at least 2.
    """
    told, right, rows = np.array(confidences, float), np.array(correct, float), len(confidences)
    temperature, mended = 1.0, told
    if rows >= FEWEST:
        temperature, mended = _fit(told, right, labels), _cross_fitted(told, right, labels)
    hits = int(right.sum())
    return Calibration(
        source=source,
        labels=labels,
        temperature=temperature,
        rows=rows,
        accuracy=hits / rows if rows else None,
        interval=list(wilson(hits, rows)),
        ece_before=expected_calibration_error(told, right) if rows else None,
        ece_after=expected_calibration_error(mended, right) if rows else None,
        bins_before=reliability(told, right),
        bins_after=reliability(mended, right),
        note=_note(told, hits, temperature),
    )


def calibrated(confidence: float, calibration: Calibration) -> float:
    """A confidence after temperature scaling."""
    if calibration["temperature"] == 1:  # also 0 and 1, which have no log-odds
        return confidence
    log_odds = _log_odds(np.array([confidence]), calibration["labels"])
    return float(_scaled(log_odds, 1 / calibration["temperature"], calibration["labels"])[0])


def expected_calibration_error(
    confidences: Sequence[float] | Floats, correct: Sequence[bool] | Floats, bins: int = BINS
) -> float:
    """The mean distance of accuracy from confidence over the rows, by bin (Guo et al. 2017, eq. 3).

    Where bins hold few rows it is biased upwards: chance alone moves their accuracy.
    """
    gaps = [
        one["count"] * abs(one["accuracy"] - one["confidence"])
        for one in reliability(confidences, correct, bins)
    ]
    return sum(gaps) / max(len(confidences), 1)


def reliability(
    confidences: Sequence[float] | Floats, correct: Sequence[bool] | Floats, bins: int = BINS
) -> list[Bin]:
    """Accuracy by confidence, in bins of equal width; those that hold no row are left out."""
    told, right = np.asarray(confidences, float), np.asarray(correct, float)
    edges = np.arange(bins + 1) / bins
    places = np.clip(np.searchsorted(edges, told) - 1, 0, bins - 1)
    return [
        Bin(
            low=float(edges[place]),
            high=float(edges[place + 1]),
            count=int((places == place).sum()),
            confidence=float(told[places == place].mean()),
            accuracy=float(right[places == place].mean()),
        )
        for place in np.unique(places)
    ]


def _log_odds(confidences: Floats, labels: int) -> Floats:
    """Log of the confidence over that of each other label, if the others share the rest evenly (ours:
    what the teacher thinks of them is not known).
    """
    clipped = np.clip(confidences, _SURE, 1 - _SURE)
    return np.log(clipped) - np.log((1 - clipped) / (labels - 1))


def _scaled(log_odds: Floats, coldness: float, labels: int) -> Floats:
    """The softmax at temperature 1 / coldness (Guo et al. 2017, eq. 9), for the label that was given."""
    return 1 / (1 + (labels - 1) * np.exp(-coldness * log_odds))


def _fit(confidences: Floats, correct: Floats, labels: int) -> float:
    """The temperature of the least cross-entropy (Guo et al. 2017, arXiv 1706.04599, section 4.2).

    With a normal prior on 1 / T (ours), so that a teacher that is right on each of a few rows is not
    taken to be always right. Simulated with 20 rows, 6 labels and a true T of 0.6, four fits in five lie
    between 0.65 and 0.9 with it, and between 0.05 and 0.86 without; with 500 rows it is hardly felt.
    """
    log_odds = _log_odds(confidences, labels)
    # Both are convex in 1 / T, so the slope rises with it: halve to where that is 0, or to a bound.
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(60):
        middle = (low + high) / 2
        slope = ((_scaled(log_odds, middle, labels) - correct) * log_odds).sum() + (middle - 1) / _SPREAD**2
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(2 / (low + high))


def _cross_fitted(confidences: Floats, correct: Floats, labels: int) -> Floats:
    """Each confidence after scaling by the temperature of the other folds."""
    folds = np.random.default_rng(0).permutation(len(confidences)) % _FOLDS
    log_odds, mended = _log_odds(confidences, labels), np.empty_like(confidences)
    for fold in range(_FOLDS):
        temperature = _fit(confidences[folds != fold], correct[folds != fold], labels)
        mended[folds == fold] = _scaled(log_odds[folds == fold], 1 / temperature, labels)
    return mended


def _note(confidences: Floats, hits: int, temperature: float) -> str:
    rows = len(confidences)
    if rows < FEWEST:
        return (
            f"{rows} rows are too few to fit a temperature (at least {FEWEST}): confidence is left as it is"
        )
    notes = []
    if hits in (0, rows):
        notes.append(f"it was {'right' if hits else 'wrong'} on every row: T rests on its confidence alone")
    if np.ptp(confidences) < _SURE:
        notes.append("its confidence was the same on every row: it cannot tell right from wrong")
    if temperature > 0.99 * _HOTTEST:
        notes.append("its confidence does not tell right from wrong: T is at its upper bound")
    return "; ".join(notes)
