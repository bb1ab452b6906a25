"""Classifiers before and in training: every weight, or a head on frozen embeddings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tutelage.student.encoder import Encoder, device, half_on_cuda, load_pretrained, longest
from tutelage.student.models.base import PAIR_PARTS, Classifier, FullStudent, HeadStudent, Student, features
from tutelage.student.models.predictions import Floats
from tutelage.student.training.adapters.base import Goals, default_rate, even, quicken
from tutelage.student.training.adapters.contrastive import contrast
from tutelage.student.training.adapters.mean_pooling import mean_pooled, pools_itself
from tutelage.student.training.adapters.probing import probe, probe_decay, solve
from tutelage.student.training.class_weights import class_weights, positive_weights
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.losses import Objective
from tutelage.student.training.training_set import Lessons

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_RATE = 0.02  # AdamW's, on vectors of length 1 (ours)


class FullLearner:
    """Every weight of a sequence classifier; `goals` are needed for `losses` alone."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        tokens: list[dict[str, list[int]]],
        student: FullStudent,
        rate: float,
        goals: Goals | None,
    ):
        self.tokens, self.student, self.rate, self.goals = tokens, student, rate, goals
        self.lengths = [len(one["input_ids"]) for one in tokens]
        self.parameters = list(student.model.parameters())
        self.device = student.model.device
        self.weights: Tensor = even(tokens).to(self.device) if goals is None else goals.weights

    @classmethod
    def of(
        cls,
        texts: list[str],
        student: FullStudent,
        rate: float | None,
        goals: Goals | None = None,
    ) -> "FullLearner":
        """A learner on texts; see `Recipe` for the rate."""
        student.model.train()
        encoded = student.tokens(texts, return_attention_mask=False)
        tokens = [{name: ids[i] for name, ids in encoded.items()} for i in range(len(texts))]
        here = goals and goals.to(student.model.device)
        return cls(tokens, student, rate or default_rate(student.model), here)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), labels), with gradient."""
        with half_on_cuda(self.device):
            logits: Tensor = self.student.model(**self.inputs(batch)).logits
        return logits.float()

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """See `Learner`."""
        assert self.goals
        return self.goals.losses(logits, batch, objective, several=self.student.thresholds is not None)

    def bounds(self, objective: Objective) -> tuple[float, float] | None:
        """See `Learner`."""
        several = self.student.thresholds is not None
        return self.goals and self.goals.bounds(objective, several=several)

    def inputs(self, batch: Sequence[int]) -> Any:
        """Token ids and their mask, padded, on the device."""
        chosen = [self.tokens[i] for i in batch]
        return self.student.tokenizer.pad(chosen, return_tensors="pt").to(self.device)

    def penalty(self) -> "Tensor | float":
        """Nothing."""
        return 0.0


class HeadLearner:
    """A linear classifier on cached vectors, in mini-batches: for what its closed solution cannot do."""

    rate = _HEAD_RATE
    decay = 0.0  # AdamW's own would not lead to where the closed solution is

    def __init__(
        self,
        vectors: Any,
        weight: Any,
        bias: Any,
        student: HeadStudent,
        shrink: float,
        goals: Goals,
    ):
        self.vectors, self.weight, self.bias = vectors, weight, bias
        self.start, self.shrink, self.goals, self.weights = student, shrink, goals, goals.weights
        self.lengths = [1] * len(vectors)
        self.parameters = [weight, bias]
        self.device = vectors.device

    @classmethod
    def of(cls, texts: list[str], start: HeadStudent, shrink: float, goals: Goals) -> "HeadLearner":
        """A learner on texts, which goes on from a copy of a head."""
        import torch

        weight, bias = (torch.from_numpy(part.copy()).requires_grad_() for part in (start.weight, start.bias))
        vectors = torch.from_numpy(features(start.encoder, texts, start.fields))
        return cls(vectors, weight, bias, start, shrink, goals)

    def penalty(self) -> "Tensor | float":
        """`shrink` · ‖W‖²."""
        penalty: Tensor = self.shrink * (self.weight**2).sum()
        return penalty

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Logits of shape (len(batch), labels), with gradient."""
        logits: Tensor = self.vectors[list(batch)] @ self.weight.T + self.bias
        return logits

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """See `Learner`."""
        return self.goals.losses(logits, batch, objective, several=self.start.thresholds is not None)

    def bounds(self, objective: Objective) -> tuple[float, float] | None:
        """See `Learner`."""
        return self.goals.bounds(objective, several=self.start.thresholds is not None)

    @property
    def student(self) -> Student:
        """The head as it stands."""
        weight, bias = (part.detach().numpy() for part in self.parameters)
        return self.start.of(weight, bias)


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> FullStudent:
    """A student of the recipe's base with a random classifier; see `Recipe.pooling`."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = load_pretrained(
        AutoConfig, recipe.base, id2label=names, label2id={label: i for i, label in names.items()}
    )
    quicken(config)
    if recipe.pooling == "mean" and not pools_itself(config, recipe):
        model = mean_pooled(config, recipe)
    else:
        if recipe.pooling == "mean":
            config.classifier_pooling = "mean"
        model = load_pretrained(
            AutoModelForSequenceClassification,
            recipe.base,
            config=config,
            ignore_mismatched_sizes=True,  # a hub model may bring another classifier than the task's
        )
    tokenizer = load_pretrained(AutoTokenizer, recipe.base)
    tokens = longest(tokenizer, config, recipe.max_tokens)
    model, borders = model.to(device(recipe.device)), _borders(labels, recipe)
    return FullStudent(model, tokenizer, labels, tokens, recipe.fields, thresholds=borders)


def prepare(student: FullStudent, lessons: Lessons, recipe: Recipe, seed: int) -> None:
    """Take the steps that come before a fine-tuning, in place: contrastive ones, then the probe."""
    if recipe.contrastive_steps:
        contrast(student, lessons, recipe, seed)
    if recipe.probe_first:
        probe(student, lessons, _goals(lessons, student, recipe), recipe)


def full_learner(lessons: Lessons, student: FullStudent, recipe: Recipe, objective: Objective) -> FullLearner:
    """Every weight of a classifier on lessons."""
    goals = _goals(lessons, student, recipe, soft=objective.target == "soft")
    return FullLearner.of(lessons.texts, student, recipe.learning_rate, goals)


def head_learner(lessons: Lessons, student: HeadStudent, recipe: Recipe, objective: Objective) -> HeadLearner:
    """A head on lessons."""
    goals = _goals(lessons, student, recipe, soft=objective.target == "soft")
    return HeadLearner.of(lessons.texts, student, _head_decay(recipe, lessons, student), goals)


def solve_head(lessons: Lessons, labels: Sequence[str], recipe: Recipe, encoder: Encoder) -> HeadStudent:
    """Logistic regression on the encoder's vectors, see `solve`."""
    import torch

    blank = blank_head(labels, recipe, encoder)
    inputs = torch.from_numpy(features(encoder, lessons.texts, recipe.fields))
    goals, decay = _goals(lessons, blank, recipe), _head_decay(recipe, lessons, blank)
    weight, bias = solve(inputs, goals, decay, several=blank.thresholds is not None)
    return blank.of(weight.numpy(), bias.numpy())


