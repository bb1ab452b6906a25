"""The actor-critic policy of KSM: the actor weights the kinds of knowledge, the critic estimates the value.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks are explained in distillation/knowledge.py.
"""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tutelage.student.distillation.knowledge import gate
from tutelage.student.distillation.pairing import Observation
from tutelage.student.training.knowledge import Knowledge

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Sequential
    from torch.optim import Adam


class Transition(NamedTuple):
    """A phase: its first observation, action and reward, and the next phase's observation (None: the end)."""

    observation: Observation
    action: "Tensor"
    reward: float
    next_observation: Observation | None


Choose = Callable[[Observation], "Tensor"]


class Policy:
    """An actor (128-64-4), a critic (132-64-1) and two projections of [CLS] (384-128-64 each) [O].

    Only the critic's loss trains the projections [O] (arXiv 2302.00444).
    """

    def __init__(self, knowledge: Knowledge, student_width: int, teacher_width: int, seed: int):
        import torch

        self.knowledge = knowledge
        self.rng = torch.Generator().manual_seed(seed)
        self.replay_buffer: list[Transition] = []
        self.counts: Counter[tuple[float, ...]] = Counter()
        kinds, state, hidden = len(knowledge.kinds), 2 * knowledge.state[1], knowledge.hidden
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.student_projection = _layers(student_width, *knowledge.state)
            self.teacher_projection = _layers(teacher_width, *knowledge.state)
            self.actor = _layers(state, hidden, kinds)
            self.critic = _layers(state + kinds, hidden, 1)
        parts = self.student_projection, self.teacher_projection, self.critic
        trained = [weight for part in parts for weight in part.parameters()]
        self.critic_optimizer = torch.optim.Adam(trained, lr=knowledge.critic_rate)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=knowledge.actor_rate)

    def state(self, observations: list[Observation]) -> "Tensor":
        """Return both [CLS], each after its projection of two layers, concatenated [2]: shape (n, 128)."""
        import torch

        student = self.student_projection(torch.stack([s.student for s in observations]))
        teacher = self.teacher_projection(torch.stack([s.teacher for s in observations]))
        return torch.cat([student, teacher], 1)

    def actor_output(self, state: "Tensor") -> "Tensor":
        """Return the actor's output μ(s) in [0, 1], shape (n, kinds): a sigmoid [I], before `to_action`."""
        output: Tensor = self.actor(state).sigmoid()
        return output

    def value(self, state: "Tensor", action: "Tensor") -> "Tensor":
        """Return the critic's output Q(s, a), shape (n,)."""
        import torch

        value: Tensor = self.critic(torch.cat([state, action], 1)).squeeze(1)
        return value

    def act(self, observation: Observation, *, explore: bool = False) -> "Tensor":
        """Return the weights, shape (kinds,); exploring adds N(0, noise) and clamps to [0, 1]."""
        import torch

        with torch.no_grad():
            output = self.actor_output(self.state([observation]))[0]
            if explore:
                noise = torch.randn(output.shape, generator=self.rng) * self.knowledge.noise
                output = (output + noise).clamp(0, 1)
            return self.to_action(output)

    def to_action(self, output: "Tensor") -> "Tensor":
        """Return the action for an actor output: if soft, unchanged; if hard, 1 where a ≥ λ, else 0 [2]."""
        if self.knowledge.action == "soft":
            return output
        return (output >= self.knowledge.hard_above).float()

    def mean(self) -> "Tensor":
        """Return the mean action over the first states of all phases of all episodes, shape (kinds,)."""
        import torch

        with torch.no_grad():
            state = self.state([one.observation for one in self.replay_buffer])
            return self.to_action(self.actor_output(state)).mean(0)

    def learn(self) -> None:
        """Update critic (MSE to its target) and actor (ascend mean Q(s, μ(s))) [2] on `replayed` phases."""
        import torch

        for _ in range(self.knowledge.updates):
            drawn = torch.randperm(len(self.replay_buffer), generator=self.rng)[: self.knowledge.replayed]
            batch = [self.replay_buffer[i] for i in drawn.tolist()]
            actions = torch.stack([one.action for one in batch])
            target = torch.stack([self.critic_target(one) for one in batch])
            state = self.state([one.observation for one in batch])
            _descend(self.critic_optimizer, (self.value(state, actions) - target).square().mean())
            state = state.detach()
            _descend(self.actor_optimizer, -self.value(state, self.actor_output(state)).mean())

    def critic_target(self, one: Transition) -> "Tensor":
        """Return r + γ Q(s', a'), or as printed γ r + Q(s', a') [2]; there is no Q after the last phase."""
        import torch

        gamma, usual = self.knowledge.gamma, self.knowledge.target == "usual"
        target = torch.tensor(one.reward if usual else gamma * one.reward)
        if one.next_observation is None:
            return target
        with torch.no_grad():
            state = self.state([one.next_observation])
            value = self.value(state, self.to_action(self.actor_output(state)))[0]
        return target + (gamma * value if usual else value)


class Phases:
    """Keep an action for all steps of a phase; with `measure`, explore, and train the policy after each.

    The reward is the drop of `measure`, a cross-entropy on held-out rows, and a bonus [2] (arXiv 2302.00444).
    Each episode has its own instance; the policy keeps the transitions of all.
    """

    def __init__(self, policy: Policy, measure: Callable[[], float] | None = None):
        self.policy, self.measure = policy, measure
        self.steps = 0
        self.before = measure() if measure else 0.0
        self.began: tuple[Observation, Tensor] | None = None
        self.previous: Tensor | None = None

    def __call__(self, observation: Observation) -> "Tensor":
        """Return the action for this step."""
        if self.steps % self.policy.knowledge.phase == 0:
            self.end(observation)
            self.began = (observation, self.policy.act(observation, explore=self.measure is not None))
        self.steps += 1
        assert self.began
        return self.began[1]

    def end(self, next_observation: Observation | None = None) -> None:
        """End the current phase, if there is one; a `next_observation` of None also ends the episode."""
        if self.measure is None or self.began is None:
            return
        observation, action = self.began
        after = self.measure()
        reward = self.before - after + self.bonus(action)
        self.before, self.previous, self.began = after, action, None
        self.policy.replay_buffer.append(Transition(observation, action, reward, next_observation))
        self.policy.learn()

    def bonus(self, action: "Tensor") -> float:
        """Return 1 - cosine to the previous phase's action if soft, 1/√(number of uses) if hard [2][I]."""
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
    """Return the weights of a control: `equal`, `random` or `dynamic` [2][O] (arXiv 2302.00444)."""
    import torch

    generator, size = torch.Generator().manual_seed(seed), len(knowledge.kinds)
    if knowledge.weights == "dynamic":
        return lambda observation: gate(observation.logits, knowledge.kinds)
    if knowledge.weights == "equal":
        return lambda observation: torch.ones(size)
    hard = knowledge.action == "hard"

    def draw(observation: Observation) -> "Tensor":
        drawn = torch.rand(size, generator=generator)
        return (drawn >= knowledge.hard_above).float() if hard else drawn

    return draw


def _layers(*widths: int) -> "Sequential":
    """Return linear layers with a ReLU between them."""
    from torch.nn import Linear, ReLU, Sequential

    pairs = pairwise(widths)
    parts = [part for pair in pairs for part in (Linear(*pair), ReLU())]
    return Sequential(*parts[:-1])


def _descend(optimizer: "Adam", loss: "Tensor") -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
