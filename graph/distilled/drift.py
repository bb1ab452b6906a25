"""Drift: whether the texts that a distilled model gets still look like those that it was compared on."""

import warnings
from collections import Counter, deque
from collections.abc import Iterable

import numpy as np
from tutelage.student.evaluation.agreement import Agreement

WINDOW = 500  # the last texts that are compared
_LEAST = 200  # texts before anything is said
_ERRORS = 4.0  # standard errors beyond which a difference is no chance (ours)
_PSI = 0.25  # the usual limit of the population stability index, for large samples


class DriftWarning(UserWarning):
    """The texts differ from those that the threshold was chosen on, so that the agreement may be lower."""


class Drift:
    """Compare the last 500 texts with those that the threshold was chosen on, and warn once of each change.

    Attributes:
        expected: the lowest and the highest share of texts that should go to the teacher; None without an
            agreement, and then nothing is compared.
    """

    def __init__(self, agreement: Agreement | None, threshold: float):
        self.expected = agreement.share_below(threshold) if agreement else None
        self._compared = len(agreement.confidence) if agreement else 0
        self._labels = agreement.labels if agreement else {}
        self._escalated = deque[bool](maxlen=WINDOW)
        self._answers = deque[tuple[str, ...]](maxlen=WINDOW)
        self._warned = set[str]()

    def add(self, escalated: bool, labels: Iterable[str]) -> None:
        """Add a text: whether it went to the teacher, and the labels that the student gave it."""
        self._escalated.append(escalated)
        self._answers.append(tuple(labels))

    def share(self) -> float:
        """Return the share of the last texts that went to the teacher."""
        return float(np.mean(self._escalated)) if self._escalated else 0.0

    def stability_index(self) -> float:
        """Return the population stability index of the labels: 0 for equal shares, above 0.25 for others."""
        return self._stability()[0]

    def check(self) -> None:
        """Warn if the share of escalated texts or the mix of labels has changed."""
        count = len(self._escalated)
        if not self.expected or count < _LEAST:
            return
        share = self.share()
        nearest = float(np.clip(share, *self.expected))
        pooled = (share * count + nearest * self._compared) / (count + self._compared)
        error = (pooled * (1 - pooled) * (1 / count + 1 / self._compared)) ** 0.5
        expected = " to ".join(dict.fromkeys(f"{one:.0%}" for one in self.expected))
        self._warn(
            "share",
            abs(share - nearest) / max(_ERRORS * error, 1e-12),
            f"{share:.0%} of the last {count} texts went to the teacher, {expected} were expected",
        )
        index, chance = self._stability()
        self._warn(
            "labels",
            index / (_PSI + chance),
            f"the labels of the last {count} texts have other shares than expected (index {index:.2f})",
        )

    def _stability(self) -> tuple[float, float]:
        """Return the stability index, and how large chance alone may make it: for k labels it is about
        (1/n + 1/m) times a chi-squared variable with k - 1 degrees of freedom.
        """
        recent = Counter(label for labels in self._answers for label in labels)
        names = sorted({*self._labels, *recent})
        if not recent or not self._labels:
            return 0.0, 0.0
        counts = np.array([[one.get(name, 0) for name in names] for one in (self._labels, recent)])
        p, q = (counts + 0.5) / (counts.sum(1, keepdims=True) + 0.5 * len(names))
        free = len(names) - 1
        chance = (free + _ERRORS * (2 * free) ** 0.5) * (1 / counts.sum(1)).sum()
        return float(((q - p) * np.log(q / p)).sum()), float(chance)

    def _warn(self, name: str, size: float, what: str) -> None:
        """Warn of a change of more than `size` 1, and again only after it has fallen to half of that."""
        if size <= 0.5:
            self._warned.discard(name)
        elif size > 1 and name not in self._warned:
            self._warned.add(name)
            advice = "label some of the logged texts yourself, and start the next run with them"
            warnings.warn(f"{what}: the texts have changed; {advice}", DriftWarning, stacklevel=4)
