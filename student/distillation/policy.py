"""KSM's policy: an actor weighs the kinds of knowledge, a critic learns from the rewards of phases.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks as in student/distillation/knowledge.py.
"""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tutelage.student.distillation.knowledge import gate
from tutelage.student.distillation.pairing import Situation
from tutelage.student.training.knowledge import Knowledge

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Sequential
    from torch.optim import Adam


class Transition(NamedTuple):
    """A phase: where it began, its action, its reward, and where the next one began (None: the end)."""

    situation: Situation
    action: "Tensor"
    reward: float
    following: Situation | None


Choose = Callable[[Situation], "Tensor"]


class Policy:
    """Actor, critic and the state's two projections: 384→128→64 each, 128-64-4, 132-64-1 [O].

    The projections learn with the critic alone [O] (arXiv 2302.00444).
    """

    def __init__(self, knowledge: Knowledge, student_width: int, teacher_width: int, seed: int):
        import torch

        self.knowledge = knowledge
        self.chance = torch.Generator().manual_seed(seed)
        self.seen: list[Transition] = []
        self.counts: Counter[tuple[float, ...]] = Counter()
        kinds, state, hidden = len(knowledge.kinds), 2 * knowledge.state[1], knowledge.hidden
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.of_student = _layers(student_width, *knowledge.state)
            self.of_teacher = _layers(teacher_width, *knowledge.state)
            self.actor = _layers(state, hidden, kinds)
            self.critic = _layers(state + kinds, hidden, 1)
        judging = [*self.of_student.parameters(), *self.of_teacher.parameters(), *self.critic.parameters()]
        self.critic_steps = torch.optim.Adam(judging, lr=knowledge.critic_rate)
        self.actor_steps = torch.optim.Adam(self.actor.parameters(), lr=knowledge.actor_rate)

    def state(self, situations: list[Situation]) -> "Tensor":
        """Both [CLS], each through its own two layers, concatenated [2]: shape (n, 128)."""
        import torch

        student = self.of_student(torch.stack([s.student for s in situations]))
        teacher = self.of_teacher(torch.stack([s.teacher for s in situations]))
        return torch.cat([student, teacher], 1)

    def wish(self, state: "Tensor") -> "Tensor":
        """μ(s) in [0, 1], shape (n, kinds): a sigmoid [I], before it is made hard."""
        wish: Tensor = self.actor(state).sigmoid()
        return wish

    def value(self, state: "Tensor", action: "Tensor") -> "Tensor":
        """Q(s, a), shape (n,)."""
        import torch

        value: Tensor = self.critic(torch.cat([state, action], 1)).squeeze(1)
        return value

    def act(self, situation: Situation, *, explore: bool = False) -> "Tensor":
        """The weights, shape (kinds,); exploring adds N(0, noise) and clamps to [0, 1]."""
        import torch

        with torch.no_grad():
            wish = self.wish(self.state([situation]))[0]
            if explore:
                noise = torch.randn(wish.shape, generator=self.chance) * self.knowledge.noise
                wish = (wish + noise).clamp(0, 1)
            return self.taken(wish)

    def taken(self, wish: "Tensor") -> "Tensor":
        """The action itself: soft as wished, hard a ≥ λ → 1, else 0 [2]."""
        if self.knowledge.action == "soft":
            return wish
        return (wish >= self.knowledge.hard_above).float()

    def mean(self) -> "Tensor":
        """The mean action over the states that all episodes' phases began in, shape (kinds,)."""
        import torch

        with torch.no_grad():
            return self.taken(self.wish(self.state([one.situation for one in self.seen]))).mean(0)

    def learn(self) -> None:
        """Critic: MSE to the target. Actor: ascend mean Q(s, μ(s)) [2]. Each of at most `replayed` phases."""
        import torch

        for _ in range(self.knowledge.updates):
            drawn = torch.randperm(len(self.seen), generator=self.chance)[: self.knowledge.replayed]
            batch = [self.seen[i] for i in drawn.tolist()]
            actions = torch.stack([one.action for one in batch])
            goal = torch.stack([self.goal(one) for one in batch])
            state = self.state([one.situation for one in batch])
            _descend(self.critic_steps, (self.value(state, actions) - goal).square().mean())
            state = state.detach()
            _descend(self.actor_steps, -self.value(state, self.wish(state)).mean())

    def goal(self, one: Transition) -> "Tensor":
        """r + γ Q(s', a'), or as printed γ r + Q(s', a') [2]; after the last phase there is no Q."""
        import torch

        gamma, usual = self.knowledge.gamma, self.knowledge.target == "usual"
        goal = torch.tensor(one.reward if usual else gamma * one.reward)
        if one.following is None:
            return goal
        with torch.no_grad():
            state = self.state([one.following])
            value = self.value(state, self.taken(self.wish(state)))[0]
        return goal + (gamma * value if usual else value)


