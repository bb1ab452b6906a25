"""Distilling: KSM's two stages, rows and a teacher's views in, a student out.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks as in student/distillation/knowledge.py.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING

from tutelage.student.data.rows import Row
from tutelage.student.distillation.knowledge import RunningMean, shallow
from tutelage.student.distillation.pairing import Pair
from tutelage.student.distillation.policy import Choose, Phases, Policy, fixed
from tutelage.student.distillation.white_box_teacher import Views
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.training.adapters.classifier import FullLearner, fresh
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.loop import Tell
from tutelage.student.training.schedule import bucketed, warm_and_down
from tutelage.student.training.training_set import Lessons

if TYPE_CHECKING:
    from torch import Tensor


def distil(
    rows: Sequence[Row],
    labels: Sequence[str],
    recipe: Recipe,
    knowledge: Knowledge,
    *,
    seed: int,
    views: Views,
    tell: Tell | None = None,
) -> FullStudent:
    """Distil a teacher into a fresh student, after a policy was learnt where one weighs (arXiv 2302.00444).

    Args:
        rows: at least one; five where a policy is learnt; labels from `labels`.
        labels: column order of the student's probabilities.
        recipe: see `Recipe`; mode `full`.
        knowledge: see `Knowledge`.
        seed: of initialisation, dropout, order, and of everything that is drawn.
        views: what the teacher knows of the rows, in their order.
        tell: gets both stages' cost and weights, see `_report`, and the ids of the rows `held_out`.

    Raises:
        InputError: the recipe is a head's, or the rows are too few for a policy.
    """
    import torch

    if recipe.mode != "full":
        raise InputError("a head has no layers to distil into; set the student's mode to `full`")
    knowledge = _computed(knowledge)
    if recipe.probe_first:  # KSM compares [CLS] states of a student without any training
        epochs = recipe.epochs or Recipe.epochs
        recipe = replace(recipe, probe_first=False, contrastive_steps=0, epochs=epochs)
    recipe = replace(recipe, pooling="cls")
    work = _Work(Lessons.of(rows), labels, recipe, knowledge, views, seed)
    places = list(range(len(rows)))
    held: list[int] = []
    began, policy, before = perf_counter(), None, 0
    if knowledge.weights in ("learnt", "constant"):
        held, rest = _held_out(len(rows), knowledge, seed)
        policy, before = _practise(work, rest, held)
        places = places if knowledge.reuse else rest
    middle = perf_counter()
    student = work.fresh(seed)
    actions = _learn(work, student, places, _final_weights(knowledge, policy, seed), seed)
    if tell:
        seconds = (middle - began, perf_counter() - middle)
        report = _report(knowledge, policy, (before, len(actions)), seconds, torch.stack(actions))
        tell(**report, held_out=[rows[i]["id"] for i in held])
    return student


def _computed(knowledge: Knowledge) -> Knowledge:
    """Without RelK where DynamicKD's gate weighs, which has none."""
    if knowledge.weights != "dynamic":
        return knowledge
    return replace(knowledge, kinds=tuple(kind for kind in knowledge.kinds if kind != "rel"))


@dataclass(frozen=True)
class _Work:
    """What both stages share."""

    lessons: Lessons
    labels: Sequence[str]
    recipe: Recipe
    knowledge: Knowledge
    views: Views
    seed: int

    @cached_property
    def numbers(self) -> list[int]:
        return self.lessons.numbers(self.labels)

    def fresh(self, seed: int) -> FullStudent:
        return shallow(fresh(self.labels, self.recipe, seed), self.knowledge.layers)


def _held_out(size: int, knowledge: Knowledge, seed: int) -> tuple[list[int], list[int]]:
    """The places of the reward rows, and of the others, each in order."""
    held = min(knowledge.reward_rows, int(knowledge.reward_share * size))
    if not 0 < held < size:
        raise InputError(
            f"{size} rows are too few to learn a policy on: {held} of them would be held out for its reward;"
            " give more rows, raise `reward_share`, or set `weights: equal`"
        )
    mixed = random.Random(seed).sample(range(size), size)
    return sorted(mixed[:held]), sorted(mixed[held:])


