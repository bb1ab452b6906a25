"""The order of mini-batches, and the learning-rate schedule."""

import random
from collections.abc import Iterator, Sequence
from typing import Any


def bucketed(lengths: Sequence[int], size: int, random: random.Random) -> Iterator[list[int]]:
    """Yield one epoch of batches of texts with similar lengths, as lists of indices, in random order.

    Padding, not the framework, is the main cost. Texts are sorted by length in shuffled runs of 50 batches.
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
    """Return the learning-rate factor by step: linear warm-up over the first tenth, then linear decay."""
    warm = max(1, steps // 10)
    return lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
