"""Learners: students as the training loop sees them."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.model import Classifier, FullStudent, HeadStudent, Student, features
from tutelage.student.objectives import Objective, sample_losses, set_losses

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_RATE = 0.02  # AdamW's, on vectors of length 1 (ours)


class Learner(Protocol):
    """A student in training on given texts, each with its weight in the loss; batches are lists of places."""

    lengths: list[int]
    weights: "Tensor"
    parameters: list[Any]
    rate: float
    decay: float
    device: Any

    def logits(self, batch: Sequence[int]) -> Any:
        """Float logits with gradient, the first axis the batch."""
        ...

    def losses(self, logits: Any, batch: Sequence[int], objective: Objective) -> "Tensor":
        """The loss of each text, shape (len(batch),)."""
        ...

    def penalty(self) -> "Tensor | float":
        """What is added to the mean loss of a mini-batch."""
        ...

    @property
    def student(self) -> Student:
        """The student as it stands."""
        ...


class FullLearner:
    """Every weight of a sequence classifier; `targets` of shape (n, labels) are needed for `losses` alone."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        tokens: list[dict[str, list[int]]],
        student: FullStudent,
        rate: float,
        targets: Any,
        weights: Any,
    ):
        self.tokens, self.student, self.rate = tokens, student, rate
        self.lengths = [len(one["input_ids"]) for one in tokens]
        self.parameters = list(student.model.parameters())
        self.device = student.model.device
        self.targets, self.weights = targets, weights

    @classmethod
    def of(
        cls,
        texts: list[str],
        student: FullStudent,
        rate: float | None,
        targets: NDArray[np.float32] | None = None,
        weights: "Tensor | None" = None,
    ) -> "FullLearner":
        """A learner on texts; see `Recipe` for the rate."""
        student.model.train()
        encoded = student.tokens(texts, return_attention_mask=False)
        tokens = [{name: ids[i] for name, ids in encoded.items()} for i in range(len(texts))]
        here = student.model.device
        goals = _tensor(targets, here)
        return cls(tokens, student, rate or default_rate(student.model), goals, even(texts, weights).to(here))

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), labels), with gradient."""
        with half_on_cuda(self.device):
            logits: Tensor = self.student.model(**self.inputs(batch)).logits
        return logits.float()

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """See `Learner`."""
        return _losses(self.student, logits, self.targets[batch], objective)

    def inputs(self, batch: Sequence[int]) -> Any:
        """Token ids and their mask, padded, on the device."""
        chosen = [self.tokens[i] for i in batch]
        return self.student.tokenizer.pad(chosen, return_tensors="pt").to(self.device)

    def penalty(self) -> "Tensor | float":
        """Nothing."""
        return 0.0


class HeadLearner:
    """A linear classifier on cached vectors, in mini-batches: for what its closed solution cannot do."""

    rate = _HEAD_RATE
    decay = 0.0  # AdamW's own would not lead to where the closed solution is

    def __init__(
        self,
        vectors: Any,
        weight: Any,
        bias: Any,
        student: HeadStudent,
        shrink: float,
        targets: Any,
        weights: Any,
    ):
        self.vectors, self.weight, self.bias = vectors, weight, bias
        self.start, self.shrink, self.targets, self.weights = student, shrink, targets, weights
        self.lengths = [1] * len(vectors)
        self.parameters = [weight, bias]
        self.device = vectors.device

    @classmethod
    def of(
        cls,
        texts: list[str],
        start: HeadStudent,
        shrink: float,
        targets: NDArray[np.float32],
        weights: "Tensor | None",
    ) -> "HeadLearner":
        """A learner on texts, which goes on from a copy of a head."""
        import torch

        weight, bias = (torch.from_numpy(part.copy()).requires_grad_() for part in (start.weight, start.bias))
        vectors = torch.from_numpy(features(start.encoder, texts, start.fields))
        return cls(vectors, weight, bias, start, shrink, _tensor(targets, "cpu"), even(texts, weights))

    def penalty(self) -> "Tensor | float":
        """`shrink` · ‖W‖²."""
        penalty: Tensor = self.shrink * (self.weight**2).sum()
        return penalty

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Logits of shape (len(batch), labels), with gradient."""
        logits: Tensor = self.vectors[list(batch)] @ self.weight.T + self.bias
        return logits

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """See `Learner`."""
        return _losses(self.start, logits, self.targets[batch], objective)

    @property
    def student(self) -> Student:
        """The head as it stands."""
        weight, bias = (part.detach().numpy() for part in self.parameters)
        return self.start.of(weight, bias)


def default_rate(model: Any) -> float:
    """See `Recipe`."""
    config = getattr(model.config, "decoder", model.config)  # of two models in one
    return 3e-4 * min(1.0, 384 / int(config.hidden_size)) ** 2


def even(texts: Sequence[str], weights: "Tensor | None" = None) -> "Tensor":
    """The weights, or the same for every text."""
    import torch

    return torch.ones(len(texts)) if weights is None else weights


def half_on_cuda(device: Any) -> Any:
    """bf16 pays on CUDA only: on a CPU without AMX it is slower than fp32."""
    import torch

    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _losses(student: Classifier, logits: "Tensor", targets: "Tensor", objective: Objective) -> "Tensor":
    of = sample_losses if student.thresholds is None else set_losses
    return of(logits, targets, objective)


def _tensor(targets: NDArray[np.float32] | None, device: Any) -> Any:
    import torch

    return None if targets is None else torch.from_numpy(targets).to(device)
