"""Class weights, by which rare labels count more in the loss than common ones."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ClassWeights = Literal["none", "root", "inverse"]
"""`inverse` weighs by 1/frequency, so that all labels count the same; `root` by 1/√frequency."""

Array = NDArray[np.floating[Any]]

_POWERS: dict[ClassWeights, float] = {"none": 0.0, "root": 0.5, "inverse": 1.0}
_MAX_WEIGHT = 10.0  # prevents a label with one row from outweighing all others (ours)


def class_weights(targets: Array, weights: Array, how: ClassWeights) -> Array:
    """Return the loss weight of each class, shape (k,), with a weighted mean of 1 over the rows.

    Args:
        targets: distributions over the classes, shape (n, k).
        weights: weights of the rows, shape (n,); frequencies are sums of these.
        how: a `ClassWeights` rule.
    """
    mass = weights @ targets
    common = mass.sum() / max(int((mass > 0).sum()), 1)
    result = (common / mass.clip(weights.mean())) ** _POWERS[how]
    result /= (weights * (targets @ result)).sum() / weights.sum()
    return result  # type: ignore[no-any-return]


def positive_weights(targets: Array, weights: Array, how: ClassWeights) -> Array:
    """Return the multi-label loss weight of each label for texts that have it, shape (k,), between 1 and 10.
    It follows the odds against the label. For texts without the label the weight is 1.

    Args:
        targets: probability of each label, shape (n, k).
        weights: weights of the rows, shape (n,).
        how: a `ClassWeights` rule.
    """
    mass = (weights @ targets).clip(weights.mean())
    odds = (weights.sum() - mass) / mass
    return (odds ** _POWERS[how]).clip(1.0, _MAX_WEIGHT)  # type: ignore[no-any-return]


def type_weights(counts: Array, how: ClassWeights) -> Array:
    """Return the loss weight of each entity type, shape (k,), from its number of words `counts`, shape (k,).
    The mean over the words of all entities is 1. Words outside entities have weight 1.
    """
    if not counts.any():
        return np.ones(len(counts))
    common = counts.sum() / (counts > 0).sum()
    result = ((common / counts.clip(1.0)) ** _POWERS[how]).clip(None, _MAX_WEIGHT)
    return result * counts.sum() / (counts * result).sum()  # type: ignore[no-any-return]
