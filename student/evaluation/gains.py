"""Gains: by how much one set of answers is better than another, with intervals by bootstrap."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks import Kind
from tutelage.student.tasks.scoring import Marks
from tutelage.student.tasks.user_functions import title

_BLOCK = 2_000_000  # entries of the weight matrix that are held at a time
_MOST = 4  # times the labels paid for: beyond, a linear extrapolation says nothing (ours)


class Gain(NamedTuple):
    """The difference of a score, after minus before.

    Attributes:
        difference: on the rows as they are.
        low: lower end of the 95 % interval.
        high: upper end of it.
        chance_better: share of the resampled sets on which `after` scores better; equal scores count half.
    """

    difference: float
    low: float
    high: float
    chance_better: float


def gain(
    kind: Kind, before: Marks, after: Marks, labels: Sequence[str], metric: str, draws: int = 1000
) -> Gain:
    """Compare two students on the same rows by paired bootstrap (Koehn, EMNLP 2004; percentile interval).

    Args:
        kind: of the task.
        before: per-example statistics (`kind.marks`) of one student's answers, shape (n, m).
        after: those of the other's answers to the same rows, in the same order.
        labels: of the task.
        metric: the score that is compared.
        draws: resampled sets.

    Raises:
        ValueError: there are no rows, or the two have different numbers of rows.
    """
    if len(before) != len(after):
        raise ValueError(
            f"a paired comparison needs the same rows twice; found {len(before)} and {len(after)}"
        )
    old, new = (score(kind, marks, labels, metric) for marks in (before, after))
    resampled_old, resampled_new = resampled(kind, [before, after], labels, metric, draws)
    differences = resampled_new - resampled_old
    low, high = np.percentile(differences, [2.5, 97.5])
    better = (differences > 0).mean() + (differences == 0).mean() / 2
    return Gain(new - old, float(low), float(high), float(better))


def interval(
    kind: Kind, marks: Marks, labels: Sequence[str], metric: str, draws: int = 1000
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of one score.

    Args:
        kind: of the task.
        marks: per-example statistics (`kind.marks`) of the answers, shape (n, m).
        labels: of the task.
        metric: the score.
        draws: resampled sets.

    Raises:
        ValueError: there are no rows.
    """
    [scores] = resampled(kind, [marks], labels, metric, draws)
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def worth(own: float, random: float, chosen: float, count: int) -> int | None:
    """Return how many randomly drawn labels bring the score that `count` chosen labels brought.

    A straight line through (0, own) and (count, random) stands for the learning curve of random labels, and
    is continued beyond `count` (ours). Real curves flatten: above `count` the result is a lower bound, below
    it an upper bound.

    Args:
        own: score with the user's labels alone.
        random: score with `count` random labels in addition.
        chosen: score with `count` chosen labels in addition.
        count: of labels paid for.

    Returns:
        From 0 to 4 · count, or None where random labels brought no gain, so that there is no line.
    """
    if random <= own:
        return None
    return round(min(max((chosen - own) / (random - own), 0), _MOST) * count)


def score(kind: Kind, marks: Marks, labels: Sequence[str], metric: str) -> float:
    """Return the score of rows by their per-example statistics, shape (n, m)."""
    return kind.scores(marks.sum(0), len(marks), labels, metric)["figures"][title(metric)]


def resampled(
    kind: Kind, sets: Sequence[Marks], labels: Sequence[str], metric: str, draws: int
) -> NDArray[np.float64]:
    """Return the scores of rows drawn with replacement, shape (len(sets), draws).

    All sets are statistics of the same n rows, and each draw takes the same rows of all of them. The draws
    are the same each time.

    Raises:
        ValueError: there are no rows.
    """
    size, name = len(sets[0]), title(metric)
    if not size:
        raise ValueError("a bootstrap needs at least one row, and there is none")
    scores: list[list[float]] = [[] for _ in sets]
    for weights in _weights(size, draws):
        for marks, found in zip(sets, scores, strict=True):
            found += [kind.scores(total, size, labels, metric)["figures"][name] for total in weights @ marks]
    return np.array(scores)


def _weights(size: int, draws: int) -> Iterator[NDArray[np.float64]]:
    """How often each draw takes each row: blocks of shape (some draws, size)."""
    random, most = np.random.default_rng(0), max(1, _BLOCK // size)
    for start in range(0, draws, most):
        some = min(most, draws - start)
        places = random.integers(0, size, (some, size)) + size * np.arange(some)[:, None]
        counts = np.bincount(places.ravel(), minlength=some * size)
        yield counts.reshape(some, size).astype(float)
