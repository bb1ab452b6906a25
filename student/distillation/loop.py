"""KSM distillation: learn a policy on part of the rows, then distil a teacher into a student with it.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks are explained in distillation/knowledge.py.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from tutelage.student.data.rows import Row
from tutelage.student.distillation.knowledge import RunningMean, keep_layers
from tutelage.student.distillation.pairing import Pair
from tutelage.student.distillation.policy import Choose, Phases, Policy, fixed
from tutelage.student.distillation.white_box_teacher import Views
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.training.adapters.classifier import FullAdapter, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.observer import UNOBSERVED, Observer
from tutelage.student.training.schedule import bucketed, warm_and_down
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor


class Distilled(NamedTuple):
    """A distilled student, and the report of its training: the fields of `_report`."""

    student: FullStudent
    report: dict[str, object]


def distil(
    rows: Sequence[Row],
    labels: Sequence[str],
    training_config: TrainingConfig,
    knowledge: Knowledge,
    *,
    seed: int,
    views: Views,
    observer: Observer = UNOBSERVED,
) -> Distilled:
    """Distil a teacher into a fresh student; learn a policy first if its weights are used (arXiv 2302.00444).

    Args:
        rows: at least one, or five if a policy is learnt; their labels come from `labels`.
        labels: column order of the student's probabilities.
        training_config: the training configuration; its mode is `full`.
        knowledge: the settings of KSM.
        seed: for initialisation, dropout, order of the rows, and all sampling.
        views: the teacher's outputs for the rows, in the same order.
        observer: its `step` is called in every episode and in stage 2, each time from 1.

    Raises:
        InputError: the mode is `head`, or there are too few rows for a policy.
    """
    if training_config.mode != "full":
        raise InputError("a head has no layers to distil into; set the student's mode to `full`")
    config, knowledge = _comparable(training_config), _without_unweighted(knowledge)
    setup = _Setup(TrainingSet.of(rows), labels, config, knowledge, views, seed, observer)
    began = perf_counter()
    first = _learn_policy(setup) if knowledge.weights in ("learnt", "constant") else _Stage1()
    middle = perf_counter()
    student = setup.fresh(seed)
    indices = [i for i in range(len(rows)) if knowledge.reuse or i not in first.held_out]
    actions = _train(setup, student, indices, _weights_of_stage_2(knowledge, first.policy, seed), seed)
    seconds = (middle - began, perf_counter() - middle)
    return Distilled(student, _report(setup, first, actions, seconds))


def _comparable(training_config: TrainingConfig) -> TrainingConfig:
    """Return a configuration without training of embeddings, because KSM compares [CLS] states."""
    if training_config.probe_first:
        epochs = training_config.epochs or TrainingConfig.epochs
        training_config = replace(training_config, probe_first=False, contrastive_steps=0, epochs=epochs)
    return replace(training_config, pooling="cls")


def _without_unweighted(knowledge: Knowledge) -> Knowledge:
    """Remove RelK if DynamicKD's gate sets the weights, because DynamicKD has no RelK."""
    if knowledge.weights != "dynamic":
        return knowledge
    return replace(knowledge, kinds=tuple(kind for kind in knowledge.kinds if kind != "rel"))


@dataclass(frozen=True)
class _Setup:
    """The inputs that both stages share."""

    training_set: TrainingSet
    labels: Sequence[str]
    training_config: TrainingConfig
    knowledge: Knowledge
    views: Views
    seed: int
    observer: Observer

    @cached_property
    def numbers(self) -> list[int]:
        return self.training_set.numbers(self.labels)

    def fresh(self, seed: int) -> FullStudent:
        return keep_layers(fresh(self.labels, self.training_config, seed), self.knowledge.layers)


class _Stage1(NamedTuple):
    """The result of stage 1, if a policy is learnt. `held_out` are the indices of the reward rows."""

    policy: Policy | None = None
    held_out: Sequence[int] = ()
    steps: int = 0


def _held_out(size: int, knowledge: Knowledge, seed: int) -> tuple[list[int], list[int]]:
    """Return the sorted indices of the reward rows, and of the other rows."""
    held = min(knowledge.reward_rows, int(knowledge.reward_share * size))
    if not 0 < held < size:
        raise InputError(
            f"{size} rows are too few to learn a policy on: {held} of them would be held out for its reward;"
            " give more rows, raise `reward_share`, or set `weights: equal`"
        )
    mixed = random.Random(seed).sample(range(size), size)
    return sorted(mixed[:held]), sorted(mixed[held:])


