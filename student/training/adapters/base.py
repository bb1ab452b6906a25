"""The `TrainerAdapter` protocol between a student and the training loop, and what adapters share."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.models.base import HEAD_TYPE, Student
from tutelage.student.training.losses import Objective, sample_losses, set_losses

if TYPE_CHECKING:
    from torch import Tensor


class TrainerAdapter(Protocol):
    """A student in training on a fixed list of texts; a batch is a list of indices into it.

    `lengths` (for bucketing), loss `weights`, and `sizes` have one value per text. The size of a text is the
    number of its words or tokens that have a loss; 1 if the text has one. AdamW uses `rate` and `decay`.
    `model` is the network, None for a head.
    """

    model: Any
    lengths: list[int]
    weights: "Tensor"
    sizes: "Tensor"
    parameters: list[Any]
    rate: float
    decay: float
    device: Any

    @property
    def token_ids(self) -> AbstractSet[int]:
        """Return all tokens that are embedded in training; none if the embedding has other uses."""
        ...

    def logits(self, batch: Sequence[int]) -> Any:
        """Return float logits with gradient; the first axis is the batch."""
        ...

    def losses(self, logits: Any, batch: Sequence[int], objective: Objective) -> "Tensor":
        """Return the loss of each text, shape (len(batch),): the sum over its words or tokens, divided by the
        mean size of the texts of the batch.
        """
        ...

    def penalty(self) -> "Tensor | float":
        """Return the term that is added to the mean loss of a mini-batch."""
        ...

    def bounds(self, objective: Objective) -> "tuple[float, float] | None":
        """Return the mean loss of always predicting the label frequencies, and the lowest possible mean loss;
        return None for a student without labels.
        """
        ...

    @property
    def student(self) -> Student:
        """Return the student in its current state."""
        ...


class Targets(NamedTuple):
    """The targets of a classifier in training.

    Attributes:
        targets: probabilities of the labels, shape (n, labels).
        weights: loss weights of the texts, shape (n,).
        positive: in multi-label tasks, the weight of each label in texts that have it, shape (labels,).
    """

    targets: "Tensor"
    weights: "Tensor"
    positive: "Tensor | None" = None

    def to(self, device: Any) -> "Targets":
        """Return a copy on the given device."""
        positive = None if self.positive is None else self.positive.to(device)
        return Targets(self.targets.to(device), self.weights.to(device), positive)

    def losses(self, logits: "Tensor", batch: Any, objective: Objective, *, several: bool) -> "Tensor":
        """Return the loss of each text in a batch, shape (len(batch),), without the texts' weights."""
        if several:
            return set_losses(logits, self.targets[batch], objective, self.positive)
        return sample_losses(logits, self.targets[batch], objective)

    def bounds(self, objective: Objective, *, several: bool) -> tuple[float, float]:
        """Return the bounds of the mean loss, see `TrainerAdapter.bounds`."""
        weights = self.weights / self.weights.sum()
        tiny = 1e-6
        shares = (weights @ self.targets).clamp(tiny, 1 - tiny)
        targets = self.targets.clamp(tiny, 1 - tiny)
        frequent, exact = (p.logit() if several else p.log() for p in (shares.expand_as(targets), targets))
        everything = slice(None)
        chance, least = (
            (self.losses(logits, everything, objective, several=several) * weights).sum()
            for logits in (frequent, exact)
        )
        return float(chance), float(least)


def default_rate(model: Any) -> float:
    """Return the default learning rate at the model's width, see `TrainingConfig.learning_rate`."""
    config = model.encoder.config if model.config.model_type == HEAD_TYPE else model.config
    config = getattr(config, "decoder", config)  # an `EncoderDecoderModel` has one for each half
    return 3e-4 * min(1.0, 384 / int(config.hidden_size)) ** 2


def uniform_weights(texts: Sequence[Any], weights: NDArray[np.float64] | None = None) -> "Tensor":
    """Return the weights as a tensor, or a weight of 1 for every text."""
    import torch

    return torch.ones(len(texts)) if weights is None else torch.from_numpy(weights).float()


def disable_attention_dropout(config: Any) -> None:
    """Turn off dropout inside attention, in place: it rules out the fast kernels. Other dropouts stay. At 64
    tokens this was 1.15x faster in a first measurement; at 44, in benchmarks/training.py, it was no faster.
    """
    if hasattr(config, "attention_probs_dropout_prob"):
        config.attention_probs_dropout_prob = 0.0
