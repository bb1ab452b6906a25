"""One label a text, or a pair of texts."""

from collections.abc import Sequence
from typing import Any

from tutelage.student.tasks.names import known, one_of, unknown
from tutelage.student.tasks.scoring import Marks, Scores, item_marks, item_scores


class Classification:
    """A label is its own string."""

    texts: int = 1
    key: str = "label"
    metrics: tuple[str, ...] = ("macro_f1", "accuracy")
    fewest: int = 2
    modes: tuple[str, ...] = ("full", "head")
    base: str = "minilm"
    writes: bool = False
    outcomes: tuple[str, ...] = ()
    lists: bool = False
    bare: tuple[str, ...] = ()
    shots: bool = False
    verbatim: bool = False
    steps: int = 200

    def unfit(self, metric: str) -> str:
        """Only what scoring knows."""
        return unknown(metric, self.metrics)

    def read(self, value: object, text: str, labels: Sequence[str]) -> str:
        """One of the labels."""
        return known(value, labels)

    def shown(self, label: str, text: str) -> Any:
        """As it is."""
        return label

    def filed(self, label: str, text: str) -> Any:
        """As it is shown."""
        return self.shown(label, text)

    def words(self, label: str, text: str) -> str:
        """As it is."""
        return label

    def reply(self, labels: Sequence[str]) -> Any:
        """One of the labels."""
        return one_of(labels)

    def said(self, value: Any, text: str) -> str:
        """As it is."""
        return str(value)

    def groups(self, label: str) -> list[str]:
        """Itself."""
        return [label]

    def slips(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """The two labels."""
        return [] if gold == answer else [(gold, answer)]

    def garbled(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Any other label."""
        others = [other for other in labels if other != label]
        return others[int(chance * len(others))]

    def fitting(self, label: str, text: str) -> str:
        """All of it."""
        return label

    def choices(self, labels: Sequence[str]) -> int:
        """The labels."""
        return len(labels)

    def marks(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> Marks:
        """One item a text."""
        return item_marks([[(one, 0)] for one in gold], [[(one, 0)] for one in answers], labels)

    def scores(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """See student/tasks/scoring.py."""
        return item_scores(total, size, labels)


class Pairs(Classification):
    """The same of two texts together."""

    texts = 2


CLASSIFICATION, PAIRS = Classification(), Pairs()
