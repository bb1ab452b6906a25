"""The four kinds of teacher knowledge of KSM as loss functions, and the layers that they compare.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; its code is not released. Marks: [2] in the paper,
known at second hand; [I] inferred; [O] ours. The numbers of the paper are not known.
"""

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

from tutelage.student.errors import InputError
from tutelage.student.training.knowledge import Knowledge, KnowledgeKind

if TYPE_CHECKING:
    from torch import Tensor
    from tutelage.student.models.base import FullStudent


def final_loss(logits: "Tensor", targets: "Tensor", weights: "Tensor") -> "Tensor":
    """Return FinK [2]: cross-entropy on label indices (n,), weighted by sample (arXiv 2302.00444)."""
    losses = -logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    return (losses * weights).sum() / weights.sum()


def response_loss(logits: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """Return ResK [2]: T² · KL(teacher ‖ student), both softened by T, mean over a batch (arXiv 2302.00444).

    T² keeps the gradient's size (Hinton et al., arXiv 1503.02531, section 2). Logits of -inf mean p = 0.
    """
    target = (taught / temperature).softmax(-1)
    predicted = (logits / temperature).log_softmax(-1)
    return temperature**2 * (target.xlogy(target) - target * predicted).sum(-1).mean()


def feature_loss(own: "Tensor", taught: "Tensor") -> "Tensor":
    """Return FeaK [2]: the mean squared error of representations, here [CLS] [I] (arXiv 2302.00444)."""
    return (own - taught).square().mean()


def relation_loss(own: "Tensor", taught: "Tensor") -> "Tensor":
    """Return RelK [2]: the mean squared error of `fsp` or `cosines` matrices (arXiv 2302.00444)."""
    return (own - taught).square().mean()


def fsp(first: "Tensor", second: "Tensor", mask: "Tensor") -> "Tensor":
    """Return `H_aᵀ H_b / len` [2], shape (n, d, d), of states (n, len, d); padding is left out (ours)."""
    used = mask.to(first)
    return (first * used[..., None]).transpose(1, 2) @ second / used.sum(1)[:, None, None]


def cosines(vectors: "Tensor") -> "Tensor":
    """Return the cosine similarities in a mini-batch: RelK for a teacher without readable states [O]."""
    from torch.nn.functional import normalize

    unit = normalize(vectors, dim=-1)
    return unit @ unit.T


def gate(logits: "Tensor", kinds: Sequence[KnowledgeKind]) -> "Tensor":
    """Return the weights of CE + (1-w)·KD + w·hidden-MSE, `w = H(student) / log C`, a batch mean [2][I].

    DynamicKD: Li et al., EMNLP 2021, arXiv 2109.11295; an alternative to arXiv 2302.00444 at no extra cost.
    """
    p = logits.softmax(-1)
    w = float(-p.xlogy(p).sum(-1).mean()) / log(logits.shape[1])
    return logits.new_tensor([{"fin": 1.0, "res": 1 - w, "fea": w, "rel": 0.0}[kind] for kind in kinds])


class RunningMean:
    """Divide each loss by its mean over all calls so far, including the current one [O]."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None

    def __call__(self, losses: "Tensor") -> "Tensor":
        """Return losses of shape (kinds,), each about 1; no gradient flows through the mean."""
        self.total = losses.detach() if self.total is None else self.total + losses.detach()
        self.count += 1
        return losses * self.count / self.total.clamp(min=1e-12)


def evenly_spaced_layers(count: int, depth: int) -> list[int]:
    """Return `count` evenly spaced layers out of 1 … `depth`; the last layer is always included."""
    return [(i + 1) * depth // count for i in range(count)]


def class_states(states: Sequence["Tensor"], knowledge: Knowledge) -> "Tensor":
    """Return [CLS] of FeaK's layers, shape (n, layers, width), from those of embeddings and all layers."""
    import torch

    return torch.stack([states[i][:, 0] for i in evenly_spaced_layers(knowledge.matched, len(states) - 1)], 1)


def related_states(states: Sequence["Tensor"], knowledge: Knowledge) -> list["Tensor"]:
    """Return the states of the two layers in RelK's FSP matrix, each of shape (n, len, width)."""
    return [states[round(depth * (len(states) - 1))] for depth in knowledge.related]


def keep_layers(student: "FullStudent", layers: int | None) -> "FullStudent":
    """Keep `layers` evenly spaced layers of the student, in place (3 of 6: the second, fourth, sixth) [O].

    arXiv 2302.00444 goes from 12 layers to 6 and 3 [2]. Embeddings and classifier stay. None keeps all.

    Raises:
        InputError: the student has fewer layers, or they are not in one module list.
    """
    from torch.nn import ModuleList

    if layers is None:
        return student
    config = student.model.config
    depth = config.num_hidden_layers
    if not 1 <= layers <= depth:
        raise InputError(f"`layers` is {layers}, and the base has {depth}; take a number from 1 to {depth}")
    for parent in student.model.base_model.modules():
        for name, part in parent.named_children():
            if isinstance(part, ModuleList) and len(part) == depth:
                setattr(parent, name, ModuleList(part[i - 1] for i in evenly_spaced_layers(layers, depth)))
                config.num_hidden_layers = layers
                return student
    raise InputError(
        f"a {config.model_type} has no list of {depth} layers, so it cannot be shortened;"
        " leave `layers` out, or use a BERT model"
    )
