"""Train students on rows. The same rows and seed give the same student."""

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.device import reused_memory
from tutelage.student.encoder import Encoder
from tutelage.student.linear_layers import fast_linear_layers
from tutelage.student.models.base import HeadStudent, Student
from tutelage.student.pretrained import load_pretrained
from tutelage.student.training.adapters import causal, classifier, seq2seq, tagger
from tutelage.student.training.adapters.base import TrainerAdapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.gradients import Gradients
from tutelage.student.training.kept_weights import BestWeights, WeightAverage, hold_out
from tutelage.student.training.layers import (
    check_layers,
    frozen_layers,
    parameter_groups,
    recomputed_layers,
)
from tutelage.student.training.losses import PLAIN, Objective
from tutelage.student.training.observer import UNOBSERVED, Observer
from tutelage.student.training.processes.ranks import ALONE, Ranks
from tutelage.student.training.schedule import bucketed, warm_and_down
from tutelage.student.training.training_set import SampleSelector, TrainingSet
from tutelage.student.training.used_embeddings import used_embeddings

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_PASSES = 8  # per configured epoch, as the steps of a head are a thousand times cheaper
_MAX_RESTARTS = 2  # of collapsed trainings; one in twelve collapsed (ours)
_MIN_STEPS = 100  # with fewer, a collapse looks like a slow start (ours)
_MIN_GAIN = 0.05  # share of the possible gain over always predicting the label frequencies (ours)


def train(
    rows: Sequence[Row],
    labels: Sequence[str],
    training_config: TrainingConfig,
    *,
    seed: int,
    encoder: Encoder,
    observer: Observer = UNOBSERVED,
    ranks: Ranks = ALONE,
) -> Student:
    """Train a fresh student on rows and return it.

    If the loss does not fall, training restarts with another seed, at most twice. The student with the lowest
    final loss is returned.

    Args:
        rows: at least one row, with labels from `labels`. Rows may have weights and soft targets.
        labels: all labels, in the column order of the student's probabilities.
        training_config: how to train.
        seed: seed of initialisation, dropout and the order of rows.
        encoder: embeds the texts in head mode; must have the base of `training_config`.
        observer: is called with every step, and with figures of the training. A plain head has no steps.
        ranks: this process among those that train the student together, with the same arguments; each returns
            the same student. Not for the selection of samples and for rationales (`Objective`), whose losses
            depend on all texts of a batch.

    Raises:
        InputError: the base cannot be loaded, or a row's weight or target is invalid.
    """
    TrainingSet.of(rows).check(labels, training_config.kind)
    rows, held_out = hold_out(rows, training_config, seed)
    training_set = TrainingSet.of(rows)
    job = _TrainingJob(
        training_set, labels, training_config, encoder, observer, ranks=ranks, held_out=held_out
    )
    if training_config.mode == "head" and training_config.objective == PLAIN:
        return classifier.solve_head(job.training_set, labels, training_config, encoder)
    return job.run(seed)


def continue_training(
    start: Student,
    rows: Sequence[Row],
    training_config: TrainingConfig,
    *,
    seed: int,
    encoder: Encoder,
    observer: Observer = UNOBSERVED,
) -> Student:
    """Train a copy of a student, which has the same configuration, on rows and return it (see `train`).

    No row is held out, because the student was trained on some of them.
    """
    training_set = TrainingSet.of(rows)
    training_set.check(start.labels, training_config.kind)
    return _TrainingJob(training_set, start.labels, training_config, encoder, observer, start).run(seed)


class _Attempt(NamedTuple):
    """The result of one training; `loss` is the final loss, `figures` are for the observer."""

    student: Student
    loss: float
    collapsed: bool
    figures: dict[str, object]


