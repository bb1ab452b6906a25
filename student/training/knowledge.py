"""KSM's settings: which knowledge of a white-box teacher is distilled, and what weighs it.

Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; its code is not released. Marks: [2] known of the paper
at second hand, [I] inferred, [O] ours; numbers of the paper are not known.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

from tutelage.student.errors import InputError

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
