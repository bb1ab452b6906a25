"""Classification: one label per text, or per pair of texts."""

from collections.abc import Sequence
from typing import Any

from tutelage.student.tasks.names import known, one_of, unknown
from tutelage.student.tasks.scoring import ExampleStatistics, Scores, item_report, item_statistics


class Classification:
    """The label string is the name of the label."""

    texts_per_row: int = 1
    label_field: str = "label"
    metrics: tuple[str, ...] = ("macro_f1", "accuracy")
    min_labels: int = 2
    student_modes: tuple[str, ...] = ("full", "head")
    default_base: str = "minilm"
    generates: bool = False
    error_kinds: tuple[str, ...] = ()
    accepts_tokens: bool = False
    no_label: tuple[str, ...] = ()
    needs_examples: bool = False
    case_sensitive: bool = False
    min_steps: int = 200

    def check_metric(self, metric: str) -> str:
        """Return why this metric cannot be used, or "" if it is one of `metrics`."""
        return unknown(metric, self.metrics)

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Return the value if it is one of the labels."""
        return known(value, labels)

    def to_payload(self, label: str, text: str) -> Any:
        """Return the label unchanged."""
        return label

    def to_file(self, label: str, text: str) -> Any:
        """Return the label unchanged."""
        return self.to_payload(label, text)

    def to_text(self, label: str, text: str) -> str:
        """Return the label unchanged."""
        return label

    def reply_type(self, labels: Sequence[str]) -> Any:
        """Return the type of one label's name."""
        return one_of(labels)

    def parse_reply(self, value: Any, text: str) -> str:
        """Return the label unchanged."""
        return str(value)

    def labels_in(self, label: str) -> list[str]:
        """Return the label as the only one."""
        return [label]

    def error_pairs(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Return the pair of the two labels if they differ."""
        return [] if gold == answer else [(gold, answer)]

    def corrupted(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Return one of the other labels, with equal chances."""
        others = [other for other in labels if other != label]
        return others[int(chance * len(others))]

    def fit_to_text(self, label: str, text: str) -> str:
        """Return the label unchanged."""
        return label

    def choice_count(self, labels: Sequence[str]) -> int:
        """Return the number of labels."""
        return len(labels)

    def example_statistics(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> ExampleStatistics:
        """Return the statistics of one item per text."""
        return item_statistics([[(one, 0)] for one in gold], [[(one, 0)] for one in answers], labels)

    def aggregate(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """Return precision, recall, F1 and accuracy (see `item_report`)."""
        return item_report(total, size, labels)


class Pairs(Classification):
    """Classification of two texts together."""

    texts_per_row = 2


CLASSIFICATION, PAIRS = Classification(), Pairs()
