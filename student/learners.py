"""Learners: the two kinds of student as the training loop sees them."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tutelage.student.encoder import Encoder
from tutelage.student.model import FullStudent, HeadStudent, Student

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_RATE = 0.02  # AdamW's, on vectors of length 1 (ours)


class Learner(Protocol):
    """A student in training on given texts; batches are lists of their places."""

    lengths: list[int]
    parameters: list[Any]
    rate: float
    decay: float
    device: Any

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), labels), with gradient."""
        ...

    def penalty(self) -> "Tensor | float":
        """What is added to the mean loss of a mini-batch."""
        ...

    @property
    def student(self) -> Student:
        """The student as it stands."""
        ...


class FullLearner:
    """Every weight of a sequence classifier."""

    decay = 0.01  # AdamW's own default

    def __init__(self, tokens: list[list[int]], student: FullStudent, rate: float):
        self.tokens, self.student, self.rate = tokens, student, rate
        self.lengths = [len(ids) for ids in tokens]
        self.parameters = list(student.model.parameters())
        self.device = student.model.device

    @classmethod
    def of(cls, texts: list[str], student: FullStudent, rate: float | None) -> "FullLearner":
        """A learner on texts; see `Recipe` for the rate."""
        student.model.train()
        tokens = student.tokenizer(texts, truncation=True, max_length=student.max_tokens)["input_ids"]
        width = student.model.config.hidden_size
        return cls(tokens, student, rate or 3e-4 * min(1.0, 384 / width) ** 2)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), labels), with gradient."""
        import torch

        inputs = self.student.tokenizer.pad(
            {"input_ids": [self.tokens[i] for i in batch]}, return_tensors="pt"
        )
        # bf16 pays on CUDA only: on a CPU without AMX it is slower than fp32.
        cuda = self.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            logits: Tensor = self.student.model(**inputs.to(self.device)).logits
        return logits.float()

    def penalty(self) -> "Tensor | float":
        """Nothing."""
        return 0.0


class HeadLearner:
    """A linear classifier on cached vectors, in mini-batches: for what its closed solution cannot do."""

    rate = _HEAD_RATE
    decay = 0.0  # AdamW's own would not lead to where the closed solution is

    def __init__(
        self, vectors: Any, weight: Any, bias: Any, labels: Sequence[str], encoder: Encoder, shrink: float
    ):
        self.vectors, self.weight, self.bias = vectors, weight, bias
        self.labels, self.encoder, self.shrink = labels, encoder, shrink
        self.lengths = [1] * len(vectors)
        self.parameters = [weight, bias]
        self.device = vectors.device

    @classmethod
    def of(
        cls, texts: list[str], labels: Sequence[str], encoder: Encoder, shrink: float, start: Student | None
    ) -> "HeadLearner":
        """A learner on texts, from zero or from another head."""
        import torch

        old = start if isinstance(start, HeadStudent) else None
        zero = np.zeros((len(labels), encoder.dimensions), np.float32)
        weight = torch.from_numpy((old.weight if old else zero).copy()).requires_grad_()
        bias = torch.from_numpy((old.bias if old else zero[:, 0]).copy()).requires_grad_()
        return cls(torch.from_numpy(encoder.encode(texts)), weight, bias, labels, encoder, shrink)

    def penalty(self) -> "Tensor | float":
        """`shrink` · ‖W‖²."""
        penalty: Tensor = self.shrink * (self.weight**2).sum()
        return penalty

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Logits of shape (len(batch), labels), with gradient."""
        logits: Tensor = self.vectors[list(batch)] @ self.weight.T + self.bias
        return logits

    @property
    def student(self) -> Student:
        """The head as it stands."""
        weight, bias = (part.detach().numpy() for part in self.parameters)
        return HeadStudent(self.encoder, weight, bias, self.labels)
