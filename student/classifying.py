"""Classifiers before and in training: every weight, or a head on frozen embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tutelage.student.class_weights import class_weights, positive_weights
from tutelage.student.contrastive import contrast
from tutelage.student.encoder import Encoder, device, load_pretrained, longest
from tutelage.student.learners import FullLearner, Goals, HeadLearner, even
from tutelage.student.lessons import Lessons
from tutelage.student.mean_pooling import mean_pooled, pools_itself
from tutelage.student.model import PAIR_PARTS, Classifier, FullStudent, HeadStudent, features
from tutelage.student.objectives import Objective
from tutelage.student.probing import probe, probe_decay, solve
from tutelage.student.reading import Floats
from tutelage.student.recipe import Recipe


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


def quicken(config: Any) -> None:
    """Dropout inside attention shuts off the fast kernels; the other dropouts stay. Worth 1.15x at 64 tokens
    in a first look, nothing in benchmarks/training.py at 44.
    """
    if hasattr(config, "attention_probs_dropout_prob"):
        config.attention_probs_dropout_prob = 0.0


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