def _learn_policy(setup: _Setup) -> _Stage1:
    """Run stage 1: each episode trains a fresh student on a new sample [2][O]."""
    knowledge, teacher_width = setup.knowledge, setup.views.features.shape[-1]
    held, indices = _held_out(len(setup.training_set.texts), knowledge, setup.seed)
    size, steps, policy = max(1, round(knowledge.share * len(indices))), 0, None
    for seed in range(setup.seed + 1, setup.seed + 1 + knowledge.episodes):
        student = setup.fresh(seed)
        policy = policy or Policy(knowledge, student.model.config.hidden_size, teacher_width, setup.seed)
        phases = Phases(policy, lambda student=student: _cross_entropy(setup, student, held))  # type: ignore[misc]
        sample = random.Random(seed).sample(indices, size)
        steps += len(_train(setup, student, sample, phases, seed))
        phases.end()
    return _Stage1(policy, held, steps)


def _cross_entropy(setup: _Setup, student: FullStudent, indices: list[int]) -> float:
    """Return the mean loss on the rows at `indices`; set the student back to training mode."""
    import torch

    logits = torch.from_numpy(student.logits([setup.training_set.texts[i] for i in indices]))
    student.model.train()
    goal = torch.tensor([setup.numbers[i] for i in indices])
    return float(torch.nn.functional.cross_entropy(logits, goal))


def _weights_of_stage_2(knowledge: Knowledge, policy: Policy | None, seed: int) -> Choose:
    """Return the source of the weights in stage 2: the frozen policy, its mean action, or a control."""
    if policy is None:
        return fixed(knowledge, seed)
    if knowledge.weights == "learnt":
        return Phases(policy)
    mean = policy.mean()
    return lambda observation: mean


def _train(
    setup: _Setup, student: FullStudent, indices: list[int], choose: Choose, seed: int
) -> list["Tensor"]:
    """Run the loop over epochs and mini-batches; return the action of every step."""
    import torch

    training_config = setup.training_config
    adapter = FullAdapter.of(setup.training_set.texts, student, training_config.learning_rate)
    pair = Pair(adapter, setup.numbers, indices, len(setup.labels), setup.views, setup.knowledge)
    per_epoch = ceil(len(indices) / training_config.batch)
    epochs = max(training_config.epochs, ceil(training_config.steps / per_epoch))
    optimizer = torch.optim.AdamW(pair.parameters, lr=adapter.rate, weight_decay=adapter.decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(epochs * per_epoch))
    order, actions = random.Random(seed), list["Tensor"]()
    means = RunningMean() if setup.knowledge.normalise else None
    for _ in range(epochs):
        for batch in bucketed([adapter.lengths[i] for i in indices], training_config.batch, order):
            setup.observer.step(len(actions) + 1, epochs * per_epoch)
            observation, losses = pair([indices[i] for i in batch])
            action = choose(observation)
            actions.append(action)
            loss = (action.to(losses) * (means(losses) if means else losses)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(pair.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return actions


def _report(
    setup: _Setup, first: _Stage1, actions: list["Tensor"], seconds: tuple[float, float]
) -> dict[str, object]:
    """Return the cost of both stages, the weights of stage 2 and the rewards of stage 1.

    `steps`, `seconds`: for stages 1 and 2. `mean_action`: of stage 2, by kind. `trace`: stage 2's action at
    the start of each phase. `practice`: action and reward of each phase in stage 1. `held_out`: the ids of
    the reward rows.
    """
    import torch

    kinds, phases = setup.knowledge.kinds, first.policy.replay_buffer if first.policy else []
    return {
        "steps": (first.steps, len(actions)),
        "seconds": tuple(round(part, 2) for part in seconds),
        "mean_action": dict(zip(kinds, _rounded(torch.stack(actions).mean(0)), strict=True)),
        "trace": [_rounded(action) for action in actions[:: setup.knowledge.phase]],
        "practice": [{"action": _rounded(one.action), "reward": round(one.reward, 5)} for one in phases],
        "held_out": [setup.training_set.ids[i] for i in first.held_out],
    }


def _rounded(action: "Tensor") -> list[float]:
    return [round(part, 3) for part in action.tolist()]
