"""KSM's settings, and the four kinds of a teacher's knowledge as losses.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; its code is not released. Marks: [2] known of the
paper at second hand, [I] inferred, [O] ours; numbers of the paper are not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import TYPE_CHECKING, Literal

from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from tutelage.student.models.base import FullStudent

Kind = Literal["fin", "res", "fea", "rel"]


@dataclass(frozen=True)
class Knowledge:
    """Which knowledge of a teacher is distilled, and what weighs it (arXiv 2302.00444).

    Attributes:
        weights: `learnt` by an actor-critic [2]; the controls are `equal`; `constant`, the mean action of the
            learnt policy over the states of stage 1; `random`, drawn anew at every step [2]; `dynamic`,
            the gate of DynamicKD (see `gate`).
        kinds: `fin` labels, `res` the teacher's outputs, `fea` its representations, `rel` relations [2].
        action: `soft` weights in [0, 1], or `hard`: 1 from `hard_above` on, else 0 [2].
        hard_above: λ [O].
        gamma: γ of the critic's target [O].
        target: `usual` r + γ Q(s', a'), or `printed` γ r + Q(s', a'), as in the paper [2].
        noise: standard deviation of the noise on actions in stage 1 [O].
        episodes: of stage 1, each with a fresh student [2]; how many [O].
        share: of the rows that an episode trains on, drawn anew [O].
        phase: steps that an action is held for; rewards and updates come at its end [2]; how many [O].
        updates: of critic and actor at a phase's end [O]; 10 drove all weights to 0 on 1,600 rows (ours).
        replayed: transitions of all episodes that an update learns from, at most [O].
        reward_rows: held out of training, on which the cross-entropy must drop; at most [O].
        reward_share: of all rows, which they may not exceed [O].
        reuse: stage 2, which measures no reward, trains on the reward rows too [O]; stage 1 never does.
        bonus: weight of the exploration bonus in the reward [O]; 0 is none.
        temperature: of ResK [O].
        normalise: each loss is divided by its running mean, so that weights are comparable [O].
        matched: evenly spaced layers whose [CLS] FeaK compares; 1 is the last alone [O].
        related: depths, 0 the embeddings and 1 the last layer, of the two layers of RelK's matrix [O].
        state: widths of the two layers that each [CLS] passes on its way into the state [O].
        hidden: width of actor and critic [O].
        actor_rate: of Adam [O].
        critic_rate: of Adam [O].
        layers: evenly spaced layers of the base that the student keeps, see `shallow`; None keeps all.
    """

    weights: Literal["learnt", "equal", "constant", "random", "dynamic"] = "learnt"
    kinds: tuple[Kind, ...] = ("fin", "res", "fea", "rel")
    action: Literal["soft", "hard"] = "soft"
    hard_above: float = 0.5
    gamma: float = 0.9
    target: Literal["usual", "printed"] = "usual"
    noise: float = 0.1
    episodes: int = 3
    share: float = 0.2
    phase: int = 10
    updates: int = 1
    replayed: int = 64
    reward_rows: int = 512
    reward_share: float = 0.2
    reuse: bool = False
    bonus: float = 0.01
    temperature: float = 2.0
    normalise: bool = True
    matched: int = 1
    related: tuple[float, float] = (0.0, 1.0)
    state: tuple[int, int] = (128, 64)
    hidden: int = 64
    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    layers: int | None = None

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise InputError(f"`kinds` is {list(self.kinds)}; name some of fin, res, fea, rel, each once")
        for name in ("episodes", "phase", "updates", "replayed", "reward_rows", "matched"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` is {getattr(self, name)}; it is at least 1")
        if min(*self.state, self.hidden, self.layers or 1) < 1:
            raise InputError("`state`, `hidden` and `layers` count units; each is at least 1")
        if not 0 <= self.gamma <= 1 or self.noise < 0:
            raise InputError(f"`gamma` is {self.gamma} and `noise` {self.noise}; 0 to 1, and at least 0")
        for name, most in (("share", 1.0), ("reward_share", 1.0), ("temperature", inf)):
            if not 0 < getattr(self, name) <= most:
                raise InputError(f"`{name}` is {getattr(self, name)}; it is above 0 and at most {most}")


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
