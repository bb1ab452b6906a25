"""Test the policy: targets and bonus by hand, phases, and that it learns which action pays."""

import random
from math import log, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from tutelage.student.distillation.pairing import Observation
from tutelage.student.distillation.policy import Phases, Policy, Transition, fixed
from tutelage.student.training.knowledge import Knowledge

TWO: Any = ("fin", "res")


def observation(at: float = 0.0) -> Observation:
    """Return an observation with 4 student and 6 teacher features; a larger `at` means a surer student."""
    return Observation(tensor([[0.0, at]]), torch.full((4,), float(at)), torch.full((6,), 1.0 - at))


def policy(**settings: Any) -> Policy:
    """Return a policy for the widths of `observation`."""
    return Policy(Knowledge(**settings), 4, 6, 0)


def test_the_networks_have_the_documented_widths() -> None:
    made = Policy(Knowledge(), 384, 384, 0)

    def widths(part: Any) -> list[tuple[int, int]]:
        return [(one.in_features, one.out_features) for one in part if hasattr(one, "in_features")]

    assert widths(made.student_projection) == widths(made.teacher_projection) == [(384, 128), (128, 64)]
    assert (widths(made.actor), widths(made.critic)) == ([(128, 64), (64, 4)], [(132, 64), (64, 1)])


def test_student_and_teacher_each_fill_half_of_the_state() -> None:
    made, one = policy(), observation(0.2)
    before = made.state([one])[0]
    after = made.state([one._replace(teacher=one.teacher + 1)])[0]
    assert torch.equal(before[:64], after[:64])
    assert not torch.equal(before[64:], after[64:])


@pytest.mark.parametrize(
    ("target", "wanted", "last"), [("usual", 0.5 + 0.9 * 2, 0.5), ("printed", 0.9 * 0.5 + 2, 0.45)]
)
def test_the_target_discounts_the_value_or_as_printed_in_the_paper_the_reward(
    target: Any, wanted: float, last: float
) -> None:
    made = policy(target=target, gamma=0.9)
    with torch.no_grad():  # a critic whose value is always 2
        made.critic[-1].weight.zero_()
        made.critic[-1].bias.fill_(2.0)
    one = Transition(observation(), torch.ones(4), 0.5, observation(1))
    assert made.critic_target(one).item() == pytest.approx(wanted)
    assert made.critic_target(one._replace(next_observation=None)).item() == pytest.approx(last)


def test_the_critic_learns_the_target_and_the_actor_follows_the_critic() -> None:
    made = policy(kinds=TWO, updates=400, replayed=32)
    rng = random.Random(0)
    for _ in range(40):  # one kind pays, the other costs
        action = tensor([rng.random(), rng.random()])
        made.replay_buffer.append(Transition(observation(), action, float(action[0] - action[1]), None))
    made.learn()
    values = made.value(made.state([observation()] * 2), tensor([[0.9, 0.1], [0.1, 0.9]]))
    assert values.tolist() == pytest.approx([0.8, -0.8], abs=0.15)
    wish = made.act(observation())
    assert wish[0] > 0.8
    assert wish[1] < 0.2
    assert made.mean().tolist() == pytest.approx(wish.tolist(), abs=1e-5)


def test_the_mean_action_is_taken_over_all_states_seen() -> None:
    made = policy(kinds=TWO)
    made.replay_buffer += [Transition(observation(at), torch.ones(2), 0.0, None) for at in (0.0, 5.0)]
    wanted = (made.act(observation(0.0)) + made.act(observation(5.0))) / 2
    assert made.mean().tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert made.act(observation(0.0)).tolist() != pytest.approx(made.act(observation(5.0)).tolist(), abs=1e-3)


def test_a_hard_action_is_one_from_the_threshold_on() -> None:
    assert policy(action="hard", hard_above=0.5).to_action(tensor([0.49, 0.5, 0.51])).tolist() == [0, 1, 1]
    assert policy(action="hard", hard_above=0.6).to_action(tensor([0.5, 0.7])).tolist() == [0, 1]
    assert policy().to_action(tensor([0.49, 0.5])).tolist() == pytest.approx([0.49, 0.5])