def _practise(work: _Work, places: list[int], held: list[int]) -> tuple[Policy, int]:
    """Stage 1: episodes, each of a fresh student on a new share of the rows; also the steps taken [2][O]."""
    knowledge, wide = work.knowledge, work.views.features.shape[-1]
    size, steps, policy = max(1, round(knowledge.share * len(places))), 0, None
    for seed in range(work.seed + 1, work.seed + 1 + knowledge.episodes):
        student = work.fresh(seed)
        policy = policy or Policy(knowledge, student.model.config.hidden_size, wide, work.seed)
        phases = Phases(policy, lambda student=student: _cross_entropy(work, student, held))  # type: ignore[misc]
        drawn = random.Random(seed).sample(places, size)
        steps += len(_learn(work, student, drawn, phases, seed))
        phases.end()
    assert policy
    return policy, steps


def _cross_entropy(work: _Work, student: FullStudent, places: list[int]) -> float:
    """Mean over the reward rows; the student stays in training."""
    import torch

    logits = torch.from_numpy(student.logits([work.lessons.texts[i] for i in places]))
    student.model.train()
    goal = torch.tensor([work.numbers[i] for i in places])
    return float(torch.nn.functional.cross_entropy(logits, goal))


def _final_weights(knowledge: Knowledge, policy: Policy | None, seed: int) -> Choose:
    """What weighs in stage 2: the frozen policy, its mean action, or a control."""
    if policy is None:
        return fixed(knowledge, seed)
    if knowledge.weights == "learnt":
        return Phases(policy)
    mean = policy.mean()
    return lambda situation: mean


def _learn(work: _Work, student: FullStudent, places: list[int], choose: Choose, seed: int) -> list["Tensor"]:
    """The loop over epochs and mini-batches; returns the action of every step."""
    import torch

    recipe, learner = work.recipe, FullLearner.of(work.lessons.texts, student, work.recipe.learning_rate)
    pair = Pair(learner, work.numbers, places, len(work.labels), work.views, work.knowledge)
    per_epoch = ceil(len(places) / recipe.batch)
    epochs = max(recipe.epochs, ceil(recipe.steps / per_epoch))
    optimizer = torch.optim.AdamW(pair.parameters, lr=learner.rate, weight_decay=learner.decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(epochs * per_epoch))
    order, actions = random.Random(seed), []
    means = RunningMean() if work.knowledge.normalise else None
    for _ in range(epochs):
        for batch in bucketed([learner.lengths[i] for i in places], recipe.batch, order):
            situation, losses = pair([places[i] for i in batch])
            action = choose(situation)
            actions.append(action)
            loss = (action.to(losses) * (means(losses) if means else losses)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(pair.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return actions


def _report(
    knowledge: Knowledge,
    policy: Policy | None,
    steps: tuple[int, int],
    seconds: tuple[float, float],
    actions: "Tensor",
) -> dict[str, object]:
    """The cost of both stages, stage 2's weights, and stage 1's rewards.

    `steps`, `seconds`: of stage 1 and 2. `mean_action`: of stage 2, by kind. `trace`: its action at the start
    of each phase. `practice`: action and reward of each phase of stage 1.
    """
    kinds, phases = knowledge.kinds, policy.seen if policy else []
    return {
        "steps": steps,
        "seconds": tuple(round(part, 2) for part in seconds),
        "mean_action": dict(zip(kinds, _rounded(actions.mean(0)), strict=True)),
        "trace": [_rounded(action) for action in actions[:: knowledge.phase]],
        "practice": [{"action": _rounded(one.action), "reward": round(one.reward, 5)} for one in phases],
    }


def _rounded(action: "Tensor") -> list[float]:
    return [round(part, 3) for part in action.tolist()]
