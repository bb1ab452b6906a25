"""Trainer adapters for classifiers: all weights of a model, or a linear head on frozen embeddings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tutelage.student.device import device, half_on_cuda
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import PAIR_PARTS, Classifier, FullStudent, HeadStudent, Student, features
from tutelage.student.models.predictions import Floats
from tutelage.student.models.windows import mean_by_text
from tutelage.student.pretrained import load_model, load_pretrained, longest
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.adapters.base import (
    Targets,
    default_rate,
    disable_attention_dropout,
    uniform_weights,
)
from tutelage.student.training.adapters.contrastive import contrast
from tutelage.student.training.adapters.mean_pooling import mean_pooled, pools_itself
from tutelage.student.training.adapters.probing import probe, probe_decay, solve
from tutelage.student.training.adapters.window_batches import WindowBatches
from tutelage.student.training.class_weights import class_weights, positive_weights
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.losses import Objective
from tutelage.student.training.observer import Observer
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_RATE = 0.02  # AdamW's learning rate on vectors of length 1 (ours)


class FullAdapter:
    """Train every weight of a sequence classifier; `goals` may be None if `losses` is not called."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        batches: WindowBatches,
        student: FullStudent,
        rate: float,
        goals: Targets | None,
    ):
        self.batches, self.student, self.rate, self.goals = batches, student, rate, goals
        self.lengths, self.token_ids, self.model = batches.lengths, batches.token_ids, student.model
        self.parameters = list(student.model.parameters())
        self.device = student.model.device
        self.weights: Tensor = (
            uniform_weights(batches.windows).to(self.device) if goals is None else goals.weights
        )
        self.sizes = uniform_weights(batches.windows).to(self.device)

    @classmethod
    def of(
        cls,
        texts: list[str],
        student: FullStudent,
        rate: float | None,
        goals: Targets | None = None,
    ) -> "FullAdapter":
        """Return an adapter for texts; a `rate` of None takes the default of `TrainingConfig`."""
        student.model.train()
        moved = goals and goals.to(student.model.device)
        return cls(WindowBatches(texts, student), student, rate or default_rate(student.model), moved)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Return float logits of shape (len(batch), labels), with gradient."""
        inputs, owners = self.batches.inputs(batch)
        with half_on_cuda(self.device):
            logits: Tensor = self.student.model(**inputs).logits
        return mean_by_text(logits.float(), owners, len(batch))

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """Return the loss of each text, shape (len(batch),)."""
        assert self.goals
        return self.goals.losses(logits, batch, objective, several=self.student.thresholds is not None)

    def bounds(self, objective: Objective) -> tuple[float, float] | None:
        """Return the bounds of the mean loss (see `TrainerAdapter.bounds`), or None without `goals`."""
        several = self.student.thresholds is not None
        return self.goals and self.goals.bounds(objective, several=several)

    def inputs(self, batch: Sequence[int]) -> Any:
        """Return the padded token ids and their attention mask, on the model's device."""
        return self.batches.inputs(batch)[0]

    def penalty(self) -> "Tensor | float":
        """Return 0: there is no penalty."""
        return 0.0


class HeadAdapter:
    """Train a linear classifier on cached vectors in mini-batches, for what `solve` cannot optimise."""

    rate = _HEAD_RATE
    decay = 0.0  # AdamW's own would lead to another solution than that of `solve`
    model = None
    token_ids = frozenset[int]()

    def __init__(
        self,
        vectors: Any,
        weight: Any,
        bias: Any,
        student: HeadStudent,
        shrink: float,
        goals: Targets,
    ):
        self.vectors, self.weight, self.bias = vectors, weight, bias
        self.start, self.shrink, self.goals, self.weights = student, shrink, goals, goals.weights
        self.lengths, self.sizes = [1] * len(vectors), uniform_weights(vectors)
        self.parameters = [weight, bias]
        self.device = vectors.device

    @classmethod
    def of(cls, texts: list[str], start: HeadStudent, shrink: float, goals: Targets) -> "HeadAdapter":
        """Return an adapter for texts that continues from a copy of the head `start`."""
        import torch

        weight, bias = (torch.from_numpy(part.copy()).requires_grad_() for part in (start.weight, start.bias))
        vectors = torch.from_numpy(features(start.encoder, texts, start.fields))
        return cls(vectors, weight, bias, start, shrink, goals)

    def penalty(self) -> "Tensor | float":
        """Return `shrink` · ‖W‖²."""
        penalty: Tensor = self.shrink * (self.weight**2).sum()
        return penalty

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Return logits of shape (len(batch), labels), with gradient."""
        logits: Tensor = self.vectors[list(batch)] @ self.weight.T + self.bias
        return logits

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """Return the loss of each text, shape (len(batch),)."""
        return self.goals.losses(logits, batch, objective, several=self.start.thresholds is not None)

    def bounds(self, objective: Objective) -> tuple[float, float] | None:
        """Return the bounds of the mean loss, see `TrainerAdapter.bounds`."""
        return self.goals.bounds(objective, several=self.start.thresholds is not None)

    @property
    def student(self) -> Student:
        """Return a head with the current weights."""
        weight, bias = (part.detach().numpy() for part in self.parameters)
        return self.start.of(weight, bias)


def fresh(labels: Sequence[str], training_config: TrainingConfig, seed: int) -> FullStudent:
    """Return a student with the configuration's pretrained base, its `pooling`, and a random classifier."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = load_pretrained(
        AutoConfig, training_config.base, id2label=names, label2id={label: i for i, label in names.items()}
    )
    disable_attention_dropout(config)
    if training_config.pooling == "mean" and not pools_itself(config, training_config):
        model = mean_pooled(config, training_config)
    else:
        if training_config.pooling == "mean":
            config.classifier_pooling = "mean"
        model = load_model(
            AutoModelForSequenceClassification,
            training_config.base,
            config=config,
            ignore_mismatched_sizes=True,  # a hub model may have a classifier for other labels
        )
    tokenizer = load_pretrained(AutoTokenizer, training_config.base)
    tokens = longest(tokenizer, config, training_config.max_tokens)
    model = model.to(device(training_config.device))
    thresholds = _decision_thresholds(labels, training_config)
    student = FullStudent(model, tokenizer, labels, tokens, training_config.fields, thresholds=thresholds)
    student.long = training_config.long
    return student


