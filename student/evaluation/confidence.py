"""How far the confidence of a single-label classifier can be trusted, on rows it was not trained on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError

FILE = "confidence.json"  # in a student's folder
_LEAST = 10  # rows above a threshold, below which its precision means nothing (ours)
_TEMPERATURES = np.geomspace(0.1, 10, 200)
_BINS = 10

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """The calibration of a student.

    Attributes:
        temperature: what the logits were divided by (Guo et al., ICML 2017, arXiv 1706.04599).
        error_before: expected calibration error on the measured rows before that (ten bins of equal width).
        error: the same afterwards; too low, because the temperature was chosen on these rows.
        confidence: the calibrated confidence in the prediction of each row, from low to high.
        right: whether that prediction was right.
    """

    temperature: float
    error_before: float
    error: float
    confidence: list[float]
    right: list[bool]

    @property
    def at_limit(self) -> bool:
        """Whether a temperature beyond those that are tried would fit the rows better, as if they are few and
        all predictions are right.
        """
        return not _TEMPERATURES[0] < self.temperature < _TEMPERATURES[-1]

    def threshold(self, precision: float) -> float:
        """Return the lowest confidence from which on the share of right predictions reaches `precision`.

        Raises:
            InputError: no confidence reaches it on ten rows or more.
        """
        found = lowest_threshold(
            self.confidence, self.right, precision, lambda share, count: np.where(count < _LEAST, 0, share)
        )
        if found.threshold is None:
            raise InputError(
                f"a precision of {precision:g} is not reached on the {len(self.right)} rows that this student"
                f" was measured on; the highest on {_LEAST} rows or more is {found.best:.3f}"
            )
        return found.threshold

    def save(self, folder: Path) -> None:
        """Write it to a student's folder."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")


class Threshold(NamedTuple):
    """The lowest confidence from which on enough predictions are right, None if there is none, and the best
    share that any confidence reaches.
    """

    threshold: float | None
    best: float


def lowest_threshold(
    confidence: Sequence[float],
    right: Sequence[bool],
    wanted: float,
    judge: Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]],
) -> Threshold:
    """Return the lowest confidence from which on `judge` of the share of right predictions reaches `wanted`.

    Args:
        confidence: of each prediction, from low to high.
        right: whether each prediction is right.
        wanted: the wanted share.
        judge: given the share of right predictions above each confidence and their number, returns what is
            compared with `wanted`.
    """
    good, value = np.array(right, float)[::-1], np.array(confidence)[::-1]
    count = np.arange(1, len(good) + 1)
    shares = judge(np.cumsum(good) / count, count)
    # Predictions of equal confidence are above a threshold together.
    ends = np.append(value[1:] != value[:-1], True) if len(value) else np.zeros(0, bool)
    enough = np.flatnonzero(ends & (shares >= wanted))
    best = float(shares[ends].max(initial=0.0))
    return Threshold(float(value[enough[-1]]) if len(enough) else None, best)


def load_reliability(folder: Path) -> Reliability:
    """Read the file that `Reliability.save` wrote.

    Raises:
        InputError: the student has none.
    """
    if not (folder / FILE).exists():
        raise InputError(
            f"{folder} has no {FILE}: a precision can be asked only of students that a run with folds made"
            " for a task with one label per text"
        )
    return Reliability(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def measured(probabilities: Probabilities, gold: NDArray[np.int64]) -> Reliability:
    """Choose the temperature with the lowest loss, and return the reliability that it gives.

    Args:
        probabilities: of students that were not trained on the rows, shape (n, labels).
        gold: indices of the right labels, shape (n,).
    """
    temperature = fit_temperature(probabilities, gold)
    scaled = soften(probabilities, temperature)
    right, confidence = scaled.argmax(1) == gold, scaled.max(1)
    order = confidence.argsort(kind="stable")
    return Reliability(
        temperature=temperature,
        error_before=calibration_error(probabilities.max(1), right),
        error=calibration_error(confidence, right),
        confidence=[float(one) for one in confidence[order]],  # rounded up, none would reach its own value
        right=[bool(one) for one in right[order]],
    )


def fit_temperature(probabilities: Probabilities, gold: NDArray[np.int64]) -> float:
    """Return the temperature, from 0.1 to 10, at which the right labels have the highest likelihood."""
    places = np.arange(len(gold))
    losses = [-np.log(soften(probabilities, one)[places, gold].clip(1e-12)).mean() for one in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)


def soften(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return the probabilities that result if the logits are divided by a temperature."""
    scores = np.log(np.asarray(probabilities, float).clip(1e-30)) / temperature
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(scores / scores.sum(1, keepdims=True), np.float64)


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over ten bins of equal width."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    parts = [(bins == one) for one in range(_BINS)]
    return float(
        sum(part.mean() * abs(confidence[part].mean() - right[part].mean()) for part in parts if part.any())
    )
