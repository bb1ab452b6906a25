"""Class weights: how much more a rare label counts in the loss than a common one."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ClassWeights = Literal["none", "root", "inverse"]
"""`inverse` of the frequency: every label counts the same, whatever its rows. `root` of that: half way."""

Array = NDArray[np.floating[Any]]

_POWERS: dict[ClassWeights, float] = {"none": 0.0, "root": 0.5, "inverse": 1.0}
_MOST = 10.0  # a label with one row would else outweigh all others (ours)


def class_weights(targets: Array, weights: Array, how: ClassWeights) -> Array:
    """Return the loss weight of each class, shape (k,), with a weighted mean of 1 over the rows.

    Args:
        targets: distributions over the classes, shape (n, k).
        weights: of the rows, shape (n,); frequencies are counted in them.
        how: see `ClassWeights`.
    """
    mass = weights @ targets
    common = mass.sum() / max(int((mass > 0).sum()), 1)
    result = (common / mass.clip(weights.mean())) ** _POWERS[how]
    result /= (weights * (targets @ result)).sum() / weights.sum()
    return result  # type: ignore[no-any-return]


def positive_weights(targets: Array, weights: Array, how: ClassWeights) -> Array:
    """Return the loss weight of each label where a text has it, shape (k,), for multi-label tasks: by the
    odds against it, between 1 and 10; a text that lacks the label counts 1.

    Args:
        targets: probability of each label, shape (n, k).
        weights: of the rows, shape (n,).
        how: see `ClassWeights`.
    """
    mass = (weights @ targets).clip(weights.mean())
    odds = (weights.sum() - mass) / mass
    return (odds ** _POWERS[how]).clip(1.0, _MOST)  # type: ignore[no-any-return]


def type_weights(counts: Array, how: ClassWeights) -> Array:
    """Return the loss weight of each entity type by its number of words, shape (k,), with a mean of 1 over
    the words of all entities; words outside entities count 1.
    """
    if not counts.any():
        return np.ones(len(counts))
    common = counts.sum() / (counts > 0).sum()
    result = ((common / counts.clip(1.0)) ** _POWERS[how]).clip(None, _MOST)
    return result * counts.sum() / (counts * result).sum()  # type: ignore[no-any-return]
