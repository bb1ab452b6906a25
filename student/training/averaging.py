"""Averaging of weights over the last steps of a training, which reduces the spread between seeds.

Stochastic weight averaging (Izmailov et al., UAI 2018, arXiv 1803.05407) keeps the learning rate high. Here
the learning rate falls to 0 as in any other training, and every step is averaged (ours).
"""

from collections.abc import Sequence
from typing import Any


class WeightAverage:
    """A running mean of parameters over the last `share` of all `steps`."""

    def __init__(self, parameters: list[Any], share: float, steps: int):
        self.parameters, self.first = parameters, steps - round(share * steps)
        self.count, self.means = 0, list[Any]()

    def update(self, step: int) -> None:
        """Add the parameters after `step` (counted from 0) to the mean, if it is one of the last steps."""
        import torch

        if step < self.first:
            return
        self.count += 1
        with torch.no_grad():
            if not self.means:
                self.means = [parameter.detach().clone() for parameter in self.parameters]
            else:
                torch._foreach_lerp_(self.means, self.parameters, 1 / self.count)

    def apply(self) -> None:
        """Set the parameters to their mean; leave them as they are if no step was averaged."""
        assign(self.parameters, self.means)


def assign(parameters: Sequence[Any], values: Sequence[Any]) -> None:
    """Set parameters to values, in place; leave them as they are if there are none."""
    import torch

    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=bool(values)):
            parameter.copy_(value)