def test_exploration_adds_noise_and_stays_between_zero_and_one() -> None:
    made = policy(noise=0.1)
    plain = made.act(observation())
    drawn = torch.stack([made.act(observation(), explore=True) for _ in range(400)])
    assert torch.equal(made.act(observation()), plain)
    assert (drawn - plain).std().item() == pytest.approx(0.1, abs=0.01)
    wild = torch.stack([policy(noise=9.0).act(observation(), explore=True) for _ in range(9)])
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_a_phase_keeps_its_action_and_is_rewarded_by_the_drop_of_the_cross_entropy() -> None:
    measured = iter([1.0, 0.6, 0.5, 0.7])
    made = policy(phase=3, bonus=0.0)
    phases = Phases(made, lambda: next(measured))
    actions = [phases(observation(step / 10)).tolist() for step in range(7)]
    assert actions[0] == actions[1] == actions[2] != actions[3] == actions[4] == actions[5] != actions[6]
    assert [one.reward for one in made.replay_buffer] == pytest.approx([0.4, 0.1])
    phases.end()
    assert [one.reward for one in made.replay_buffer] == pytest.approx([0.4, 0.1, -0.2])
    began = [one.observation.student[0].item() for one in made.replay_buffer]
    ended = [one.next_observation and one.next_observation.student[0].item() for one in made.replay_buffer]
    assert began == pytest.approx([0.0, 0.3, 0.6])
    assert ended == [pytest.approx(0.3), pytest.approx(0.6), None]
    assert next(measured, None) is None  # nothing else was measured


def test_the_policy_learns_only_at_the_end_of_a_phase() -> None:
    made = policy(phase=3, noise=0.0)
    phases = Phases(made, lambda: 1.0)
    weights = []
    for _ in range(5):
        phases(observation())
        weights.append(made.actor[0].weight.clone())
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert torch.equal(weights[3], weights[4])


def test_without_a_measure_the_policy_neither_learns_nor_explores() -> None:
    made = policy(phase=2)
    before = made.actor[0].weight.clone()
    phases = Phases(made)
    actions = [phases(observation(step)) for step in range(4)]
    phases.end()
    assert torch.equal(actions[0], made.act(observation(0)))
    assert torch.equal(actions[3], made.act(observation(2)))
    assert torch.equal(before, made.actor[0].weight)
    assert made.replay_buffer == []


def test_a_soft_bonus_is_the_distance_from_the_previous_action() -> None:
    phases = Phases(policy(kinds=TWO, bonus=0.5), lambda: 1.0)
    assert phases.bonus(tensor([1.0, 0.0])) == 0
    for before, now, wanted in [
        ([1, 0], [0, 1], 0.5),
        ([1, 0], [3, 0], 0),
        ([1, 0], [1, 1], 0.5 * (1 - sqrt(0.5))),
    ]:
        phases.previous = tensor(before).float()
        assert phases.bonus(tensor(now).float()) == pytest.approx(wanted, abs=1e-6)


def test_a_hard_bonus_shrinks_with_the_number_of_times_an_action_was_taken() -> None:
    made = policy(kinds=TWO, action="hard", bonus=0.5)
    found = [
        Phases(made, lambda: 1.0).bonus(tensor(a)) for a in ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0])
    ]
    assert found == pytest.approx([0.5, 0.5 / sqrt(2), 0.5, 0.5 / sqrt(3)])


def test_a_bonus_weight_of_zero_gives_no_bonus() -> None:
    phases = Phases(policy(action="hard", bonus=0.0), lambda: 1.0)
    assert phases.bonus(torch.ones(4)) == 0


def drawn(steps: int = 200, seed: int = 0, **settings: Any) -> Tensor:
    """Return the actions of a fixed policy, one for each step."""
    choose = fixed(Knowledge(**settings), seed)
    return torch.stack([choose(observation(log(3))) for _ in range(steps)])


def test_fixed_policies_are_equal_or_random_or_the_gate() -> None:
    assert drawn(2, weights="equal").tolist() == [[1] * 4] * 2
    soft = drawn(weights="random")
    assert soft.unique().numel() > 700
    assert soft.mean().item() == pytest.approx(0.5, abs=0.05)
    hard = drawn(weights="random", action="hard", hard_above=0.7)
    assert hard.unique().tolist() == [0, 1]
    assert hard.mean().item() == pytest.approx(0.3, abs=0.05)
    assert drawn(1, weights="dynamic")[0].tolist() == pytest.approx([1, 0.188722, 0.811278, 0], abs=1e-5)


def test_the_same_seed_draws_the_same_weights() -> None:
    assert torch.equal(drawn(seed=1, weights="random"), drawn(seed=1, weights="random"))
    assert not torch.equal(drawn(seed=1, weights="random"), drawn(seed=2, weights="random"))
