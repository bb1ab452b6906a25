"""Drift: whether the texts that a distilled model gets still look like those that it was compared on."""

import warnings
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np

WINDOW = 500  # the last texts that are compared
_LEAST = 200  # texts before anything is said
_Z = 4.0  # standard errors by which the share may differ (ours)
_PSI = 0.25  # the usual limit of the population stability index


class DriftWarning(UserWarning):
    """The texts differ from those that the threshold was chosen on, so that the agreement may be lower."""


class Drift:
    """Compare the last 500 texts with those that the threshold was chosen on, and warn once of each change.

    Attributes:
        seen: the number of texts so far.
    """

    def __init__(self, expected: float, compared: int, labels: Mapping[str, int]):
        """Args: the share of texts below the threshold, the number of texts, the counts of their labels."""
        self.expected, self._compared, self._labels, self.seen = expected, compared, dict(labels), 0
        self._escalated = deque[bool](maxlen=WINDOW)
        self._answers = deque[tuple[str, ...]](maxlen=WINDOW)
        self._warned = set[str]()

    def add(self, escalated: bool, labels: Iterable[str]) -> None:
        """Add a text: whether it went to the teacher, and the labels that the student gave it."""
        self.seen += 1
        self._escalated.append(escalated)
        self._answers.append(tuple(labels))

    def share(self) -> float:
        """Return the share of the last texts that went to the teacher."""
        return float(np.mean(self._escalated)) if self._escalated else 0.0

    def stability_index(self) -> float:
        """Return the population stability index of the labels: 0 for equal shares, above 0.25 for others."""
        recent = [label for labels in self._answers for label in labels]
        names = sorted({*self._labels, *recent})
        if not recent or not self._labels:
            return 0.0
        before, now = ([self._labels.get(n, 0) for n in names], [recent.count(n) for n in names])
        p, q = ((np.array(counts) + 0.5) / (sum(counts) + 0.5 * len(names)) for counts in (before, now))
        return float(((q - p) * np.log(q / p)).sum())

    def check(self) -> None:
        """Warn if the share of escalated texts or the mix of labels has changed."""
        count = len(self._escalated)
        if count < _LEAST:
            return
        share = self.share()
        pooled = (share * count + self.expected * self._compared) / (count + self._compared)
        error = (pooled * (1 - pooled) * (1 / count + 1 / self._compared)) ** 0.5
        self._warn(
            "share",
            abs(share - self.expected) / max(_Z * error, 1e-12),
            f"{share:.0%} of the last {count} texts went to the teacher, {self.expected:.0%} were expected",
        )
        index = self.stability_index()
        self._warn(
            "labels",
            index / _PSI,
            f"the labels of the last {count} texts have other shares than expected (index {index:.2f})",
        )

    def _warn(self, name: str, size: float, what: str) -> None:
        """Warn of a change of more than `size` 1, and again only after it has fallen to half of that."""
        if size <= 0.5:
            self._warned.discard(name)
        elif size > 1 and name not in self._warned:
            self._warned.add(name)
            advice = "label some of the logged texts yourself, and start the next run with them"
            warnings.warn(f"{what}: the texts have changed; {advice}", DriftWarning, stacklevel=4)
