"""Linear classifiers on fixed vectors, solved by L-BFGS: head students, and probes before a fine-tuning."""

from typing import TYPE_CHECKING

from tutelage.student.models.base import FullStudent
from tutelage.student.training.adapters.base import Goals
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.losses import PLAIN
from tutelage.student.training.training_set import Lessons

if TYPE_CHECKING:
    from torch import Tensor


def solve(vectors: "Tensor", goals: Goals, decay: float, *, several: bool) -> "tuple[Tensor, Tensor]":
    """Fit a logistic regression, multinomial or of each label by itself. It is convex: no seed matters.

    Args:
        vectors: shape (n, width).
        goals: targets, weights of the rows and of the labels.
        decay: `decay · ‖W‖²` is added to the weighted mean of the losses.
        several: whether a text may have several labels.

    Returns:
        Weight of shape (labels, width) and bias of shape (labels,).
    """
    import torch

    labels = goals.targets.shape[1]
    weight = torch.zeros(labels, vectors.shape[1], requires_grad=True)
    bias = torch.zeros(labels, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")
    shares, everything = goals.weights / goals.weights.sum(), slice(None)

    def closure() -> float:
        optimizer.zero_grad()
        losses = goals.losses(vectors @ weight.T + bias, everything, PLAIN, several=several)
        loss = (losses * shares).sum() + decay * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.item())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def probe(student: FullStudent, lessons: Lessons, goals: Goals, recipe: Recipe) -> None:
    """Fit the linear layer of a mean-pooled student on its embeddings as they are, in place."""
    import torch

    several = student.thresholds is not None
    decay = probe_decay(recipe, lessons, len(student.labels), several=several)
    weight, bias = solve(embeddings(student, lessons.texts), goals, decay, several=several)
    with torch.no_grad():
        student.model.classifier.weight.copy_(weight)
        student.model.classifier.bias.copy_(bias)


def embeddings(student: FullStudent, texts: list[str]) -> "Tensor":
    """Return what the linear layer of a mean-pooled student reads, shape (len(texts), width), on the CPU."""
    import torch

    student.model.eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = []
    with torch.no_grad():
        for start in range(0, len(order), 64):
            part = [texts[i] for i in order[start : start + 64]]
            inputs = student.tokens(part, padding=True, return_tensors="pt").to(student.model.device)
            parts.append(student.model.embed(**inputs).float().cpu())
    places = torch.tensor(order).argsort()
    return torch.cat(parts)[places]


def probe_decay(recipe: Recipe, lessons: Lessons, labels: int, *, several: bool) -> float:
    """Return the weight decay for the mean loss: that of the sum of losses does not depend on the number of
    rows, as of a Gaussian prior. Where each label is right or wrong by itself, there are two outcomes.
    """
    return float(recipe.head_decay / (lessons.weights.sum() * (2 if several else labels) ** 0.5))
