"""Training: rows in, a student out; the same rows and seed give the same student."""

import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from tutelage.student import adapting, classifying, tagging, writing
from tutelage.student.encoder import Encoder, load_pretrained
from tutelage.student.learners import Learner
from tutelage.student.lessons import Chosen, Lessons
from tutelage.student.model import HeadStudent, Student
from tutelage.student.objectives import PLAIN, Objective
from tutelage.student.recipe import Recipe
from tutelage.student.rows import Row

Tell = Callable[..., None]
_HEAD_PASSES = 8  # of a head for each epoch of the recipe: its steps are a thousand times cheaper


def train(
    rows: Sequence[Row],
    labels: Sequence[str],
    recipe: Recipe,
    *,
    seed: int,
    encoder: Encoder,
    objective: Objective = PLAIN,
    start: Student | None = None,
    tell: Tell | None = None,
) -> Student:
    """Train a student on rows, a fresh one unless it is to start from another.

    Args:
        rows: at least one; labels from `labels`.
        labels: column order of the student's probabilities.
        recipe: see `Recipe`.
        seed: of initialisation, dropout and order.
        encoder: whose cached vectors the head mode trains on (its base must be the recipe's).
        objective: see `Objective`; its knowledge is not distilled here but by student/distilling.py.
        start: a student of the same recipe, which is left as it is: training goes on from a copy.
        tell: gets the three counts of data efficiency, where samples are chosen at every step.
    """
    lessons = Lessons.of(rows)
    if recipe.mode == "head" and objective == PLAIN and start is None:
        return classifying.solve_head(lessons, labels, recipe, encoder)
    learner = _learner(lessons, labels, recipe, objective, seed, encoder, start)
    of_full = objective.thresholds.passes if objective.thresholds else 1
    passes = recipe.epochs * (_HEAD_PASSES if recipe.mode == "head" else of_full)
    per_epoch = ceil(len(rows) / recipe.batch)
    passes = passes if start else max(passes, ceil(recipe.steps / per_epoch))
    chosen = lessons.selection(objective.thresholds, labels, seed)
    _learn(learner, chosen, objective, passes, recipe.batch, seed)
    if objective.thresholds and tell:
        tell(**(chosen.counts(passes) if chosen else {}))
    return learner.student


def _learner(
    lessons: Lessons,
    labels: Sequence[str],
    recipe: Recipe,
    objective: Objective,
    seed: int,
    encoder: Encoder,
    start: Student | None,
) -> Learner:
    """A fresh student, or a copy of another, on lessons."""
    if recipe.mode == "head":
        head = start if isinstance(start, HeadStudent) else classifying.blank_head(labels, recipe, encoder)
        return classifying.head_learner(lessons, head, recipe, objective)
    made = _TRAINERS[recipe.kind]
    student = deepcopy(start) if start else made.fresh(labels, recipe, seed)
    return made.learner(lessons, student, recipe, objective)


def _learn(
    learner: Learner, chosen: Chosen | None, objective: Objective, epochs: int, size: int, seed: int
) -> None:
    """The loop over epochs and mini-batches."""
    import torch

    steps = epochs * ceil(len(learner.lengths) / size)
    optimizer = torch.optim.AdamW(learner.parameters, lr=learner.rate, weight_decay=learner.decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(steps))
    order = random.Random(seed)
    for _ in range(epochs):
        for batch in bucketed(learner.lengths, size, order):
            logits = learner.logits(batch)
            weights = learner.weights[batch]
            if chosen:
                weights = weights * torch.from_numpy(chosen.weights(batch, logits)).to(weights)
                if not weights.any():  # no step: the learning rate waits for the samples
                    continue
            loss = (learner.losses(logits, batch, objective) * weights).sum() / weights.sum()
            (loss + learner.penalty()).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(learner.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def untouched(labels: Sequence[str], recipe: Recipe, *, seed: int, encoder: Encoder) -> Student:
    """The student before any training: a random head. What every gain is measured from."""
    if recipe.mode == "full":
        made: Student = _TRAINERS[recipe.kind].fresh(labels, recipe, seed)
        return made
    encoder.require_mean_pooling()
    blank = classifying.blank_head(labels, recipe, encoder)
    weight = np.random.default_rng(seed).normal(0, 0.02, blank.weight.shape)
    return blank.of(weight.astype(np.float32), blank.bias)


def bucketed(lengths: Sequence[int], size: int, random: random.Random) -> Iterator[list[int]]:
    """One epoch of batches of like length: padding, not the framework, is the cost of training on text.

    Shuffles, sorts within runs of 50 batches by length, and yields the batches in random order.
    """
    order = list(range(len(lengths)))
    random.shuffle(order)
    batches = []
    for start in range(0, len(order), 50 * size):
        run = sorted(order[start : start + 50 * size], key=lambda i: lengths[i])
        batches += [run[i : i + size] for i in range(0, len(run), size)]
    random.shuffle(batches)
    yield from batches


def warm_and_down(steps: int) -> Any:
    """Learning-rate factor: up over the first tenth, then down in a line."""
    warm = max(1, steps // 10)
    return lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def check(rows: Sequence[Row], recipe: Recipe) -> list[str]:
    """See that a recipe's student can be made and can answer as these rows, before anything is paid for.

    Returns:
        Notes on what it will not learn.

    Raises:
        InputError: its base cannot be loaded, or fits neither the kind nor the rows.
    """
    from transformers import AutoConfig

    load_pretrained(AutoConfig, recipe.base)
    see = _TRAINERS[recipe.kind].check
    return see(rows, recipe) if see else []


class _Trainer(NamedTuple):
    """How a student of a kind is begun, and learns, and what is seen to before."""

    fresh: Callable[[Sequence[str], Recipe, int], Any]
    learner: Callable[[Lessons, Any, Recipe, Objective], Learner]
    check: Callable[[Sequence[Row], Recipe], list[str]] | None = None


_CLASSIFIERS = _Trainer(classifying.fresh, classifying.full_learner)
_TRAINERS = {
    "classification": _CLASSIFIERS,
    "pairs": _CLASSIFIERS,
    "multilabel": _CLASSIFIERS,
    "ner": _Trainer(tagging.fresh, tagging.learner, tagging.check),
    "seq2seq": _Trainer(adapting.fresh, writing.learner, adapting.check),
}
