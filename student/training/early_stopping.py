"""Early stopping: a fifth of the training rows is held out, and the weights that predict it best are kept.

The usual remedy for training too long (Prechelt 1998, "Early Stopping - But When?"). The share, the number of
checks and the patience are ours.
"""

from collections.abc import Sequence
from typing import Any

from tutelage.student.data.folds import stratified_folds
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.averaging import assign
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.processes.ranks import Ranks

_FOLDS = 5  # one of them is held out
_CHECKS = 10  # at equal distances over all steps
_PATIENCE = 3  # checks without a better score after which training stops


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
        assign(self.adapter.parameters, self._weights)
