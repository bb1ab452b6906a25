"""Multi-label classification: any number of labels per text, including none."""

import json
import random
from collections.abc import Sequence
from typing import Any

from tutelage.student.tasks.names import known, one_of, unknown
from tutelage.student.tasks.scoring import ExampleStatistics, Scores, item_report, item_statistics

MISSED, INVENTED = "missed", "invented"


class Multilabel:
    """The label string is the sorted JSON list of the text's labels."""

    texts_per_row: int = 1
    label_field: str = "labels"
    metrics: tuple[str, ...] = ("macro_f1", "micro_f1", "accuracy")
    min_labels: int = 2
    student_modes: tuple[str, ...] = ("full", "head")
    default_base: str = "minilm"
    generates: bool = False
    error_kinds: tuple[str, ...] = (MISSED, INVENTED)
    accepts_tokens: bool = False
    no_label: tuple[str, ...] = ("",)
    needs_examples: bool = False
    case_sensitive: bool = False
    min_steps: int = 200

    def check_metric(self, metric: str) -> str:
        """Return why this metric cannot be used, or "" if it is one of `metrics`."""
        return unknown(metric, self.metrics)

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Parse a list of labels, or a string that holds them as JSON or separated by |."""
        if isinstance(value, str):
            value = _list_of(value)
        if not isinstance(value, list):
            raise ValueError(
                f'is {type(value).__name__}, expected a list of labels, such as [] or ["a", "b"]'
            )
        return written(known(one, labels) for one in value)

    def to_payload(self, label: str, text: str) -> Any:
        """Return the list of labels."""
        return json.loads(label)

    def to_file(self, label: str, text: str) -> Any:
        """Return the list of labels."""
        return self.to_payload(label, text)

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

    def fit_to_text(self, label: str, text: str) -> str:
        """Return the label unchanged."""
        return label

    def choice_count(self, labels: Sequence[str]) -> int:
        """Return 2, right or wrong: the probabilities of all other label sets are unknown."""
        return 2

    def example_statistics(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> ExampleStatistics:
        """Return the statistics with one item per label of a text."""
        true, answered = ([[(one, 0) for one in _names(x)] for x in part] for part in (gold, answers))
        return item_statistics(true, answered, labels)

    def aggregate(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """Return precision, recall, F1 and accuracy (see `item_report`)."""
        return item_report(total, size, labels)


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
