"""The gradient of a mini-batch, in parts if the memory of the GPU does not hold it at once."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from tutelage.student.errors import InputError
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.losses import Objective
from tutelage.student.training.training_set import SampleSelector

if TYPE_CHECKING:
    from torch import Tensor


class Gradients:
    """Add the gradient of mini-batches to the parameters of an adapter.

    If CUDA runs out of memory, the batch is halved, and halved again, and the gradients of its parts are
    added: the step is that of the whole batch. `parts` stays as it is for the batches that follow.
    """

    def __init__(self, adapter: TrainerAdapter, objective: Objective, selector: SampleSelector | None):
        self.adapter, self.objective, self.selector, self.parts = adapter, objective, selector, 1

    def __call__(self, batch: Sequence[int]) -> "Tensor | None":
        """Return the loss of a batch, without gradient; None, and no gradient, if no sample is selected.

        Raises:
            InputError: the memory does not hold a single text, or not the batch if samples are selected.
        """
        import torch

        while True:
            try:
                return self._add(batch)
            except torch.cuda.OutOfMemoryError as error:
                if self.selector or self.parts >= len(batch):
                    raise InputError(
                        f"the GPU has too little memory to train on {ceil(len(batch) / self.parts)} texts at"
                        " once; lower `batch` or `max_tokens` of `student`, or set `device: cpu`"
                    ) from error
            # Only here, when the error and the tensors that it refers to are gone, can memory be freed.
            self.parts *= 2
            for parameter in self.adapter.parameters:
                parameter.grad = None
            torch.cuda.empty_cache()

    def _add(self, batch: Sequence[int]) -> "Tensor | None":
        import torch

        adapter, size = self.adapter, ceil(len(batch) / self.parts)
        total, losses = adapter.weights[batch].sum(), list["Tensor"]()
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            logits, weights = adapter.logits(part), adapter.weights[part]
            if self.selector:  # of a batch in one part
                chosen = torch.from_numpy(self.selector.weights(part, logits)).to(weights)
                weights, total = weights * chosen, (weights * chosen).sum()
            if not weights.any():
                continue
            loss = (adapter.losses(logits, part, self.objective) * weights).sum() / total
            (loss + adapter.penalty() * len(part) / len(batch)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum() if losses else None
