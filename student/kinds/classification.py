"""One label a text, or a pair of texts."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal

from tutelage.student.scoring import Marks, Scores, item_marks, item_scores


def unknown(metric: str, metrics: Sequence[str]) -> str:
    """That a metric is none of these, in words; "" if it is one."""
    return "" if metric in metrics else f"expected one of {', '.join(metrics)}, got {metric!r}"


def known(value: object, labels: Sequence[str]) -> str:
    """A label of the task.

    Raises:
        ValueError: it is none, with the nearest one.
    """
    if not isinstance(value, str):
        raise ValueError(f"is {type(value).__name__}, expected the name of a label")
    if value in labels:
        return value
    near = get_close_matches(value, labels, 1)
    hint = f"did you mean {near[0]!r}?" if near else "add it to `labels` in task.yaml or mend the row"
    raise ValueError(f"{value!r} is not one of the task's {len(labels)} labels; {hint}")


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
        return Literal[tuple(labels)]

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
        """See student/scoring.py."""
        return item_scores(total, size, labels)


class Pairs(Classification):
    """The same of two texts together."""

    texts = 2


CLASSIFICATION, PAIRS = Classification(), Pairs()
