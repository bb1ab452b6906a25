"""Supervised-contrastive steps: move embeddings of texts with the same label together, before a probe.

SetFit trains a sentence encoder on pairs made of few rows, then a logistic head (Tunstall et al. 2022, arXiv
2209.11055). The loss here is SupCon (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2), which
uses all pairs of a mini-batch. The sampling and the temperature are ours.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from tutelage.student.device import half_on_cuda
from tutelage.student.models.base import FullStudent
from tutelage.student.models.windows import mean_by_text
from tutelage.student.training.adapters.base import default_rate
from tutelage.student.training.adapters.window_batches import WindowBatches
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.observer import Observer
from tutelage.student.training.schedule import warm_and_down
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

_Item = TypeVar("_Item")
_TEMPERATURE = 0.1


def contrast(
    student: FullStudent,
    training_set: TrainingSet,
    training_config: TrainingConfig,
    seed: int,
    observer: Observer,
) -> None:
    """Train the encoder of a mean-pooled student for `training_config.contrastive_steps` steps, in place."""
    import torch

    model = student.model
    model.train()
    numbers = torch.tensor(training_set.numbers(student.labels))
    weights = torch.from_numpy(training_set.weights).float()
    rate = training_config.learning_rate or default_rate(model)
    optimizer = torch.optim.AdamW(model.encoder.parameters(), lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(training_config.contrastive_steps))
    windows = WindowBatches(training_set.texts, student)
    batches = balanced(training_set.labels, training_config.batch, random.Random(seed))
    for number, batch in enumerate(islice(batches, training_config.contrastive_steps), 1):
        observer.step(number, training_config.contrastive_steps)
        inputs, owners = windows.inputs(batch)
        with half_on_cuda(model.device):
            vectors = mean_by_text(model.embed(**inputs).float(), owners, len(batch))
        if len(owners) > len(batch):
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        loss = supcon(vectors, numbers[batch].to(vectors.device), weights[batch].to(vectors.device))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def supcon(vectors: "Tensor", numbers: "Tensor", weights: "Tensor") -> "Tensor":
    """Return the supervised-contrastive loss (arXiv 2004.11362, eq. 2), the weighted mean over anchors.

    Args:
        vectors: embeddings of length 1, shape (n, width).
        numbers: label indices, shape (n,); a text whose label occurs only once is no anchor.
        weights: weights of the anchors, shape (n,).
    """
    import torch

    others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    positive = (numbers[:, None] == numbers) & others
    similar = (vectors @ vectors.T / _TEMPERATURE).masked_fill(~others, -torch.inf)
    shares = similar.log_softmax(1).masked_fill(~positive, 0.0)
    counts = positive.sum(1)
    losses = -shares.sum(1) / counts.clamp(min=1)
    anchors = weights * (counts > 0)
    return (losses * anchors).sum() / anchors.sum().clamp(min=1e-9)


def balanced(labels: Sequence[str], size: int, order: random.Random) -> Iterator[list[int]]:
    """Yield batches of text indices forever: two texts of each label in turn, so that rare labels occur as
    often as common ones. If a label has one text, it occurs twice: dropout makes two views of it.
    """
    indices: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        indices.setdefault(label, []).append(i)
    texts = {label: _forever(members, order) for label, members in indices.items()}
    turn = _forever(list(texts), order)
    while True:
        yield [next(texts[label]) for label in islice(turn, max(size // 2, 2)) for _ in range(2)]


def _forever(items: list[_Item], order: random.Random) -> Iterator[_Item]:
    """Yield the items in endless passes, each in a new random order."""
    while True:
        yield from order.sample(items, len(items))
