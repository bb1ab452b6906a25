"""Scoring: what each answer adds to precision, recall and F1, whatever holds labels.

An exam's figures are functions of the sum of its rows' marks, so that a bootstrap resamples rows.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.float64]
Item = tuple[str, Hashable]  # a label of the task, and which one of the text's it is


class ClassReport(TypedDict):
    """One label's figures; `support` counts how often it occurs in gold."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Scores(TypedDict):
    """Every figure of an exam by its name, and those of each label, if there are any; `items` are the labels
    of a text on average, in gold and in the answers.
    """

    figures: dict[str, float]
    classes: list[ClassReport]
    items: list[float]


def item_marks(
    gold: Sequence[Sequence[Item]], answers: Sequence[Sequence[Item]], labels: Sequence[str]
) -> Marks:
    """Of each text the items found, answered and in gold, of each label, and whether all is right: shape
    (n, 3 k + 1).
    """
    place = {label: i for i, label in enumerate(labels)}
    size = len(labels)
    marks = np.zeros((len(gold), 3 * size + 1))
    for row, (true, given) in enumerate(zip(gold, answers, strict=True)):
        hits = list((Counter(true) & Counter(given)).elements())
        for part, items in enumerate((hits, given, true)):
            for label, _ in items:
                marks[row, part * size + place[label]] += 1
        marks[row, -1] = Counter(true) == Counter(given)
    return marks


def item_scores(total: NDArray[np.float64], size: int, labels: Sequence[str]) -> Scores:
    """Precision, recall and F1 of each label, their mean over the labels that occur (macro), those of all
    items together (micro; of named entities what seqeval gives), and the share of texts answered without
    any error (accuracy).
    """
    hits, given, true = total[:-1].reshape(3, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.nan_to_num([hits / given, hits / true, 2 * hits / (true + given)])
    present = (true + given) > 0
    everything = (true + given).sum()
    precision, recall, f1 = parts
    return Scores(
        figures={
            "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
            "micro_f1": float(2 * hits.sum() / everything) if everything else 0.0,
            "accuracy": float(total[-1] / max(size, 1)),
        },
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
        items=[float(part.sum() / max(size, 1)) for part in (true, given)],
    )
