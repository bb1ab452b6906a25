"""KSM's settings, and the four kinds of a teacher's knowledge as losses.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; its code is not released. Marks: [2] known of the
paper at second hand, [I] inferred, [O] ours; numbers of the paper are not known.
"""

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

from tutelage.student.errors import InputError
from tutelage.student.training.knowledge import Kind, Knowledge

if TYPE_CHECKING:
    from torch import Tensor
    from tutelage.student.models.base import FullStudent


def final_loss(logits: "Tensor", targets: "Tensor", weights: "Tensor") -> "Tensor":
    """FinK [2]: cross-entropy on label numbers of shape (n,), weighted by sample (arXiv 2302.00444)."""
    losses = -logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    return (losses * weights).sum() / weights.sum()


def response_loss(logits: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """ResK [2]: T² · KL(teacher ‖ student), both softened by T, mean over the batch (arXiv 2302.00444).

    T² keeps the gradient's size (Hinton et al., arXiv 1503.02531, section 2). A logit of -inf is no chance.
    """
    target = (taught / temperature).softmax(-1)
    own = (logits / temperature).log_softmax(-1)
    return temperature**2 * (target.xlogy(target) - target * own).sum(-1).mean()


def feature_loss(own: "Tensor", taught: "Tensor") -> "Tensor":
    """FeaK [2]: the mean squared distance of representations, here [CLS] [I] (arXiv 2302.00444)."""
    return (own - taught).square().mean()


def relation_loss(own: "Tensor", taught: "Tensor") -> "Tensor":
    """RelK [2]: the mean squared error of relation matrices, see `fsp`, `cosines` (arXiv 2302.00444)."""
    return (own - taught).square().mean()


def fsp(first: "Tensor", second: "Tensor", mask: "Tensor") -> "Tensor":
    """`G = H_aᵀ H_b / len` [2], shape (n, d, d), of states (n, len, d); padding counts in neither (ours)."""
    used = mask.to(first)
    return (first * used[..., None]).transpose(1, 2) @ second / used.sum(1)[:, None, None]


def cosines(vectors: "Tensor") -> "Tensor":
    """Pairwise similarities inside a mini-batch: RelK of a teacher that shows no states [O]."""
    from torch.nn.functional import normalize

    unit = normalize(vectors, dim=-1)
    return unit @ unit.T


def gate(logits: "Tensor", kinds: Sequence[Kind]) -> "Tensor":
    """The weights of CE + (1-w)·KD + w·hidden-MSE, `w = H(student) / log C` as a mean over the batch [2][I].

    DynamicKD: Li et al., EMNLP 2021, arXiv 2109.11295; the rival of arXiv 2302.00444 that costs nothing.
    """
    chances = logits.softmax(-1)
    doubt = float(-chances.xlogy(chances).sum(-1).mean()) / log(logits.shape[1])
    return logits.new_tensor([{"fin": 1.0, "res": 1 - doubt, "fea": doubt, "rel": 0.0}[k] for k in kinds])


class RunningMean:
    """Divides values by the mean of what was seen of each so far, their own included [O]."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None

    def __call__(self, losses: "Tensor") -> "Tensor":
        """Losses of shape (kinds,), about 1 each; no gradient flows through the mean."""
        self.total = losses.detach() if self.total is None else self.total + losses.detach()
        self.count += 1
        return losses * self.count / self.total.clamp(min=1e-12)


def evenly(count: int, depth: int) -> list[int]:
    """`count` of the layers 1 … depth, evenly spaced, the last among them."""
    return [(i + 1) * depth // count for i in range(count)]


def class_states(states: Sequence["Tensor"], knowledge: Knowledge) -> "Tensor":
    """[CLS] of the layers that FeaK matches, shape (n, layers, width), of the embeddings and all layers."""
    import torch

    return torch.stack([states[i][:, 0] for i in evenly(knowledge.matched, len(states) - 1)], 1)


def related_states(states: Sequence["Tensor"], knowledge: Knowledge) -> list["Tensor"]:
    """The two layers, each (n, len, width), whose FSP matrix RelK compares."""
    return [states[round(depth * (len(states) - 1))] for depth in knowledge.related]


def shallow(student: "FullStudent", layers: int | None) -> "FullStudent":
    """The student with that many of its layers, evenly spaced (6 to 3: the second, fourth, sixth) [O].

    arXiv 2302.00444 goes from 12 layers to 6 and 3 [2]; embeddings and classifier stay.

    Raises:
        InputError: it has fewer layers, or keeps them in no list.
    """
    from torch.nn import ModuleList

    if layers is None:
        return student
    config = student.model.config
    depth = config.num_hidden_layers
    if not 1 <= layers <= depth:
        raise InputError(f"{layers} layers are to be kept of {depth}; take a number from 1 to {depth}")
    for parent in student.model.base_model.modules():
        for name, part in parent.named_children():
            if isinstance(part, ModuleList) and len(part) == depth:
                setattr(parent, name, ModuleList(part[i - 1] for i in evenly(layers, depth)))
                config.num_hidden_layers = layers
                return student
    raise InputError(
        f"a {config.model_type} has no list of {depth} layers; leave `layers` out, or take a BERT"
    )
