"""Classification: one label per text, or per pair of texts."""

from collections.abc import Sequence
from typing import Any

from tutelage.student.tasks.names import one_of, validate_label
from tutelage.student.tasks.task_type import TaskType


class Classification(TaskType):
    """The label string is the name of the label."""

    label_field = "label"
    metrics = ("macro_f1", "accuracy")
    student_modes = ("full", "head")
    single_label = True
    no_label = ()

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Return the value if it is one of the labels."""
        return validate_label(value, labels)

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

    def choice_count(self, labels: Sequence[str]) -> int:
        """Return the number of labels."""
        return len(labels)


class Pairs(Classification):
    """Classification of two texts together."""

    texts_per_row = 2


CLASSIFICATION, PAIRS = Classification(), Pairs()
