"""Training: rows in, a student out; the same rows and seed give the same student."""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder, load_pretrained
from tutelage.student.models.base import HeadStudent, Student
from tutelage.student.training.adapters import causal, classifier, seq2seq, tagger
from tutelage.student.training.adapters.base import Learner
from tutelage.student.training.averaging import WeightAverage
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.losses import PLAIN, Objective
from tutelage.student.training.schedule import bucketed, warm_and_down
from tutelage.student.training.training_set import Chosen, Lessons

if TYPE_CHECKING:
    from torch import Tensor

Tell = Callable[..., None]
_HEAD_PASSES = 8  # of a head for each epoch of the recipe: its steps are a thousand times cheaper
_RESTARTS = 2  # of a training that collapsed: one of twelve did (ours)
_JUDGED = 100  # steps; fewer are too few to tell a collapse from a slow start (ours)
_FALL = 0.05  # of what there was to gain over answering the label frequencies (ours)


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

    A training whose loss does not fall is started again from another seed, at most twice; the one with the
    lowest loss at its end is returned.

    Args:
        rows: at least one; labels from `labels`; weights and soft targets are used where rows have them.
        labels: column order of the student's probabilities.
        recipe: see `Recipe`.
        seed: of initialisation, dropout and order.
        encoder: whose cached vectors the head mode trains on (its base must be the recipe's).
        objective: see `Objective`; its knowledge is not distilled here but by student/distillation/loop.py.
        start: a student of the same recipe, which is left as it is: training goes on from a copy.
        tell: gets `restarted`, the number of restarts, if there were any; and the three counts of data
            efficiency, where samples are chosen at every step.

    Raises:
        InputError: the base cannot be loaded, or a row's weight or target does not fit.
    """
    lessons = Lessons.of(rows)
    lessons.check(labels, recipe.kind)
    if recipe.mode == "head" and objective == PLAIN and start is None:
        return classifier.solve_head(lessons, labels, recipe, encoder)
    work = _Work(lessons, labels, recipe, objective, encoder, start)
    attempts: list[_Attempt] = []
    while not attempts or (attempts[-1].collapsed and len(attempts) <= _RESTARTS):
        attempts.append(work.attempt(seed + 10_007 * len(attempts)))
    best = min(attempts, key=lambda attempt: attempt.loss)
    if tell and len(attempts) > 1:
        tell(restarted=len(attempts) - 1)
    if objective.thresholds and tell:
        tell(**best.counts)
    return best.student


class _Attempt(NamedTuple):
    """One training: its student, its loss at the end, whether that fell, and the counts of chosen samples."""

    student: Student
    loss: float
    collapsed: bool
    counts: dict[str, object]


@dataclass(frozen=True)
class _Work:
    """What all attempts at a training share."""

    lessons: Lessons
    labels: Sequence[str]
    recipe: Recipe
    objective: Objective
    encoder: Encoder
    start: Student | None

    def attempt(self, seed: int) -> _Attempt:
        """Train once."""
        learner, passes = self._learner(seed), self._passes()
        chosen = self.lessons.selection(self.objective.thresholds, self.labels, seed)
        losses = _learn(learner, chosen, self.objective, self.recipe, passes, seed)
        loss = float(np.mean(losses[-max(1, len(losses) // 10) :])) if losses else 0.0
        # Samples that are chosen because the student is unsure of them keep a high loss.
        collapsed = not chosen and len(losses) >= _JUDGED and _stuck(learner, loss, self.objective)
        counts = chosen.counts(passes) if chosen else {}
        return _Attempt(learner.student, loss if np.isfinite(loss) else np.inf, collapsed, counts)

    def _learner(self, seed: int) -> Learner:
        """A fresh student, or a copy of another, on lessons."""
        recipe, start = self.recipe, self.start
        if recipe.mode == "head":
            blank = classifier.blank_head(self.labels, recipe, self.encoder)
            head = start if isinstance(start, HeadStudent) else blank
            return classifier.head_learner(self.lessons, head, recipe, self.objective)
        made = _TRAINERS[recipe.kind]
        student = deepcopy(start) if start else made.fresh(self.labels, recipe, seed)
        if made.prepare and not start:
            made.prepare(student, self.lessons, recipe, seed)
        return made.learner(self.lessons, student, recipe, self.objective)

    def _passes(self) -> int:
        """Epochs, as many as the least number of steps of a fresh student takes."""
        recipe, thresholds = self.recipe, self.objective.thresholds
        of_full = thresholds.passes if thresholds else 1
        passes = recipe.epochs * (_HEAD_PASSES if recipe.mode == "head" else of_full)
        if self.start:
            return passes
        return max(passes, ceil(recipe.steps / ceil(len(self.lessons.texts) / recipe.batch)))


def _learn(
    learner: Learner, chosen: Chosen | None, objective: Objective, recipe: Recipe, epochs: int, seed: int
) -> list[float]:
    """Run the loop over epochs and mini-batches; return the loss of each step."""
    import torch

    steps = epochs * ceil(len(learner.lengths) / recipe.batch)
    optimizer = torch.optim.AdamW(learner.parameters, lr=learner.rate, weight_decay=learner.decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(steps))
    average = WeightAverage(learner.parameters, recipe.average, steps)
    order, losses = random.Random(seed), list["Tensor"]()
    for _ in range(epochs):
        for batch in bucketed(learner.lengths, recipe.batch, order):
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
            average.update(len(losses))
            losses.append(loss.detach())
    average.apply()
    return torch.stack(losses).tolist() if losses else []


def _stuck(learner: Learner, loss: float, objective: Objective) -> bool:
    """Whether a loss is not clearly below that of always answering the label frequencies."""
    bounds = learner.bounds(objective)
    if bounds is None:
        return False
    chance, least = bounds
    # One label, or targets that are all alike, leave nothing to gain.
    return chance - least > 1e-3 and not loss < chance - _FALL * (chance - least)


def untouched(labels: Sequence[str], recipe: Recipe, *, seed: int, encoder: Encoder) -> Student:
    """The student before any training: a random head. What every gain is measured from."""
    if recipe.mode == "full":
        made: Student = _TRAINERS[recipe.kind].fresh(labels, recipe, seed)
        return made
    encoder.require_mean_pooling()
    blank = classifier.blank_head(labels, recipe, encoder)
    weight = np.random.default_rng(seed).normal(0, 0.02, blank.weight.shape)
    return blank.of(weight.astype(np.float32), blank.bias)


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
    """How a student of a kind is begun, prepared, and learns, and what is seen to before."""

    fresh: Callable[[Sequence[str], Recipe, int], Any]
    learner: Callable[[Lessons, Any, Recipe, Objective], Learner]
    check: Callable[[Sequence[Row], Recipe], list[str]] | None = None
    prepare: Callable[[Any, Lessons, Recipe, int], None] | None = None


_CLASSIFIERS = _Trainer(classifier.fresh, classifier.full_learner, prepare=classifier.prepare)
_TRAINERS = {
    "classification": _CLASSIFIERS,
    "pairs": _CLASSIFIERS,
    "multilabel": _CLASSIFIERS,
    "ner": _Trainer(tagger.fresh, tagger.learner, tagger.check),
    "seq2seq": _Trainer(causal.fresh, seq2seq.learner, causal.check),
}
