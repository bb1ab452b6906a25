"""Learners: students as the training loop sees them."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.model import HEAD_TYPE, FullStudent, HeadStudent, Student, features
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

    def bounds(self, objective: Objective) -> "tuple[float, float] | None":
        """The mean loss of always answering the label frequencies, and the least mean loss there can be; None
        of a student without labels.
        """
        ...

    @property
    def student(self) -> Student:
        """The student as it stands."""
        ...


class Goals(NamedTuple):
    """What a classifier is trained towards.

    Attributes:
        targets: shape (n, labels).
        weights: of the texts in the loss, shape (n,).
        positive: of multi-label tasks the weight of each label where a text has it, shape (labels,).
    """

    targets: "Tensor"
    weights: "Tensor"
    positive: "Tensor | None" = None

    def to(self, device: Any) -> "Goals":
        """The same on a device."""
        positive = None if self.positive is None else self.positive.to(device)
        return Goals(self.targets.to(device), self.weights.to(device), positive)

    def losses(self, logits: "Tensor", batch: Any, objective: Objective, *, several: bool) -> "Tensor":
        """The loss of each text of a batch of places, shape (len(batch),), without the texts' weights."""
        if several:
            return set_losses(logits, self.targets[batch], objective, self.positive)
        return sample_losses(logits, self.targets[batch], objective)

    def bounds(self, objective: Objective, *, several: bool) -> tuple[float, float]:
        """See `Learner.bounds`."""
        weights = self.weights / self.weights.sum()
        tiny = 1e-6
        share = (weights @ self.targets).clamp(tiny, 1 - tiny)
        own = self.targets.clamp(tiny, 1 - tiny)
        frequent, exact = (p.logit() if several else p.log() for p in (share.expand_as(own), own))
        places = slice(None)
        chance, least = (
            (self.losses(logits, places, objective, several=several) * weights).sum()
            for logits in (frequent, exact)
        )
        return float(chance), float(least)


class FullLearner:
    """Every weight of a sequence classifier; `goals` are needed for `losses` alone."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        tokens: list[dict[str, list[int]]],
        student: FullStudent,
        rate: float,
        goals: Goals | None,
    ):
        self.tokens, self.student, self.rate, self.goals = tokens, student, rate, goals
        self.lengths = [len(one["input_ids"]) for one in tokens]
        self.parameters = list(student.model.parameters())
        self.device = student.model.device
        self.weights: Tensor = even(tokens).to(self.device) if goals is None else goals.weights

    @classmethod
    def of(
        cls,
        texts: list[str],
        student: FullStudent,
        rate: float | None,
        goals: Goals | None = None,
    ) -> "FullLearner":
        """A learner on texts; see `Recipe` for the rate."""
        student.model.train()
        encoded = student.tokens(texts, return_attention_mask=False)
        tokens = [{name: ids[i] for name, ids in encoded.items()} for i in range(len(texts))]
        here = goals and goals.to(student.model.device)
        return cls(tokens, student, rate or default_rate(student.model), here)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), labels), with gradient."""
        with half_on_cuda(self.device):
            logits: Tensor = self.student.model(**self.inputs(batch)).logits
        return logits.float()

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """See `Learner`."""
        assert self.goals
        return self.goals.losses(logits, batch, objective, several=self.student.thresholds is not None)

    def bounds(self, objective: Objective) -> tuple[float, float] | None:
        """See `Learner`."""
        several = self.student.thresholds is not None
        return self.goals and self.goals.bounds(objective, several=several)

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
        goals: Goals,
    ):
        self.vectors, self.weight, self.bias = vectors, weight, bias
        self.start, self.shrink, self.goals, self.weights = student, shrink, goals, goals.weights
        self.lengths = [1] * len(vectors)
        self.parameters = [weight, bias]
        self.device = vectors.device

    @classmethod
    def of(cls, texts: list[str], start: HeadStudent, shrink: float, goals: Goals) -> "HeadLearner":
        """A learner on texts, which goes on from a copy of a head."""
        import torch

        weight, bias = (torch.from_numpy(part.copy()).requires_grad_() for part in (start.weight, start.bias))
        vectors = torch.from_numpy(features(start.encoder, texts, start.fields))
        return cls(vectors, weight, bias, start, shrink, goals)

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
        return self.goals.losses(logits, batch, objective, several=self.start.thresholds is not None)

    def bounds(self, objective: Objective) -> tuple[float, float] | None:
        """See `Learner`."""
        return self.goals.bounds(objective, several=self.start.thresholds is not None)

    @property
    def student(self) -> Student:
        """The head as it stands."""
        weight, bias = (part.detach().numpy() for part in self.parameters)
        return self.start.of(weight, bias)


def default_rate(model: Any) -> float:
    """See `Recipe`."""
    config = model.encoder.config if model.config.model_type == HEAD_TYPE else model.config
    config = getattr(config, "decoder", config)  # of two models in one
    return 3e-4 * min(1.0, 384 / int(config.hidden_size)) ** 2


def even(texts: Sequence[Any], weights: NDArray[np.float64] | None = None) -> "Tensor":
    """The weights, or the same for every text."""
    import torch

    return torch.ones(len(texts)) if weights is None else torch.from_numpy(weights).float()


def half_on_cuda(device: Any) -> Any:
    """bf16 pays on CUDA only: on a CPU without AMX it is slower than fp32."""
    import torch

    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
