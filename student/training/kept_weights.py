"""Which weights a training keeps: the last ones, a mean over the last steps, or the best on held-out rows.

- Stochastic weight averaging (Izmailov et al., UAI 2018, arXiv 1803.05407) keeps the learning rate high. Here
  the learning rate falls to 0 as in any other training, and every step is averaged (ours). It reduces the
  spread between seeds.
- Early stopping holds out a fifth of the training rows and keeps the weights that predict it best (Prechelt
  1998, "Early Stopping - But When?"). The share, the number of checks and the patience are ours.
"""

from collections.abc import Sequence
from typing import Any

from tutelage.student.data.folds import stratified_folds
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.processes.ranks import Ranks

_FOLDS = 5  # one of them is held out
_CHECKS = 10  # at equal distances over all steps
_PATIENCE = 3  # checks without a better score after which training stops


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
        _assign(self.parameters, self.means)


def hold_out(
    rows: Sequence[Row], training_config: TrainingConfig, seed: int
) -> tuple[Sequence[Row], list[Row]]:
    """Return the rows to train on, and those that are held out, stratified by label: none without
    `early_stopping`, or of fewer than five rows.
    """
    if not training_config.early_stopping or len(rows) < _FOLDS:
        return rows, []
    folds = stratified_folds(rows, TASK_TYPES[training_config.kind], _FOLDS, seed)
    trained, held_out = ([row for row in rows if (not folds[row["id"]]) == out] for out in (False, True))
    return trained, held_out


class BestWeights:
    """The weights with the best score on the held-out rows, by the first metric of the task type.

    Attributes:
        step: the step after which the student had these weights; 0 before the first check.
    """

    def __init__(self, adapter: TrainerAdapter, held_out: Sequence[Row], steps: int, ranks: Ranks):
        self.adapter, self.held_out, self.steps, self.ranks = adapter, held_out, steps, ranks
        self.step, self._score, self._misses = 0, float("-inf"), 0
        self._weights = list[Any]()

    def stop_after(self, step: int) -> bool:
        """Score the student if a check is due after this step, counted from 1; return whether to stop."""
        import torch

        if not self.held_out or step * _CHECKS // self.steps == (step - 1) * _CHECKS // self.steps:
            return False
        score = self.ranks.agreed(evaluate(self.adapter.student, self.held_out)["metric"])
        if score > self._score:
            self.step, self._score, self._misses = step, score, 0
            with torch.no_grad():
                self._weights = [parameter.detach().clone() for parameter in self.adapter.parameters]
        else:
            self._misses += 1
        return self._misses == _PATIENCE

    def apply(self) -> None:
        """Give the student these weights; leave it as it is if there were none."""
        _assign(self.adapter.parameters, self._weights)


def _assign(parameters: Sequence[Any], values: Sequence[Any]) -> None:
    """Set parameters to values, in place; leave them as they are if there are none."""
    import torch

    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=bool(values)):
            parameter.copy_(value)
