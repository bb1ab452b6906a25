"""The gradient of a mini-batch: in parts on several ranks, or where a GPU does not hold it at once."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from tutelage.student.errors import InputError
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.losses import Objective
from tutelage.student.training.processes.ranks import ALONE, Ranks
from tutelage.student.training.training_set import SampleSelector

if TYPE_CHECKING:
    from torch import Tensor


class Gradients:
    """Add the gradient of mini-batches to the parameters of an adapter.

    Each of several ranks computes the gradient of its part of the batch. If CUDA runs out of memory, this
    part is halved, and halved again; `parts` stays as it is for the batches that follow. The gradients of all
    parts are added: the step is that of the whole batch.
    """

    def __init__(
        self,
        adapter: TrainerAdapter,
        objective: Objective,
        selector: SampleSelector | None,
        ranks: Ranks = ALONE,
    ):
        self.adapter, self.objective, self.selector, self.ranks = adapter, objective, selector, ranks
        self.parts = 1

    def __call__(self, batch: Sequence[int]) -> "Tensor | None":
        """Return the loss of a batch, without gradient; None, and no gradient, if no sample is selected.

        Raises:
            InputError: the memory does not hold a single text, or not the batch if samples are selected.
        """
        # Outside of the retries: the other ranks wait for this one, and must meet it once.
        return self.ranks.add(self._retried(batch), self.adapter.parameters)

    def _retried(self, batch: Sequence[int]) -> "Tensor | None":
        import torch

        mine = self.ranks.part(batch)
        while True:
            try:
                return self._add(mine, batch)
            except torch.cuda.OutOfMemoryError as error:
                if self.selector or self.parts >= len(mine):
                    raise InputError(
                        f"the GPU has too little memory to train on {ceil(len(mine) / self.parts)} texts at"
                        " once; lower `batch` or `max_tokens` of `student`, or set `device: cpu`"
                    ) from error
            # Only here, when the error and the tensors that it refers to are gone, can memory be freed.
            self.parts *= 2
            for parameter in self.adapter.parameters:
                parameter.grad = None
            torch.cuda.empty_cache()

    def _add(self, mine: Sequence[int], batch: Sequence[int]) -> "Tensor | None":
        """Add the gradient of this rank's part of a batch, and return its share of the loss."""
        import torch

        adapter, size = self.adapter, max(1, ceil(len(mine) / self.parts))
        total, losses = adapter.weights[batch].sum(), list["Tensor"]()
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            logits, weights = adapter.logits(part), adapter.weights[part]
            if self.selector:  # of a batch in one part
                chosen = torch.from_numpy(self.selector.weights(part, logits)).to(weights)
                weights, total = weights * chosen, (weights * chosen).sum()
            if not weights.any():
                continue
            # `losses` divides by the mean size of the texts of the part, the loss by that of the batch.
            relative = adapter.sizes[part].mean() / adapter.sizes[batch].mean().clamp(min=1e-9)
            loss = (adapter.losses(logits, part, self.objective) * weights).sum() / total * relative
            (loss + adapter.penalty() * len(part) / len(batch)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum() if losses else None