def blank_head(labels: Sequence[str], recipe: Recipe, encoder: Encoder) -> HeadStudent:
    """A head that knows nothing: all weights 0."""
    width = encoder.dimensions * (1 if len(recipe.fields) == 1 else PAIR_PARTS)
    weight, bias = np.zeros((len(labels), width), np.float32), np.zeros(len(labels), np.float32)
    return HeadStudent(encoder, weight, bias, labels, recipe.fields, thresholds=_borders(labels, recipe))


def _goals(lessons: Lessons, student: Classifier, recipe: Recipe, *, soft: bool = False) -> Goals:
    """Targets and weights. Class weights go by the labels' frequencies before smoothing; where a text has
    several labels, each label is learnt by itself, and is weighed where a text has it.
    """
    import torch

    labels, how, weights = student.labels, recipe.class_weights, lessons.weights
    if student.thresholds is not None:
        positive = positive_weights(lessons.probabilities(labels), weights, how)
        targets = lessons.probabilities(labels, smoothing=recipe.smoothing)
        return Goals(torch.from_numpy(targets), even([], weights), torch.from_numpy(positive).float())
    shares = lessons.distributions(labels)
    weights = weights * (shares @ class_weights(shares, weights, how))
    targets = lessons.distributions(labels, soft=soft, smoothing=recipe.smoothing)
    return Goals(torch.from_numpy(targets), even([], weights))


def _borders(labels: Sequence[str], recipe: Recipe) -> Floats | None:
    """Thresholds before they are tuned, where texts have several labels."""
    return np.full(len(labels), 0.5) if recipe.kind == "multilabel" else None


def _head_decay(recipe: Recipe, lessons: Lessons, head: HeadStudent) -> float:
    several = head.thresholds is not None
    return probe_decay(recipe, lessons, len(head.labels), several=several)
