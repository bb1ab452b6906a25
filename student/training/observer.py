"""The caller's view into a training: figures of its result, and every step while it runs."""

from collections.abc import Callable
from dataclasses import dataclass


def _ignore(*values: object, **fields: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Observer:
    """Functions that a training calls.

    Attributes:
        log: called with named figures: `restarted`, the number of restarts, if there were any; `batch_parts`
            if a GPU had too little memory for a batch in one part; `best_step`, the step whose weights early
            stopping kept; and those of `SampleSelector.counts` if samples are selected at every step.
        step: called before every step with its number, from 1, and the number of all steps. A training that
            starts again counts from 1 again. An exception raised here ends the training between two steps.
    """

    log: Callable[..., None] = _ignore
    step: Callable[[int, int], None] = _ignore


UNOBSERVED = Observer()