def prepare(
    student: FullStudent,
    training_set: TrainingSet,
    training_config: TrainingConfig,
    seed: int,
    observer: Observer,
) -> None:
    """Run the configured steps before fine-tuning, in place: contrastive steps, then the linear probe."""
    if training_config.contrastive_steps:
        contrast(student, training_set, training_config, seed, observer)
    if training_config.probe_first:
        probe(student, training_set, _targets_of(training_set, student, training_config), training_config)


def full_adapter(
    training_set: TrainingSet, student: FullStudent, training_config: TrainingConfig
) -> FullAdapter:
    """Return an adapter that trains every weight of a classifier on a training set."""
    goals = _targets_of(
        training_set, student, training_config, soft=training_config.objective.target == "soft"
    )
    return FullAdapter.of(training_set.texts, student, training_config.learning_rate, goals)


def head_adapter(
    training_set: TrainingSet, student: HeadStudent, training_config: TrainingConfig
) -> HeadAdapter:
    """Return an adapter that trains a head on a training set."""
    goals = _targets_of(
        training_set, student, training_config, soft=training_config.objective.target == "soft"
    )
    return HeadAdapter.of(
        training_set.texts, student, _head_decay(training_config, training_set, student), goals
    )


def solve_head(
    training_set: TrainingSet, labels: Sequence[str], training_config: TrainingConfig, encoder: Encoder
) -> HeadStudent:
    """Fit a logistic regression to the encoder's vectors with `solve`."""
    import torch

    blank = blank_head(labels, training_config, encoder)
    inputs = torch.from_numpy(features(encoder, training_set.texts, training_config.fields))
    goals, decay = (
        _targets_of(training_set, blank, training_config),
        _head_decay(training_config, training_set, blank),
    )
    weight, bias = solve(inputs, goals, decay, several=blank.thresholds is not None)
    return blank.of(weight.numpy(), bias.numpy())


def blank_head(labels: Sequence[str], training_config: TrainingConfig, encoder: Encoder) -> HeadStudent:
    """Return a head whose weights are all 0."""
    width = encoder.dimensions * (1 if len(training_config.fields) == 1 else PAIR_PARTS)
    weight, bias = np.zeros((len(labels), width), np.float32), np.zeros(len(labels), np.float32)
    return HeadStudent(
        encoder,
        weight,
        bias,
        labels,
        training_config.fields,
        thresholds=_decision_thresholds(labels, training_config),
    )


def _targets_of(
    training_set: TrainingSet, student: Classifier, training_config: TrainingConfig, *, soft: bool = False
) -> Targets:
    """Return targets and loss weights. Class weights follow the label frequencies before smoothing. In a
    multi-label task each label is a binary problem, and its weight applies to the texts that have it.
    """
    import torch

    labels, how, weights = student.labels, training_config.class_weights, training_set.weights
    if student.thresholds is not None:
        positive = positive_weights(training_set.probabilities(labels), weights, how)
        targets = training_set.probabilities(labels, smoothing=training_config.smoothing)
        return Targets(
            torch.from_numpy(targets), uniform_weights([], weights), torch.from_numpy(positive).float()
        )
    shares = training_set.distributions(labels)
    weights = weights * (shares @ class_weights(shares, weights, how))
    targets = training_set.distributions(labels, soft=soft, smoothing=training_config.smoothing)
    return Targets(torch.from_numpy(targets), uniform_weights([], weights))


def _decision_thresholds(labels: Sequence[str], training_config: TrainingConfig) -> Floats | None:
    """Return the decision thresholds of a multi-label task before they are tuned; None for other tasks."""
    return np.full(len(labels), 0.5) if TASK_TYPES[training_config.kind].decision_thresholds else None


def _head_decay(training_config: TrainingConfig, training_set: TrainingSet, head: HeadStudent) -> float:
    several = head.thresholds is not None
    return probe_decay(training_config, training_set, len(head.labels), several=several)
