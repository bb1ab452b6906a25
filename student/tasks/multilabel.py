"""Any number of labels a text, also none."""

import json
import random
from collections.abc import Sequence
from typing import Any

from tutelage.student.tasks.names import known, one_of, unknown
from tutelage.student.tasks.scoring import Marks, Scores, item_marks, item_scores

MISSED, INVENTED = "missed", "invented"


class Multilabel:
    """A label is the JSON list of the text's labels, sorted."""

    texts: int = 1
    key: str = "labels"
    metrics: tuple[str, ...] = ("macro_f1", "micro_f1", "accuracy")
    fewest: int = 2
    modes: tuple[str, ...] = ("full", "head")
    base: str = "minilm"
    writes: bool = False
    outcomes: tuple[str, ...] = (MISSED, INVENTED)
    lists: bool = False
    bare: tuple[str, ...] = ("",)
    shots: bool = False
    verbatim: bool = False
    steps: int = 200

    def unfit(self, metric: str) -> str:
        """Only what scoring knows."""
        return unknown(metric, self.metrics)

    def read(self, value: object, text: str, labels: Sequence[str]) -> str:
        """A list of labels, or a string of them: as JSON, or with | between."""
        if isinstance(value, str):
            value = _list_of(value)
        if not isinstance(value, list):
            raise ValueError(
                f'is {type(value).__name__}, expected a list of labels, such as [] or ["a", "b"]'
            )
        return written(known(one, labels) for one in value)

    def shown(self, label: str, text: str) -> Any:
        """The list."""
        return json.loads(label)

    def filed(self, label: str, text: str) -> Any:
        """As it is shown."""
        return self.shown(label, text)

    def words(self, label: str, text: str) -> str:
        """The labels with commas between."""
        return ", ".join(_names(label)) or "none"

    def reply(self, labels: Sequence[str]) -> Any:
        """A list of labels."""
        return list[one_of(labels)]  # type: ignore[misc]

    def said(self, value: Any, text: str) -> str:
        """The list."""
        return written(value)

    def groups(self, label: str) -> list[str]:
        """The labels."""
        return _names(label) or list(self.bare)

    def slips(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Each missed label with each that was given in its place; alone it is missed, or invented."""
        true, given = set(_names(gold)), set(_names(answer))
        missed, invented = sorted(true - given), sorted(given - true)
        if missed and invented:
            return [(one, other) for one in missed for other in invented]
        return [(one, MISSED) for one in missed] + [(one, INVENTED) for one in invented]

    def garbled(self, label: str, labels: Sequence[str], chance: float) -> str:
        """One label less, one more, or another one in its place."""
        luck = random.Random(chance)
        own = _names(label)
        others = [one for one in labels if one not in own]
        gone = {luck.choice(own)} if own and (not others or luck.random() < 2 / 3) else set()
        more = [luck.choice(others)] if others and (not gone or luck.random() < 0.5) else []
        return written([*(one for one in own if one not in gone), *more])

    def fitting(self, label: str, text: str) -> str:
        """All of it."""
        return label

    def choices(self, labels: Sequence[str]) -> int:
        """Right or wrong: what the other sets share cannot be said."""
        return 2

    def marks(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> Marks:
        """An item a label."""
        true, given = ([[(one, 0) for one in _names(x)] for x in part] for part in (gold, answers))
        return item_marks(true, given, labels)

    def scores(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """See student/tasks/scoring.py."""
        return item_scores(total, size, labels)


MULTILABEL = Multilabel()


def _names(label: str) -> list[str]:
    return [str(one) for one in json.loads(label)]


def written(labels: Any) -> str:
    """Labels as one string, each once."""
    return json.dumps(sorted(set(labels)), ensure_ascii=False)


def _list_of(value: str) -> object:
    if not value.lstrip().startswith("["):
        return [part.strip() for part in value.split("|") if part.strip()]
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{value[:60]!r} is no JSON list ({error})") from error
