"""Learners: students as the training loop sees them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.models.base import HEAD_TYPE, Student
from tutelage.student.training.losses import Objective, sample_losses, set_losses

if TYPE_CHECKING:
    from torch import Tensor


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


def default_rate(model: Any) -> float:
    """See `Recipe`."""
    config = model.encoder.config if model.config.model_type == HEAD_TYPE else model.config
    config = getattr(config, "decoder", config)  # of two models in one
    return 3e-4 * min(1.0, 384 / int(config.hidden_size)) ** 2


def even(texts: Sequence[Any], weights: NDArray[np.float64] | None = None) -> "Tensor":
    """The weights, or the same for every text."""
    import torch

    return torch.ones(len(texts)) if weights is None else torch.from_numpy(weights).float()


def quicken(config: Any) -> None:
    """Dropout inside attention shuts off the fast kernels; the other dropouts stay. Worth 1.15x at 64 tokens
    in a first look, nothing in benchmarks/training.py at 44.
    """
    if hasattr(config, "attention_probs_dropout_prob"):
        config.attention_probs_dropout_prob = 0.0
