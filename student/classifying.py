"""Classifiers before and in training: every weight, or a head on frozen embeddings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import Encoder, device, load_pretrained, longest
from tutelage.student.learners import FullLearner, HeadLearner
from tutelage.student.lessons import Lessons
from tutelage.student.model import PAIR_PARTS, Classifier, FullStudent, HeadStudent, features
from tutelage.student.objectives import PLAIN, Objective, set_losses
from tutelage.student.reading import Floats
from tutelage.student.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> FullStudent:
    """A student of the recipe's base with a random classifier."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = load_pretrained(
        AutoConfig, recipe.base, id2label=names, label2id={label: i for i, label in names.items()}
    )
    quicken(config)
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


def full_learner(lessons: Lessons, student: FullStudent, recipe: Recipe, objective: Objective) -> FullLearner:
    """Every weight of a classifier on lessons."""
    targets, weights = _targets(lessons, student, soft=objective.target == "soft")
    return FullLearner.of(lessons.texts, student, recipe.learning_rate, targets, weights)


def head_learner(lessons: Lessons, student: HeadStudent, recipe: Recipe, objective: Objective) -> HeadLearner:
    """A head on lessons."""
    targets, weights = _targets(lessons, student, soft=objective.target == "soft")
    return HeadLearner.of(lessons.texts, student, _head_decay(recipe, lessons, student), targets, weights)


def solve_head(lessons: Lessons, labels: Sequence[str], recipe: Recipe, encoder: Encoder) -> HeadStudent:
    """Logistic regression, multinomial or of each label by itself, by L-BFGS: convex, so the seed does not
    matter.
    """
    import torch

    blank = blank_head(labels, recipe, encoder)
    inputs = torch.from_numpy(features(encoder, lessons.texts, recipe.fields))
    weight = torch.zeros(*blank.weight.shape, requires_grad=True)
    bias = torch.zeros(len(labels), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")
    loss_of, decay = _mean_loss(lessons, blank), _head_decay(recipe, lessons, blank)

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(inputs @ weight.T + bias) + decay * (weight**2).sum()
        loss.backward()
        return float(loss.item())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return blank.of(weight.detach().numpy(), bias.detach().numpy())


def blank_head(labels: Sequence[str], recipe: Recipe, encoder: Encoder) -> HeadStudent:
    """A head that knows nothing: all weights 0."""
    width = encoder.dimensions * (1 if len(recipe.fields) == 1 else PAIR_PARTS)
    weight, bias = np.zeros((len(labels), width), np.float32), np.zeros(len(labels), np.float32)
    return HeadStudent(encoder, weight, bias, labels, recipe.fields, thresholds=_borders(labels, recipe))


def balance(targets: Sequence[int], size: int) -> "Tensor":
    """Loss weight of each class, shape (size,): inverse to its frequency, 1 on average over the rows.

    How often a label occurs among ordered texts says what was ordered, not what is common.
    """
    import torch

    counts = torch.bincount(torch.tensor(targets), minlength=size)
    return len(targets) / ((counts > 0).sum() * counts.clamp(min=1)).float()


def _targets(
    lessons: Lessons, student: Classifier, *, soft: bool
) -> "tuple[NDArray[np.float32], Tensor | None]":
    """Targets of shape (n, labels), and the weight of each text in the loss where labels are balanced: of
    several labels a text each is learnt by itself, from all texts.
    """
    if student.thresholds is not None:
        return lessons.sets(student.labels), None
    numbers = lessons.numbers(student.labels)
    return lessons.distributions(student.labels, soft=soft), balance(numbers, len(student.labels))[numbers]


def _mean_loss(lessons: Lessons, head: HeadStudent) -> Any:
    """The mean loss of all lessons as a function of their logits."""
    import torch

    if head.thresholds is not None:
        sets = torch.from_numpy(lessons.sets(head.labels))
        return lambda logits: set_losses(logits, sets, PLAIN).mean()
    numbers = lessons.numbers(head.labels)
    goal, balanced = torch.tensor(numbers), balance(numbers, len(head.labels))
    return lambda logits: torch.nn.functional.cross_entropy(logits, goal, balanced)


def _borders(labels: Sequence[str], recipe: Recipe) -> Floats | None:
    """Thresholds before they are tuned, where texts have several labels."""
    return np.full(len(labels), 0.5) if recipe.kind == "multilabel" else None


def _head_decay(recipe: Recipe, lessons: Lessons, head: HeadStudent) -> float:
    """Of the mean loss: the same for the sum whatever the number of rows, as of a Gaussian prior. Where each
    label is right or wrong by itself, there are two outcomes to choose from.
    """
    choices = len(head.labels) if head.thresholds is None else 2
    return float(recipe.head_decay / (len(lessons.texts) * choices**0.5))
