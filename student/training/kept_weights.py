"""Which weights a training keeps: the last ones, a mean over the last steps, or the best on held-out rows.

- Stochastic weight averaging (Izmailov et al., UAI 2018, arXiv 1803.05407) keeps the learning rate high. Here
  the learning rate falls to 0 as in any other training, and every step is averaged (ours). It reduces the
  spread between seeds.
- Early stopping holds out a fifth of the training rows and keeps the weights with the lowest loss on them
  (Prechelt 1998, "Early Stopping - But When?"). The share, the number of checks and the patience are ours.
"""

from collections.abc import Sequence
from typing import Any

from tutelage.student.data.folds import labels_below, stratified_folds
from tutelage.student.data.rows import Row
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.processes.ranks import Ranks

_FOLDS = 5  # one of them is held out
_CHECKS = 10  # at equal distances over all steps
_PATIENCE = 3  # checks without a lower loss after which training stops


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
    """Return the rows to train on, and those that are held out: without `early_stopping`, none.

    Held out is a fifth of the rows that have a weight and no soft target, stratified by label. All rows of a
    label with fewer than five are trained on.
    """
    if not training_config.early_stopping or not (training_config.epochs or training_config.steps):
        return rows, []
    task_type = TASK_TYPES[training_config.kind]
    hard = [row for row in rows if row.get("target") is None and row.get("weight", 1.0) > 0]
    rare = set(labels_below(hard, task_type, _FOLDS))
    common = [row for row in hard if not rare & set(task_type.labels_in(row["label"]))]
    if len(common) < _FOLDS:
        return rows, []
    folds = stratified_folds(common, task_type, _FOLDS, seed)
    held_out = [row for row in common if folds[row["id"]] == 0]
    return [row for row in rows if folds.get(row["id"]) != 0], held_out


class BestWeights:
    """The weights with the lowest mean loss on the held-out rows.

    Attributes:
        step: the step after which the student had these weights; 0 before the first check.
    """

    def __init__(self, adapter: TrainerAdapter, held_out: Sequence[Row], steps: int, ranks: Ranks):
        self.adapter, self.steps, self.ranks = adapter, steps, ranks
        self.step, self._lowest, self._misses = 0, float("inf"), 0
        self._texts = [row["text"] for row in held_out]
        self._labels = [row["label"] for row in held_out]
        self._weights = list[Any]()

    def stop_after(self, step: int) -> bool:
        """Compute the loss if a check is due after this step, counted from 1; return whether to stop."""
        if not self._texts or step * _CHECKS // self.steps == (step - 1) * _CHECKS // self.steps:
            return False
        found = self.adapter.student.predict(self._texts, self._labels)
        self.adapter.model.train()  # predictions leave the model without dropout
        assert found.nll is not None
        loss = self.ranks.from_first(float(found.nll.mean()))
        if loss < self._lowest:
            self.step, self._lowest, self._misses = step, loss, 0
            self._keep()
        else:
            self._misses += 1
        return self._misses == _PATIENCE

    def _keep(self) -> None:
        import torch

        with torch.no_grad():
            if not self._weights:
                self._weights = [torch.empty_like(parameter) for parameter in self.adapter.parameters]
            _assign(self._weights, self.adapter.parameters)

    def apply(self) -> None:
        """Give the student these weights; leave it as it is if there were none."""
        _assign(self.adapter.parameters, self._weights)


def _assign(parameters: Sequence[Any], values: Sequence[Any]) -> None:
    """Set parameters to values, in place; leave them as they are if there are none."""
    import torch

    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=bool(values)):
            parameter.copy_(value)
