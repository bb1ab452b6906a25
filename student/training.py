"""Training: rows in, a student out; the same rows and seed give the same student."""

import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from tutelage.student.encoder import EMBEDDED, Encoder, device, load_pretrained, longest
from tutelage.student.fields import ONE, Fields
from tutelage.student.learners import FullLearner, HeadLearner, Learner
from tutelage.student.lessons import Lessons
from tutelage.student.model import PAIR_PARTS, FullStudent, HeadStudent, Student, features
from tutelage.student.objectives import PLAIN, Objective, sample_losses
from tutelage.student.rows import Row

Tell = Callable[..., None]
_HEAD_PASSES = 8  # of a head for each epoch of the recipe: its steps are a thousand times cheaper


@dataclass(frozen=True)
class Recipe:
    """How a student is trained. Defaults were chosen on the shop task's diagnose set (ours).

    `full` trains every weight; `head` a linear classifier on frozen, cached embeddings: seconds a
    round. `epochs` passes are made over the rows, but at least `min_steps` steps, so that a handful
    of seeds is not left untrained. `learning_rate` None is 3e-4 for MiniLM's width of 384, falling with
    the square of the width (7.5e-5 at 768). `head_decay` / √labels · ‖W‖² is added to a head's sum of losses:
    rows of five data sets wanted so much at 100, 300 and 1,000 of them, with 0 and 10 % wrong labels (ours).
    `fields`: see student/fields.py.
    """

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    epochs: int = 4
    min_steps: int = 30
    batch: int = 16
    learning_rate: float | None = None
    head_decay: float = 0.67
    max_tokens: int = 128
    device: str = "auto"
    fields: Fields = ONE


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
    lessons = Lessons.of(rows, labels, soft=objective.target == "soft")
    if recipe.mode == "head" and objective == PLAIN and start is None:
        return _solve_head(lessons, labels, recipe, encoder)
    learner: Learner
    if recipe.mode == "head":
        head = start if isinstance(start, HeadStudent) else _blank_head(labels, recipe, encoder)
        learner = HeadLearner.of(lessons.texts, head, _head_decay(recipe, lessons))
        passes = recipe.epochs * _HEAD_PASSES
    else:
        student = deepcopy(start) if isinstance(start, FullStudent) else fresh(labels, recipe, seed)
        learner = FullLearner.of(lessons.texts, student, recipe.learning_rate)
        passes = recipe.epochs
    per_epoch = ceil(len(rows) / recipe.batch)
    passes = passes if start else max(passes, ceil(recipe.min_steps / per_epoch))
    counts = _learn(learner, lessons, objective, passes, recipe.batch, seed)
    if objective.thresholds and tell:
        tell(**counts)
    return learner.student


def _learn(
    learner: Learner, lessons: Lessons, objective: Objective, epochs: int, size: int, seed: int
) -> dict[str, object]:
    """The loop over epochs and mini-batches; returns what was chosen where samples are chosen."""
    import torch

    steps = epochs * ceil(len(lessons.texts) / size)
    optimizer = torch.optim.AdamW(learner.parameters, lr=learner.rate, weight_decay=learner.decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(steps))
    order = random.Random(seed)
    balanced = balance(lessons.numbers, lessons.targets.shape[1])[lessons.numbers].to(learner.device)
    targets = torch.from_numpy(lessons.targets).to(learner.device)
    chosen = lessons.selection(objective.thresholds, seed)
    for _ in range(epochs):
        for batch in bucketed(learner.lengths, size, order):
            logits = learner.logits(batch)
            weights = balanced[batch]
            if chosen:
                weights = weights * torch.from_numpy(chosen.weights(batch, logits)).to(weights)
                if not weights.any():  # no step: the learning rate waits for the samples
                    continue
            loss = (sample_losses(logits, targets[batch], objective) * weights).sum() / weights.sum()
            (loss + learner.penalty()).backward()
            torch.nn.utils.clip_grad_norm_(learner.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return chosen.counts(epochs) if chosen else {}


def untouched(labels: Sequence[str], recipe: Recipe, *, seed: int, encoder: Encoder) -> Student:
    """The student before any training: a random head. What every gain is measured from."""
    if recipe.mode == "full":
        return fresh(labels, recipe, seed)
    encoder.require_mean_pooling()
    blank = _blank_head(labels, recipe, encoder)
    weight = np.random.default_rng(seed).normal(0, 0.02, blank.weight.shape)
    return HeadStudent(encoder, weight.astype(np.float32), blank.bias, labels, recipe.fields)


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


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> FullStudent:
    """A student of the recipe's base with a random classifier."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = load_pretrained(
        AutoConfig, recipe.base, id2label=names, label2id={label: i for i, label in names.items()}
    )
    if hasattr(config, "attention_probs_dropout_prob"):
        # Dropout inside attention shuts off the fast kernels; the other dropouts stay. Worth 1.15x at
        # 64 tokens in a first look, nothing in benchmarks/training.py at 44.
        config.attention_probs_dropout_prob = 0.0
    model = load_pretrained(
        AutoModelForSequenceClassification,
        recipe.base,
        config=config,
        ignore_mismatched_sizes=True,  # a hub model may bring another classifier than the task's
    )
    tokenizer = load_pretrained(AutoTokenizer, recipe.base)
    tokens = longest(tokenizer, config, recipe.max_tokens)
    return FullStudent(model.to(device(recipe.device)), tokenizer, labels, tokens, recipe.fields)


def balance(targets: Sequence[int], size: int) -> Any:
    """Loss weight of each class, shape (size,): inverse to its frequency, 1 on average over the rows.

    How often a label occurs among ordered texts says what was ordered, not what is common.
    """
    import torch

    counts = torch.bincount(torch.tensor(targets), minlength=size)
    return len(targets) / ((counts > 0).sum() * counts.clamp(min=1)).float()


def warm_and_down(steps: int) -> Any:
    """Learning-rate factor: up over the first tenth, then down in a line."""
    warm = max(1, steps // 10)
    return lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def _solve_head(lessons: Lessons, labels: Sequence[str], recipe: Recipe, encoder: Encoder) -> HeadStudent:
    """Multinomial logistic regression by L-BFGS: convex, so the seed does not matter."""
    import torch

    vectors, goal = features(encoder, lessons.texts, recipe.fields), torch.tensor(lessons.numbers)
    inputs = torch.from_numpy(vectors)
    weight = torch.zeros(len(labels), inputs.shape[1], requires_grad=True)
    bias = torch.zeros(len(labels), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")
    balanced, decay = balance(lessons.numbers, len(labels)), _head_decay(recipe, lessons)

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, goal, balanced)
        loss = loss + decay * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return HeadStudent(encoder, weight.detach().numpy(), bias.detach().numpy(), labels, recipe.fields)


def _blank_head(labels: Sequence[str], recipe: Recipe, encoder: Encoder) -> HeadStudent:
    """A head that knows nothing: all weights 0."""
    width = encoder.dimensions * (1 if len(recipe.fields) == 1 else PAIR_PARTS)
    weight, bias = np.zeros((len(labels), width), np.float32), np.zeros(len(labels), np.float32)
    return HeadStudent(encoder, weight, bias, labels, recipe.fields)


def _head_decay(recipe: Recipe, lessons: Lessons) -> float:
    """Of the mean loss: the same for the sum whatever the number of rows, as of a Gaussian prior."""
    rows, labels = lessons.targets.shape
    return float(recipe.head_decay / (rows * labels**0.5))
