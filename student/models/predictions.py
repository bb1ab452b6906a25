"""Predictions of a student, with the same confidence and uncertainty measures for every task type."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks.multilabel import written

Floats = NDArray[np.float64]
Logits = NDArray[np.float32]
Probabilities = NDArray[np.floating[Any]]
UncertaintyMeasure = Literal["entropy", "least_confidence", "margin", "energy"]


@dataclass(frozen=True)
class Predictions:
    """A student's predictions for n texts, with its uncertainty. Arrays have shape (n,) unless stated.

    Attributes:
        answers: predicted labels, in the string form of student/tasks/.
        confidence: probability that the student assigns to its prediction, from 0 to 1.
        entropy: normalised, from 0 (certain) to 1 (all labels equally likely).
        margin: probability of the prediction less that of the second best one.
        energy: higher means further from the training distribution.
        nll: loss (negative log-likelihood) on the gold label of each text; None without gold labels.
        probabilities: shape (n, labels), in the order of the student's labels; None for students that tag or
            write.
        multilabel: whether each column of `probabilities` is an independent yes-or-no decision. Otherwise
            the rows sum to 1.
    """

    answers: list[str]
    confidence: Floats
    entropy: Floats
    margin: Floats
    energy: Floats
    nll: Floats | None = None
    probabilities: Probabilities | None = None
    multilabel: bool = False

    def uncertainty(self, by: UncertaintyMeasure) -> Floats:
        """Return an uncertainty score for each text; higher means that its label is more useful. Entropy,
        least confidence and margin follow Settles (2009), energy follows GOLD.
        """
        if by == "least_confidence":
            return 1 - self.confidence
        return -self.margin if by == "margin" else self.entropy if by == "entropy" else self.energy


def predictions_single(logits: Logits, labels: Sequence[str], gold: Sequence[str] | None) -> Predictions:
    """Return predictions from logits of shape (n, k), where each text has exactly one label.

    The energy is `-log Σ_v exp f_v` at temperature 1 (Liu et al., NeurIPS 2020, arXiv 2010.03759, eq. 4).
    GOLD (arXiv 2403.19754) computes it for each token; using it on the k logits of an encoder is ours.
    """
    probabilities = softmax(logits)
    p = np.sort(probabilities, axis=1).astype(float)
    index = {label: i for i, label in enumerate(labels)}
    return Predictions(
        answers=[labels[i] for i in logits.argmax(1)],
        confidence=p[:, -1],
        entropy=entropy(probabilities),
        margin=p[:, -1] - p[:, -2],
        energy=energy(logits),
        nll=negative_log_likelihood(logits, np.array([index[g] for g in gold])) if gold else None,
        probabilities=probabilities,
    )


def predictions_multilabel(
    logits: Logits, labels: Sequence[str], thresholds: Floats, gold: Sequence[str] | None
) -> Predictions:
    """Return multi-label predictions from logits of shape (n, k): all labels whose probability is at or above
    their threshold in `thresholds`, shape (k,).

    The confidence is the probability of the whole set under independent labels. The entropy is the mean over
    labels. The margin is the smallest distance of a probability to its threshold. The energy is
    `-Σ_v log(1 + exp f_v)` (JointEnergy: Wang et al., NeurIPS 2021, arXiv 2109.14162, eq. 5).
    """
    p = sigmoid(logits)
    chosen = p >= thresholds
    answers = [written(label for label, is_on in zip(labels, row, strict=True) if is_on) for row in chosen]
    exact = logits.astype(float)
    nll = None
    if gold is not None:
        true = np.array([[label in json.loads(one) for label in labels] for one in gold], float)
        nll = (np.logaddexp(0, exact) - true * exact).sum(1)
    return Predictions(
        answers=answers,
        confidence=np.where(chosen, p, 1 - p).prod(1),
        entropy=entropy(np.stack([p, 1 - p], -1)).mean(1),
        margin=abs(p - thresholds).min(1),
        energy=-np.logaddexp(0, exact).sum(1),
        nll=nll,
        probabilities=p,
        multilabel=True,
    )


def softmax(logits: Logits) -> NDArray[np.float32]:
    """Return the softmax over the last axis of logits of shape (…, k)."""
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return (exp / exp.sum(-1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def sigmoid(logits: Logits) -> Floats:
    """Return the independent probability of each label, of the shape of `logits`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(float), -60, 60))))


def entropy(probabilities: NDArray[Any]) -> Floats:
    """Return the entropy over the last axis, of size k, divided by log k: 0 is certain, 1 is uniform."""
    p = np.clip(probabilities.astype(float), 1e-12, 1)
    return -(p * np.log(p)).sum(-1) / np.log(max(p.shape[-1], 2))  # type: ignore[no-any-return]


def energy(logits: Logits) -> Floats:
    """Return the free energy over the last axis (see `predictions_single`); higher is further out."""
    return -logsumexp(logits)


def negative_log_likelihood(logits: Logits, targets: NDArray[np.int64]) -> Floats:
    """Return `-log p(target)` of each text, shape (n,). It replaces the energy in an ablation."""
    losses = logsumexp(logits) - logits[np.arange(len(targets)), targets]
    return np.asarray(losses, np.float64)


def logsumexp(logits: Logits) -> Floats:
    """Return log Σ exp over the last axis, in float64."""
    exact = logits.astype(np.float64)
    top = exact.max(-1, keepdims=True)
    return np.log(np.exp(exact - top).sum(-1)) + top.squeeze(-1)  # type: ignore[no-any-return]


def token_energy(logits: Logits, mask: NDArray[np.bool_], *, masked: bool = True) -> Floats:
    """Return the energy of each target, shape (n,): `-(1/L) Σ_t log Σ_v exp f_t[v]` (GOLD, arXiv 2403.19754).

    Args:
        logits: of the student under teacher forcing, shape (n, length, vocabulary).
        mask: true where a token is not padding, shape (n, length).
        masked: if False, padding counts too, as in the released code (paper); True is ours.
    """
    counted = mask if masked else np.ones_like(mask)
    return -(logsumexp(logits) * counted).sum(1) / np.maximum(counted.sum(1), 1)  # type: ignore[no-any-return]
