"""Scoring: precision, recall and F1 from per-example statistics, for every task type with labels.

The scores of an evaluation are functions of the sum of its per-example statistics. A bootstrap can therefore
resample rows and sum again.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

ExampleStatistics = NDArray[np.float64]
Item = tuple[str, Hashable]  # a label of the task, and what tells it apart in the text, such as a span


class ClassReport(TypedDict):
    """The scores of one label; `support` is the number of its gold items."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Scores(TypedDict):
    """The scores of an evaluation: `figures` by metric name, `classes` by label (empty without labels), and
    `items`, the mean number of labels per text in gold and in the answers.
    """

    figures: dict[str, float]
    classes: list[ClassReport]
    items: list[float]


def item_statistics(
    gold: Sequence[Sequence[Item]], answers: Sequence[Sequence[Item]], labels: Sequence[str]
) -> ExampleStatistics:
    """Return per-example statistics of shape (n, 3 k + 1): for each of the k labels the number of correct
    items, then of answered items, then of gold items; the last column is 1 if the whole answer is right.
    """
    column = {label: i for i, label in enumerate(labels)}
    size = len(labels)
    statistics = np.zeros((len(gold), 3 * size + 1))
    for row, (true, answered) in enumerate(zip(gold, answers, strict=True)):
        hits = list((Counter(true) & Counter(answered)).elements())
        for part, items in enumerate((hits, answered, true)):
            for label, _ in items:
                statistics[row, part * size + column[label]] += 1
        statistics[row, -1] = Counter(true) == Counter(answered)
    return statistics


def item_figures(totals: NDArray[np.float64], size: int) -> dict[str, NDArray[np.float64]]:
    """Return the figures, each of shape (...), for sets of `size` texts.

    They are the mean F1 over the labels that occur (macro), the F1 of all items together (micro; for named
    entities the same as seqeval), and the share of texts answered without any error (accuracy).

    Args:
        totals: sums of per-example statistics, shape (..., 3 k + 1).
        size: number of texts in each set.
    """
    hits, answered, true = np.moveaxis(totals[..., :-1].reshape(*totals.shape[:-1], 3, -1), -2, 0)
    found = true + answered
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.nan_to_num(2 * hits / found)
        macro = np.nan_to_num(f1.sum(-1) / (found > 0).sum(-1))
        micro = np.nan_to_num(2 * hits.sum(-1) / found.sum(-1))
    return {"macro_f1": macro, "micro_f1": micro, "accuracy": totals[..., -1] / max(size, 1)}


def item_report(total: NDArray[np.float64], size: int, labels: Sequence[str]) -> Scores:
    """Return the scores of `size` texts whose statistics sum to `total`: the figures, and precision, recall
    and F1 of each label.
    """
    hits, answered, true = total[:-1].reshape(3, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall, f1 = np.nan_to_num([hits / answered, hits / true, 2 * hits / (true + answered)])
    return Scores(
        figures={name: float(figure) for name, figure in item_figures(total, size).items()},
        classes=[
            ClassReport(
                label=label,
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                support=int(true[i]),
            )
            for i, label in enumerate(labels)
        ],
        items=[float(part.sum() / max(size, 1)) for part in (true, answered)],
    )