@dataclass(frozen=True)
class _TrainingJob:
    """The inputs that all attempts at a training share."""

    training_set: TrainingSet
    labels: Sequence[str]
    training_config: TrainingConfig
    encoder: Encoder
    observer: Observer
    start: Student | None = None
    ranks: Ranks = ALONE
    held_out: Sequence[Row] = ()

    def run(self, seed: int) -> Student:
        """Train, again with another seed as long as the loss does not fall, and return the best student."""
        attempts: list[_Attempt] = []
        while not attempts or (attempts[-1].collapsed and len(attempts) <= _MAX_RESTARTS):
            attempts.append(self.attempt(seed + 10_007 * len(attempts)))
        best = min(attempts, key=lambda attempt: attempt.loss)
        if len(attempts) > 1:
            self.observer.log(restarted=len(attempts) - 1)
        if best.figures:
            self.observer.log(**best.figures)
        return best.student

    def attempt(self, seed: int) -> _Attempt:
        """Train once with this seed."""
        adapter, passes, objective = self._adapter(seed), self._passes(), self.training_config.objective
        selector = self.training_set.selection(objective.adaptive_selection, self.labels, seed)
        config = self.training_config
        self.ranks.start(adapter.parameters, seed)
        with (
            reused_memory(),
            fast_linear_layers(adapter.model),
            frozen_layers(adapter, config.frozen_layers),
            recomputed_layers(adapter, config.recompute),
            nullcontext() if self.held_out else used_embeddings(adapter),  # held-out texts have other tokens
        ):
            losses, figures = self._train_steps(adapter, selector, passes, seed)
        loss = float(np.mean(losses[-max(1, len(losses) // 10) :])) if losses else 0.0
        # The planned steps count, because a collapsed training stops early too.
        long = self._steps(adapter, passes) >= _MIN_STEPS
        # Selected samples keep a high loss, because the student is uncertain about them.
        collapsed = not selector and long and _is_flat(adapter, loss, objective)
        return _Attempt(adapter.student, loss if np.isfinite(loss) else np.inf, collapsed, figures)

    def _steps(self, adapter: TrainerAdapter, epochs: int) -> int:
        return epochs * ceil(len(adapter.lengths) / self.training_config.batch)

    def _train_steps(
        self, adapter: TrainerAdapter, selector: SampleSelector | None, epochs: int, seed: int
    ) -> tuple[list[float], dict[str, object]]:
        """Train over epochs and mini-batches; return the loss of each step, and figures for the observer."""
        import torch

        config, steps = self.training_config, self._steps(adapter, epochs)
        groups = parameter_groups(adapter, config.layer_decay)
        optimizer = torch.optim.AdamW(groups, lr=adapter.rate, weight_decay=adapter.decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(steps))
        average = WeightAverage(adapter.parameters, config.average, steps)
        gradients = Gradients(adapter, config.objective, selector, self.ranks)
        best = BestWeights(adapter, self.held_out, steps, self.ranks)
        order, losses = random.Random(seed), list["Tensor"]()
        batches = (one for _ in range(epochs) for one in bucketed(adapter.lengths, config.batch, order))
        for number, batch in enumerate(batches, 1):
            self.observer.step(number, steps)
            if (loss := gradients(batch)) is not None:  # else the learning rate stays where it is
                torch.nn.utils.clip_grad_norm_(adapter.parameters, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                average.update(len(losses))
                losses.append(loss)
            if best.stop_after(number):
                break
        average.apply()
        best.apply()
        figures: dict[str, object] = selector.counts(epochs) if selector else {}
        if gradients.parts > 1:
            figures["batch_parts"] = gradients.parts
        if best.step:
            figures["best_step"] = best.step
        return torch.stack(losses).tolist() if losses else [], figures

    def _adapter(self, seed: int) -> TrainerAdapter:
        """Return the adapter of a fresh student, or of a copy of `start`."""
        training_config, start = self.training_config, self.start
        if training_config.mode == "head":
            blank = classifier.blank_head(self.labels, training_config, self.encoder)
            head = start if isinstance(start, HeadStudent) else blank
            return classifier.head_adapter(self.training_set, head, training_config)
        trainer = _TRAINERS[training_config.kind]
        student = deepcopy(start) if start else trainer.fresh(self.labels, training_config, seed)
        if trainer.prepare and not start:
            trainer.prepare(student, self.training_set, training_config, seed, self.observer)
        return trainer.adapter(self.training_set, student, training_config)

    def _passes(self) -> int:
        """Return the number of epochs; a fresh student gets more if it would have too few steps."""
        training_config, selection = self.training_config, self.training_config.objective.adaptive_selection
        full_passes = selection.passes if selection else 1
        passes = training_config.epochs * (_HEAD_PASSES if training_config.mode == "head" else full_passes)
        if self.start:
            return passes
        return max(
            passes, ceil(training_config.steps / ceil(len(self.training_set.texts) / training_config.batch))
        )


def _is_flat(adapter: TrainerAdapter, loss: float, objective: Objective) -> bool:
    """Return whether a loss is not clearly below that of always predicting the label frequencies."""
    bounds = adapter.bounds(objective)
    if bounds is None:
        return False
    chance, least = bounds
    # With a single label, or identical targets, there is nothing to gain.
    return chance - least > 1e-3 and not loss < chance - _MIN_GAIN * (chance - least)


def untrained_student(
    labels: Sequence[str], training_config: TrainingConfig, *, seed: int, encoder: Encoder
) -> Student:
    """Return an untrained student with a random head, the baseline of every gain."""
    if training_config.mode == "full":
        student: Student = _TRAINERS[training_config.kind].fresh(labels, training_config, seed)
        return student
    encoder.require_mean_pooling()
    blank = classifier.blank_head(labels, training_config, encoder)
    weight = np.random.default_rng(seed).normal(0, 0.02, blank.weight.shape)
    return blank.of(weight.astype(np.float32), blank.bias)


def check(rows: Sequence[Row], training_config: TrainingConfig) -> list[str]:
    """Check, before any paid call, that the configured student can be created and can learn the rows.

    Returns:
        Notes on labels that it will not learn.

    Raises:
        InputError: the base cannot be loaded, or does not fit the task type or the rows.
    """
    from transformers import AutoConfig

    check_layers(load_pretrained(AutoConfig, training_config.base), training_config)
    check_rows = _TRAINERS[training_config.kind].check
    return check_rows(rows, training_config) if check_rows else []


class _Trainer(NamedTuple):
    """The functions that create, prepare, adapt and check the students of a task type."""

    fresh: Callable[[Sequence[str], TrainingConfig, int], Any]
    adapter: Callable[[TrainingSet, Any, TrainingConfig], TrainerAdapter]
    check: Callable[[Sequence[Row], TrainingConfig], list[str]] | None = None
    prepare: Callable[[Any, TrainingSet, TrainingConfig, int, Observer], None] | None = None


_CLASSIFIERS = _Trainer(classifier.fresh, classifier.full_adapter, prepare=classifier.prepare)
_TRAINERS = {
    "classification": _CLASSIFIERS,
    "pairs": _CLASSIFIERS,
    "multilabel": _CLASSIFIERS,
    "ner": _Trainer(tagger.fresh, tagger.adapter, tagger.check),
    "seq2seq": _Trainer(causal.fresh, seq2seq.adapter, causal.check),
}
