"""The order of mini-batches, and the learning rate over the steps."""

import random
from collections.abc import Iterator, Sequence
from typing import Any


def bucketed(lengths: Sequence[int], size: int, random: random.Random) -> Iterator[list[int]]:
    """One epoch of batches of like length: padding, not the framework, is the cost of training on text.

    Shuffles, sorts within runs of 50 batches by length, and yields the batches in random order.
    """
    order = list(range(len(lengths)))
    random.shuffle(order)
    batches = []
    for start in range(0, len(order), 50 * size):
        run = sorted(order[start : start + 50 * size], key=lambda i: lengths[i])
        batches += [run[i : i + size] for i in range(0, len(run), size)]
    random.shuffle(batches)
    yield from batches


def warm_and_down(steps: int) -> Any:
    """Learning-rate factor: up over the first tenth, then down in a line."""
    warm = max(1, steps // 10)
    return lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