class Phases:
    """Holds an action for the steps of a phase; with `measure`, explores and learns at each phase's end.

    The reward is the drop of `measure`, a cross-entropy on held-out rows, and a bonus [2] (arXiv 2302.00444).
    One for each episode; what they saw stays with the policy.
    """

    def __init__(self, policy: Policy, measure: Callable[[], float] | None = None):
        self.policy, self.measure = policy, measure
        self.steps = 0
        self.before = measure() if measure else 0.0
        self.began: tuple[Situation, Tensor] | None = None
        self.previous: Tensor | None = None

    def __call__(self, situation: Situation) -> "Tensor":
        """The action for this step."""
        if self.steps % self.policy.knowledge.phase == 0:
            self.end(situation)
            self.began = (situation, self.policy.act(situation, explore=self.measure is not None))
        self.steps += 1
        assert self.began
        return self.began[1]

    def end(self, following: Situation | None = None) -> None:
        """End the phase that runs, if one does; None also ends the episode."""
        if self.measure is None or self.began is None:
            return
        situation, action = self.began
        after = self.measure()
        reward = self.before - after + self.bonus(action)
        self.before, self.previous, self.began = after, action, None
        self.policy.seen.append(Transition(situation, action, reward, following))
        self.policy.learn()

    def bonus(self, action: "Tensor") -> float:
        """Soft: 1 - cosine to the previous phase's action [2][I]; hard: 1/√(times it was taken) [2][I]."""
        weight, counts = self.policy.knowledge.bonus, self.policy.counts
        if self.policy.knowledge.action == "hard":
            key = tuple(action.tolist())
            counts[key] += 1
            return weight * float(counts[key] ** -0.5)
        if self.previous is None:
            return 0.0
        norms = action.norm() * self.previous.norm()
        return weight * (1 - float(action @ self.previous / norms.clamp(min=1e-12)))


def fixed(knowledge: Knowledge, seed: int) -> Choose:
    """Weights that nobody learns, the controls `equal`, `random`, `dynamic` [2][O] (arXiv 2302.00444)."""
    import torch

    chance, size = torch.Generator().manual_seed(seed), len(knowledge.kinds)
    if knowledge.weights == "dynamic":
        return lambda situation: gate(situation.logits, knowledge.kinds)
    if knowledge.weights == "equal":
        return lambda situation: torch.ones(size)
    hard = knowledge.action == "hard"

    def draw(situation: Situation) -> "Tensor":
        drawn = torch.rand(size, generator=chance)
        return (drawn >= knowledge.hard_above).float() if hard else drawn

    return draw


def _layers(*widths: int) -> "Sequential":
    """Linear layers with a ReLU between them."""
    from torch.nn import Linear, ReLU, Sequential

    pairs = pairwise(widths)
    parts = [part for pair in pairs for part in (Linear(*pair), ReLU())]
    return Sequential(*parts[:-1])


def _descend(optimizer: "Adam", loss: "Tensor") -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
