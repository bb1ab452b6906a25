"""Learners: the two kinds of student as the training loop sees them."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.student.model import FullStudent, HeadStudent, Student, features

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

    def __init__(self, tokens: list[dict[str, list[int]]], student: FullStudent, rate: float):
        self.tokens, self.student, self.rate = tokens, student, rate
        self.lengths = [len(one["input_ids"]) for one in tokens]
        self.parameters = list(student.model.parameters())
        self.device = student.model.device

    @classmethod
    def of(cls, texts: list[str], student: FullStudent, rate: float | None) -> "FullLearner":
        """A learner on texts; see `Recipe` for the rate."""
        student.model.train()
        encoded = student.tokens(texts, return_attention_mask=False)
        tokens = [{name: ids[i] for name, ids in encoded.items()} for i in range(len(texts))]
        width = student.model.config.hidden_size
        return cls(tokens, student, rate or 3e-4 * min(1.0, 384 / width) ** 2)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), labels), with gradient."""
        import torch

        # bf16 pays on CUDA only: on a CPU without AMX it is slower than fp32.
        cuda = self.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            logits: Tensor = self.student.model(**self.inputs(batch)).logits
        return logits.float()

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

    def __init__(self, vectors: Any, weight: Any, bias: Any, student: HeadStudent, shrink: float):
        self.vectors, self.weight, self.bias = vectors, weight, bias
        self.start, self.shrink = student, shrink
        self.lengths = [1] * len(vectors)
        self.parameters = [weight, bias]
        self.device = vectors.device

    @classmethod
    def of(cls, texts: list[str], start: HeadStudent, shrink: float) -> "HeadLearner":
        """A learner on texts, which goes on from a copy of a head."""
        import torch

        weight, bias = (torch.from_numpy(part.copy()).requires_grad_() for part in (start.weight, start.bias))
        vectors = torch.from_numpy(features(start.encoder, texts, start.fields))
        return cls(vectors, weight, bias, start, shrink)

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
        return HeadStudent(self.start.encoder, weight, bias, self.start.labels, self.start.fields)
