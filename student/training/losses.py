"""Training objectives, their losses, and GOLD's selection of texts by energy score."""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from tutelage.student.errors import InputError
from tutelage.student.models.predictions import Floats
from tutelage.student.training.adaptive_selection import AdaptiveSelection
from tutelage.student.training.knowledge import Knowledge

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """The loss of a training run, the selection of its samples, and the knowledge to distil.

    Attributes:
        loss: `ce` cross-entropy; `sce` symmetric cross-entropy, which is more robust to wrong labels.
        alpha: weight of the cross-entropy in `sce` (GOLD's code: 0.01 for QNLI, 0.1 for SVAMP).
        beta: weight of the reverse cross-entropy in `sce` (GOLD's code: 1).
        target: `hard` is the label; `soft` gives it the teacher's confidence, and the others share the rest.
        adaptive_selection: settings of LLKD's selection of samples at every step; None trains on all samples.
        knowledge: settings of KSM, which distils a white-box teacher; None uses only the labels.
        rationale: weight of the loss on the teacher's rationale, which a student that writes also learns; 0
            is off (distilling step by step: Hsieh et al., Findings of ACL 2023, arXiv 2305.02301, eq. 4,
            where it is 1; paper, unseen).
    """

    loss: Literal["ce", "sce"] = "ce"
    alpha: float = 0.1
    beta: float = 1.0
    target: Literal["hard", "soft"] = "hard"
    adaptive_selection: AdaptiveSelection | None = None
    knowledge: Knowledge | None = None
    rationale: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "rationale"):
            if not 0 <= getattr(self, name) < inf:
                raise InputError(f"`{name}` is {getattr(self, name)}; it must be a number, at least 0")
        if self.alpha == self.beta == 0:
            raise InputError("`alpha` and `beta` are both 0; nothing would be learnt")


PLAIN = Objective()


def sample_losses(logits: "Tensor", target: "Tensor", objective: Objective) -> "Tensor":
    """Return the loss of each sample, shape (n,), from logits and target distributions of shape (n, k). For
    tokens the shapes are (n, t) and (n, t, k).

    Cross-entropy, or `alpha · CE + beta · RCE` with `RCE = -Σ_v p_v log clamp(target_v, 1e-4, 1)`, p clamped
    to [1e-7, 1] (symmetric cross-entropy: Wang et al., ICCV 2019, arXiv 1908.06112, eq. 7; the constants
    are from GOLD's code, arXiv 2403.19754: paper).
    """
    cross = -(target * logits.log_softmax(-1)).sum(-1)
    if objective.loss == "ce":
        return cross
    reverse = -(logits.softmax(-1).clamp(1e-7, 1) * target.clamp(1e-4, 1).log()).sum(-1)
    return objective.alpha * cross + objective.beta * reverse


def set_losses(
    logits: "Tensor", target: "Tensor", objective: Objective, positive: "Tensor | None" = None
) -> "Tensor":
    """Return the multi-label loss of each sample, shape (n,): the sum over labels of the two-class
    `sample_losses`, from logits and targets of shape (n, k). `positive`, shape (k,), is the weight of each
    label where the text has it; a soft target applies it in proportion to its probability.
    """
    import torch

    binary_logits = torch.stack([logits, torch.zeros_like(logits)], -1)
    binary_target = torch.stack([target, 1 - target], -1)
    losses = sample_losses(binary_logits, binary_target, objective)
    if positive is not None:
        losses = losses * (1 + (positive - 1) * target)
    return losses.sum(-1)


def indices_in_band(scores: Floats, band: tuple[float, float]) -> list[int]:
    """Return the indices of the scores at ranks [low · n, high · n), in ascending order of the score.

    GOLD's band is (0.5, 0.8): lower scores are in distribution, the top fifth is likely noise. This keeps 2
    of a batch of 8 (arXiv 2403.19754, code: paper).
    """
    low, high = (int(share * len(scores)) for share in band)
    return [int(index) for index in scores.argsort(kind="stable")[low:high]]
