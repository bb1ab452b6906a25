"""Training: rows in, a student out; the same rows and seed give the same student."""

import random
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from tutelage.student.encoder import EMBEDDED, Encoder, device, load_pretrained, longest
from tutelage.student.model import FullStudent, HeadStudent, Student
from tutelage.student.rows import Row


@dataclass(frozen=True)
class Recipe:
    """How a student is trained. Defaults were chosen on the shop task's diagnose set (ours).

    `full` trains every weight; `head` a linear classifier on frozen, cached embeddings: seconds a
    round. `epochs` passes are made over the rows, but at least `min_steps` steps, so that a handful
    of seeds is not left untrained. `learning_rate` None is 3e-4 for MiniLM's width of 384, falling with
    the square of the width (7.5e-5 at 768).
    """

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    epochs: int = 4
    min_steps: int = 30
    batch: int = 16
    learning_rate: float | None = None
    head_decay: float = 1e-4
    max_tokens: int = 128
    device: str = "auto"


def train(
    rows: Sequence[Row], labels: Sequence[str], recipe: Recipe, *, seed: int, encoder: Encoder
) -> Student:
    """Train a fresh student on rows.

    Args:
        rows: at least one; labels from `labels`.
        labels: column order of the student's probabilities.
        recipe: see `Recipe`.
        seed: of initialisation, dropout and order.
        encoder: whose cached vectors the head mode trains on (its base must be the recipe's).
    """
    number = {label: i for i, label in enumerate(labels)}
    targets = [number[row["label"]] for row in rows]
    texts = [row["text"] for row in rows]
    if recipe.mode == "head":
        return _train_head(texts, targets, labels, recipe, encoder)
    return _train_full(texts, targets, labels, recipe, seed)


def untouched(labels: Sequence[str], recipe: Recipe, *, seed: int, encoder: Encoder) -> Student:
    """The student before any training: a random head. What every gain is measured from."""
    if recipe.mode == "full":
        return fresh(labels, recipe, seed)
    encoder.require_mean_pooling()
    weight = np.random.default_rng(seed).normal(0, 0.02, (len(labels), encoder.dimensions))
    return HeadStudent(encoder, weight.astype(np.float32), np.zeros(len(labels), np.float32), labels)


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


def _train_full(
    texts: list[str], targets: list[int], labels: Sequence[str], recipe: Recipe, seed: int
) -> FullStudent:
    import torch

    student = fresh(labels, recipe, seed)
    model = student.model.train()
    tokens = student.tokenizer(texts, truncation=True, max_length=student.max_tokens)["input_ids"]
    per_epoch = ceil(len(texts) / recipe.batch)
    epochs = max(recipe.epochs, ceil(recipe.min_steps / per_epoch))
    rate = recipe.learning_rate or 3e-4 * min(1.0, 384 / model.config.hidden_size) ** 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_and_down(per_epoch * epochs))
    order = random.Random(seed)
    balance = balance(targets, len(labels)).to(model.device)
    # bf16 pays on CUDA only: on a CPU without AMX it is slower than fp32.
    cuda = model.device.type == "cuda"
    for _ in range(epochs):
        for batch in bucketed([len(ids) for ids in tokens], recipe.batch, order):
            inputs = student.tokenizer.pad({"input_ids": [tokens[i] for i in batch]}, return_tensors="pt")
            goal = torch.tensor([targets[i] for i in batch], device=model.device)
            with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
                logits = model(**inputs.to(model.device)).logits
            torch.nn.functional.cross_entropy(logits.float(), goal, balance).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return student


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> FullStudent:
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
    return FullStudent(model.to(device(recipe.device)), tokenizer, labels, tokens)


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


def _train_head(
    texts: list[str], targets: list[int], labels: Sequence[str], recipe: Recipe, encoder: Encoder
) -> HeadStudent:
    """Multinomial logistic regression by L-BFGS: convex, so the seed does not matter."""
    import torch

    inputs, goal = torch.from_numpy(encoder.encode(texts)), torch.tensor(targets)
    weight = torch.zeros(len(labels), inputs.shape[1], requires_grad=True)
    bias = torch.zeros(len(labels), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            inputs @ weight.T + bias, goal, balance(targets, len(labels))
        )
        loss = loss + recipe.head_decay * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return HeadStudent(encoder, weight.detach().numpy(), bias.detach().numpy(), labels)
