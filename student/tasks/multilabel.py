"""Multi-label classification: any number of labels per text, including none."""

import json
import random
from collections.abc import Sequence
from typing import Any

from tutelage.student.tasks.names import one_of, validate_label
from tutelage.student.tasks.task_type import INVENTED, MISSED, TaskType


class Multilabel(TaskType):
    """The label string is the sorted JSON list of the text's labels."""

    label_field = "labels"
    metrics = ("macro_f1", "micro_f1", "accuracy")
    student_modes = ("full", "head")
    decision_thresholds = True
    error_kinds = (MISSED, INVENTED)

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Parse a list of labels, or a string that holds them as JSON or separated by |."""
        if isinstance(value, str):
            value = _list_of(value)
        if not isinstance(value, list):
            raise ValueError(
                f'is {type(value).__name__}, expected a list of labels, such as [] or ["a", "b"]'
            )
        return written(validate_label(one, labels) for one in value)

    def to_payload(self, label: str, text: str) -> Any:
        """Return the list of labels."""
        return json.loads(label)

    def to_text(self, label: str, text: str) -> str:
        """Return the labels separated by commas, or "none"."""
        return ", ".join(_names(label)) or "none"

    def reply_type(self, labels: Sequence[str]) -> Any:
        """Return the type of a list of labels."""
        return list[one_of(labels)]  # type: ignore[misc]

    def parse_reply(self, value: Any, text: str) -> str:
        """Return the label string of a list of labels."""
        return written(value)

    def labels_in(self, label: str) -> list[str]:
        """Return the labels of the text, or `no_label`."""
        return _names(label) or list(self.no_label)

    def error_pairs(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Pair each missed label with each invented one; if one side is empty, MISSED or INVENTED."""
        true, answered = set(_names(gold)), set(_names(answer))
        missed, invented = sorted(true - answered), sorted(answered - true)
        if missed and invented:
            return [(one, other) for one in missed for other in invented]
        return [(one, MISSED) for one in missed] + [(one, INVENTED) for one in invented]

    def corrupted(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Return the labels with one removed, added or replaced."""
        rng = random.Random(chance)
        present = _names(label)
        others = [one for one in labels if one not in present]
        removed = {rng.choice(present)} if present and (not others or rng.random() < 2 / 3) else set()
        added = [rng.choice(others)] if others and (not removed or rng.random() < 0.5) else []
        return written([*(one for one in present if one not in removed), *added])


MULTILABEL = Multilabel()


def _names(label: str) -> list[str]:
    return [str(one) for one in json.loads(label)]


def written(labels: Any) -> str:
    """Return the label string: the labels as a sorted JSON list, without repetitions."""
    return json.dumps(sorted(set(labels)), ensure_ascii=False)


def _list_of(value: str) -> object:
    if not value.lstrip().startswith("["):
        return [part.strip() for part in value.split("|") if part.strip()]
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{value[:60]!r} is not a JSON list ({error})") from error
