"""Readings: what a student makes of texts, whatever it answers with."""

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
Doubt = Literal["entropy", "least_confidence", "margin", "energy"]


@dataclass(frozen=True)
class Reading:
    """A student's answers to n texts, and how sure it is; arrays of shape (n,) unless stated otherwise.

    Attributes:
        answers: labels as student/kinds/ writes them.
        confidence: what the student gives its answer, from 0 to 1.
        entropy: 0 sure, 1 clueless.
        margin: of the answer before the next best one.
        energy: higher is further from what it knows.
        nll: its loss on the label that was given with each text, if one was.
        probabilities: of shape (n, labels), in the order of the student's labels; None for students that
            tag or write.
        multilabel: whether each column of `probabilities` is a yes-or-no question by itself. Otherwise the
            rows of `probabilities` sum to 1.
    """

    answers: list[str]
    confidence: Floats
    entropy: Floats
    margin: Floats
    energy: Floats
    nll: Floats | None = None
    probabilities: Probabilities | None = None
    multilabel: bool = False

    def doubt(self, by: Doubt) -> Floats:
        """How much the label of each text is wanted: entropy, least confidence and margin as in Settles
        (2009), energy as in GOLD.
        """
        if by == "least_confidence":
            return 1 - self.confidence
        return -self.margin if by == "margin" else self.entropy if by == "entropy" else self.energy


def read_one(logits: Logits, labels: Sequence[str], gold: Sequence[str] | None) -> Reading:
    """A reading by logits of shape (n, k), of which one label is right.

    The energy is `-log Σ_v exp f_v` at temperature 1 (Liu et al., NeurIPS 2020, arXiv 2010.03759, eq. 4; in
    GOLD, arXiv 2403.19754, of each token; for an encoder with k logits: ours).
    """
    probabilities = softmax(logits)
    p = np.sort(probabilities, axis=1).astype(float)
    place = {label: i for i, label in enumerate(labels)}
    return Reading(
        answers=[labels[i] for i in logits.argmax(1)],
        confidence=p[:, -1],
        entropy=entropy(probabilities),
        margin=p[:, -1] - p[:, -2],
        energy=energy(logits),
        nll=negative_log_likelihood(logits, np.array([place[g] for g in gold])) if gold else None,
        probabilities=probabilities,
    )


def read_set(
    logits: Logits, labels: Sequence[str], thresholds: Floats, gold: Sequence[str] | None
) -> Reading:
    """A reading by logits of shape (n, k), each label right or wrong by itself: those at or above their
    thresholds, shape (k,), are answered.

    The confidence is the probability of the whole set, if labels are independent; the entropy is the mean
    over labels; the margin that of the label nearest to its border. The energy is `-Σ_v log(1 + exp f_v)`
    (JointEnergy: Wang et al., NeurIPS 2021, arXiv 2109.14162, eq. 5).
    """
    p = sigmoid(logits)
    chosen = p >= thresholds
    answers = [written(label for label, given in zip(labels, row, strict=True) if given) for row in chosen]
    exact = logits.astype(float)
    nll = None
    if gold is not None:
        true = np.array([[label in json.loads(one) for label in labels] for one in gold], float)
        nll = (np.logaddexp(0, exact) - true * exact).sum(1)
    return Reading(
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
    """Probabilities of logits of shape (…, k)."""
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return (exp / exp.sum(-1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def sigmoid(logits: Logits) -> Floats:
    """The probability of each label by itself."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(float), -60, 60))))


def entropy(probabilities: NDArray[Any]) -> Floats:
    """Entropy over the last axis, of size k, divided by log k: 0 sure, 1 clueless."""
    p = np.clip(probabilities.astype(float), 1e-12, 1)
    return -(p * np.log(p)).sum(-1) / np.log(max(p.shape[-1], 2))  # type: ignore[no-any-return]


def energy(logits: Logits) -> Floats:
    """Free energy over the last axis of logits: higher is further out (see `read_one`)."""
    return -logsumexp(logits)


def negative_log_likelihood(logits: Logits, targets: NDArray[np.int64]) -> Floats:
    """`-log p(target)` of each text, shape (n,): the ablation of the energy."""
    found = logsumexp(logits) - logits[np.arange(len(targets)), targets]
    return np.asarray(found, np.float64)


def logsumexp(logits: Logits) -> Floats:
    """Over the last axis."""
    exact = logits.astype(np.float64)
    top = exact.max(-1, keepdims=True)
    return np.log(np.exp(exact - top).sum(-1)) + top.squeeze(-1)  # type: ignore[no-any-return]


def token_energy(logits: Logits, mask: NDArray[np.bool_], *, masked: bool = True) -> Floats:
    """Energy of each target sequence, shape (n,): `-(1/L) Σ_t log Σ_v exp f_t[v]` (GOLD, arXiv 2403.19754).

    Args:
        logits: of the teacher-forced student, shape (n, length, vocabulary).
        mask: true where a token is no padding, shape (n, length).
        masked: False counts padding too, as the released code does (paper); True is ours.
    """
    counted = mask if masked else np.ones_like(mask)
    return -(logsumexp(logits) * counted).sum(1) / np.maximum(counted.sum(1), 1)  # type: ignore[no-any-return]
