"""Objectives: what a student is trained towards, and how far out of its distribution a text is."""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from tutelage.student.errors import InputError
from tutelage.student.models.predictions import Floats
from tutelage.student.training.adaptive_selection import Thresholds
from tutelage.student.training.knowledge import Knowledge

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """The loss of a training run, which samples count at a step, and whose knowledge is distilled.

    Attributes:
        loss: `ce` cross-entropy; `sce` symmetric cross-entropy, which bears wrong labels better.
        alpha: weight of the cross-entropy in `sce` (GOLD's code: 0.01 for QNLI, 0.1 for SVAMP).
        beta: weight of the reverse cross-entropy in `sce` (GOLD's code: 1).
        target: `hard` the label alone; `soft` the teacher's confidence on it, the rest spread evenly.
        thresholds: LLKD's choice of samples at every step; None takes all.
        knowledge: KSM's four kinds of knowledge of a white-box teacher; None takes the labels alone.
        rationale: weight of the loss on the teacher's reason for a target, which a student that writes learns
            to write too (distilling step by step: Hsieh et al., Findings of ACL 2023, arXiv 2305.02301,
            eq. 4, where it is 1; paper, unseen; 0 is none).
    """

    loss: Literal["ce", "sce"] = "ce"
    alpha: float = 0.1
    beta: float = 1.0
    target: Literal["hard", "soft"] = "hard"
    thresholds: Thresholds | None = None
    knowledge: Knowledge | None = None
    rationale: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "rationale"):
            if not 0 <= getattr(self, name) < inf:
                raise InputError(f"`{name}` is {getattr(self, name)}; it is a number, at least 0")
        if self.alpha == self.beta == 0:
            raise InputError("`alpha` and `beta` are both 0; nothing would be learnt")


PLAIN = Objective()


def sample_losses(logits: "Tensor", target: "Tensor", objective: Objective) -> "Tensor":
    """The loss of each sample, shape (n,), of logits and target distributions of shape (n, k); of tokens, (n,
    t) of (n, t, k).

    Cross-entropy, or `alpha · CE + beta · RCE` with `RCE = -Σ_v p_v log clamp(target_v, 1e-4, 1)`, p clamped
    to [1e-7, 1] (symmetric cross-entropy: Wang et al., ICCV 2019, arXiv 1908.06112, eq. 7; the constants
    are those of GOLD's code, arXiv 2403.19754: paper).
    """
    cross = -(target * logits.log_softmax(-1)).sum(-1)
    if objective.loss == "ce":
        return cross
    reverse = -(logits.softmax(-1).clamp(1e-7, 1) * target.clamp(1e-4, 1).log()).sum(-1)
    return objective.alpha * cross + objective.beta * reverse


def set_losses(
    logits: "Tensor", target: "Tensor", objective: Objective, positive: "Tensor | None" = None
) -> "Tensor":
    """The loss of each sample, shape (n,), where every label is right or wrong by itself: the sum over labels
    of `sample_losses` on two outcomes, of logits and targets of shape (n, k). `positive`, shape (k,), weighs
    a label where the text has it, in the share of its target.
    """
    import torch

    two = torch.stack([logits, torch.zeros_like(logits)], -1)
    goal = torch.stack([target, 1 - target], -1)
    losses = sample_losses(two, goal, objective)
    if positive is not None:
        losses = losses * (1 + (positive - 1) * target)
    return losses.sum(-1)


def in_band(scores: Floats, band: tuple[float, float]) -> list[int]:
    """Places of the scores at ranks [low · n, high · n) in ascending order, nearest in first.

    GOLD's band is (0.5, 0.8): below it is in the distribution, the top fifth is likely noise; 2 of a batch
    of 8 (arXiv 2403.19754, code: paper).
    """
    low, high = (int(share * len(scores)) for share in band)
    return [int(place) for place in scores.argsort(kind="stable")[low:high]]
