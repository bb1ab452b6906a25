"""Gains: how much better one set of predictions is than another, with bootstrap intervals."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks.scoring import ExampleStatistics
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.tasks.user_functions import title

_BLOCK = 2_000_000  # entries of the weight matrix in memory at a time
_MOST = 4  # times the labels paid for; a linear extrapolation is meaningless beyond (ours)


class Gain(NamedTuple):
    """The difference of a score, after minus before.

    Attributes:
        difference: the difference on the original rows.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        chance_better: share of the resampled sets on which `after` scores better; equal scores count half.
    """

    difference: float
    low: float
    high: float
    chance_better: float


def gain(
    task_type: TaskType, before: ExampleStatistics, after: ExampleStatistics, metric: str, draws: int = 1000
) -> Gain:
    """Compare two students on the same rows by paired bootstrap (Koehn, EMNLP 2004; percentile interval).

    Args:
        task_type: the task type.
        before: per-example statistics (`task_type.example_statistics`) of one student, shape (n, m).
        after: those of the other student for the same rows, in the same order.
        metric: the score to compare.
        draws: number of resampled sets.

    Raises:
        ValueError: there are no rows, or the two have different numbers of rows.
    """
    if len(before) != len(after):
        raise ValueError(
            f"a paired comparison needs the same rows twice; found {len(before)} and {len(after)}"
        )
    old, new = (score(task_type, statistics, metric) for statistics in (before, after))
    resampled_old, resampled_new = resampled(task_type, [before, after], metric, draws)
    differences = resampled_new - resampled_old
    low, high = np.percentile(differences, [2.5, 97.5])
    better = (differences > 0).mean() + (differences == 0).mean() / 2
    return Gain(new - old, float(low), float(high), float(better))


def interval(
    task_type: TaskType, statistics: ExampleStatistics, metric: str, draws: int = 1000
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of one score.

    Args:
        task_type: the task type.
        statistics: per-example statistics (`task_type.example_statistics`) of the predictions, shape (n, m).
        metric: the score.
        draws: number of resampled sets.

    Raises:
        ValueError: there are no rows.
    """
    [scores] = resampled(task_type, [statistics], metric, draws)
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def worth(own: float, random: float, chosen: float, count: int) -> int | None:
    """Return how many randomly drawn labels reach the same score as `count` chosen labels.

    The learning curve of random labels is approximated by a straight line through (0, own) and (count,
    random), also beyond `count` (ours). Real curves flatten: a result above `count` is a lower bound, and one
    below it an upper bound.

    Args:
        own: score with only the user's labels.
        random: score with `count` random labels in addition.
        chosen: score with `count` chosen labels in addition.
        count: number of labels paid for.

    Returns:
        From 0 to 4 · count, or None if random labels brought no gain, so that there is no line.
    """
    if random <= own:
        return None
    return round(min(max((chosen - own) / (random - own), 0), _MOST) * count)


def score(task_type: TaskType, statistics: ExampleStatistics, metric: str) -> float:
    """Return the score for per-example statistics of shape (n, m)."""
    return float(task_type.figures(statistics.sum(0), len(statistics), metric)[title(metric)])


def resampled(
    task_type: TaskType, sets: Sequence[ExampleStatistics], metric: str, draws: int
) -> NDArray[np.float64]:
    """Return the scores on rows drawn with replacement, shape (len(sets), draws).

    All sets are per-example statistics of the same n rows, and each draw takes the same rows from every set.
    The draws are the same in every call.

    Raises:
        ValueError: there are no rows.
    """
    size, name = len(sets[0]), title(metric)
    if not size:
        raise ValueError("a bootstrap needs at least one row, and there is none")
    blocks = [
        [task_type.figures(weights @ one, size, metric)[name] for one in sets]
        for weights in _weights(size, draws)
    ]
    return np.concatenate(blocks, axis=1)


def _weights(size: int, draws: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each draw takes each row, in blocks of shape (number of draws, size)."""
    rng, block = np.random.default_rng(0), max(1, _BLOCK // size)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        cells = rng.integers(0, size, (count, size)) + size * np.arange(count)[:, None]
        counts = np.bincount(cells.ravel(), minlength=count * size)
        yield counts.reshape(count, size).astype(float)
