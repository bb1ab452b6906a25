"""Settings of KSM: which knowledge of a white-box teacher is distilled, and how it is weighted.

Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; its code is not released. Marks: [2] known from the
paper at second hand, [I] inferred, [O] ours; the paper's numbers are not known.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

from tutelage.student.errors import InputError

KnowledgeKind = Literal["fin", "res", "fea", "rel"]


@dataclass(frozen=True)
class Knowledge:
    """Which knowledge of a teacher is distilled, and how it is weighted (arXiv 2302.00444).

    Attributes:
        weights: `learnt` by an actor-critic [2]. The controls: `equal`; `constant` (mean action of the learnt
            policy over the states of stage 1); `random`, drawn anew at every step [2]; `dynamic` (the gate of
            DynamicKD, see `gate`).
        kinds: `fin` labels, `res` the teacher's outputs, `fea` its representations, `rel` relations [2].
        action: `soft` uses weights in [0, 1]; `hard` uses 1 from `hard_above` on, else 0 [2].
        hard_above: threshold λ of `hard` actions [O].
        gamma: discount γ of the critic's target [O].
        target: `usual` r + γ Q(s', a'), or `printed` γ r + Q(s', a'), as in the paper [2].
        noise: standard deviation of the noise on actions in stage 1 [O].
        episodes: number [O] of episodes of stage 1, each with a fresh student [2].
        share: share of the rows that an episode trains on, drawn anew for each [O].
        phase: number [O] of steps for which an action is held; rewards and updates follow at its end [2].
        updates: updates of critic and actor per phase [O]; 10 drove all weights to 0 on 1,600 rows (ours).
        replayed: maximum number of transitions, from all episodes, that an update learns from [O].
        reward_rows: maximum number of held-out rows; the reward is the drop of their cross-entropy [O].
        reward_share: maximum share of all rows that are held out for the reward [O].
        reuse: whether stage 2, which has no reward, also trains on the reward rows [O]; stage 1 never does.
        bonus: weight of the exploration bonus in the reward [O]; 0 turns it off.
        temperature: softmax temperature of ResK [O].
        normalise: whether each loss is divided by its running mean, so that weights are comparable [O].
        matched: number of evenly spaced layers whose [CLS] vectors FeaK compares; 1 is the last layer [O].
        related: relative depths (0 the embeddings, 1 the last layer) of the two layers of RelK's matrix [O].
        state: widths of the two layers that map each [CLS] vector into the state [O].
        hidden: width of actor and critic [O].
        actor_rate: Adam learning rate of the actor [O].
        critic_rate: Adam learning rate of the critic [O].
        layers: number of evenly spaced layers of the base that the student keeps (`shallow`); None is all.
    """

    weights: Literal["learnt", "equal", "constant", "random", "dynamic"] = "learnt"
    kinds: tuple[KnowledgeKind, ...] = ("fin", "res", "fea", "rel")
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
                raise InputError(f"`{name}` is {getattr(self, name)}; it must be at least 1")
        if min(*self.state, self.hidden, self.layers or 1) < 1:
            raise InputError("`state`, `hidden` and `layers` must each be at least 1")
        if not 0 <= self.gamma <= 1 or self.noise < 0:
            raise InputError(f"`gamma` is {self.gamma} (0 to 1) and `noise` is {self.noise} (at least 0)")
        for name, most in (("share", 1.0), ("reward_share", 1.0), ("temperature", inf)):
            if not 0 < getattr(self, name) <= most:
                raise InputError(f"`{name}` is {getattr(self, name)}; it must be above 0 and at most {most}")
