"""Linear classifiers on fixed vectors, fitted by L-BFGS: head students, and probes before fine-tuning."""

from typing import TYPE_CHECKING

from tutelage.student.models.base import FullStudent
from tutelage.student.models.windows import mean_over_windows
from tutelage.student.training.adapters.base import Targets
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.losses import PLAIN
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor


def solve(vectors: "Tensor", goals: Targets, decay: float, *, several: bool) -> "tuple[Tensor, Tensor]":
    """Fit a multinomial logistic regression, or one per label. The problem is convex, so there is no seed.

    Args:
        vectors: shape (n, width).
        goals: targets, and weights of the rows and of the labels.
        decay: `decay · ‖W‖²` is added to the weighted mean loss.
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


def probe(
    student: FullStudent, training_set: TrainingSet, goals: Targets, training_config: TrainingConfig
) -> None:
    """Fit the linear layer of a mean-pooled student to its frozen embeddings, in place."""
    import torch

    several = student.thresholds is not None
    decay = probe_decay(training_config, training_set, len(student.labels), several=several)
    weight, bias = solve(embeddings(student, training_set.texts), goals, decay, several=several)
    with torch.no_grad():
        student.model.classifier.weight.copy_(weight)
        student.model.classifier.bias.copy_(bias)


def embeddings(student: FullStudent, texts: list[str]) -> "Tensor":
    """Return the inputs of a mean-pooled student's linear layer, shape (len(texts), width), on the CPU. They
    are means over the windows of a long text: the layer is linear, so that its logits are such means too.
    """
    import torch

    student.model.eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found = mean_over_windows(student, [texts[i] for i in order], student.model.embed, size=64)
    return found.clone()[torch.tensor(order).argsort()]


def probe_decay(
    training_config: TrainingConfig, training_set: TrainingSet, labels: int, *, several: bool
) -> float:
    """Return the weight decay for the mean loss. `head_decay` is for the sum of losses, where it does not
    depend on the number of rows, like a Gaussian prior. A label of a multi-label task has two outcomes.
    """
    return float(
        training_config.head_decay / (training_set.weights.sum() * (2 if several else labels) ** 0.5)
    )
