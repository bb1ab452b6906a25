"""Task types: the interface of a task type in four parts, and the list of all types.

Outside of student/tasks a label is always one string. A label that is more than a name is stored as JSON.
Two labels are equal if their strings are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tutelage.student.tasks.classification import CLASSIFICATION, PAIRS
from tutelage.student.tasks.multilabel import INVENTED, MISSED, MULTILABEL
from tutelage.student.tasks.ner import BOUNDARY, NER
from tutelage.student.tasks.scoring import ExampleStatistics, Scores
from tutelage.student.tasks.seq2seq import SEQ2SEQ

__all__ = ["BOUNDARY", "INVENTED", "MISSED", "TASK_TYPES", "TaskType"]


class LabelFormat(Protocol):
    """Parsing and printing: conversion between the label string and files, payloads, replies and text.

    Attributes:
        label_field: name of the label's field in files, payloads and replies.
        min_labels: number of labels that a task needs at least.
        texts_per_row: number of texts in a row.
        accepts_tokens: whether a file may give a text as a list of tokens.
        case_sensitive: whether texts that differ only in case or punctuation are different texts, because
            these can carry the answer.
        needs_examples: whether the labeler is shown labelled texts, to learn the format of a label.
    """

    label_field: str
    min_labels: int
    texts_per_row: int
    accepts_tokens: bool
    case_sensitive: bool
    needs_examples: bool

    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Return the label string for a label read from a file.

        Raises:
            ValueError: the value is not a label of this text. The message says what is wrong and what to do;
                it continues a sentence that begins with the file, the line and the field.
        """
        ...

    def to_payload(self, label: str, text: str) -> Any:
        """Return the label as request payloads contain it."""
        ...

    def to_file(self, label: str, text: str) -> Any:
        """Return the label as data files and `predict --json` contain it."""
        ...

    def to_text(self, label: str, text: str) -> str:
        """Return the label as one readable line."""
        ...

    def reply_type(self, labels: Sequence[str]) -> Any:
        """Return the pydantic type of a label in the schema of a teacher's reply."""
        ...

    def parse_reply(self, value: Any, text: str) -> str:
        """Return the label string for a label in a teacher's reply.

        Raises:
            ValueError: the label does not fit the text.
        """
        ...


class Scoring(Protocol):
    """Scoring: metrics of an evaluation, and the errors in a single answer.

    Attributes:
        metrics: names of the metrics that a task may use; the first is the default.
        error_kinds: what `error_pairs` may name as the second part of a pair besides labels.
    """

    metrics: tuple[str, ...]
    error_kinds: tuple[str, ...]

    def check_metric(self, metric: str) -> str:
        """Return why this metric cannot be used and what to do, or "" if it can be used."""
        ...

    def example_statistics(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> ExampleStatistics:
        """Return the per-example statistics, shape (n, m), whose sum determines all scores, `metric` too."""
        ...

    def aggregate(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """Return the scores, `metric` among them, for `size` examples whose statistics sum to `total`, shape
        (m,).
        """
        ...

    def error_pairs(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Return the errors in an answer as pairs (label, what it is confused with), most telling first."""
        ...

    def choice_count(self, labels: Sequence[str]) -> int:
        """Return how many answers a teacher chooses from (2: right or wrong); it scales its confidence."""
        ...


class RequestBalancing(Protocol):
    """Balancing of requests: the labels over which generation requests and draws are spread evenly.

    Attributes:
        no_label: ("",) where a text may have none of the labels and can be requested as such; else ().
    """

    no_label: tuple[str, ...]

    def labels_in(self, label: str) -> list[str]:
        """Return the task's labels that a label contains, or `no_label` if it contains none."""
        ...


class RehearsalErrors(Protocol):
    """Errors of the rehearsal teacher: wrong labels that look like those of a careless annotator."""

    def corrupted(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Return a wrong label for the same text; `chance`, a number in [0, 1), selects which one."""
        ...

    def fit_to_text(self, label: str, text: str) -> str:
        """Return the part of another text's label that this text can have too."""
        ...


class TaskType(LabelFormat, Scoring, RequestBalancing, RehearsalErrors, Protocol):
    """The interface of a task type: its treatment of labels in four parts, and defaults of its student.

    Attributes:
        student_modes: supported modes of the student (see `TrainingConfig`).
        default_base: base model of the student, unless a task names another.
        generates: whether the student generates its answers token by token.
        min_steps: minimum number of training steps of a fresh student, however few the rows (see
            `TrainingConfig`).
    """

    student_modes: tuple[str, ...]
    default_base: str
    generates: bool
    min_steps: int


TASK_TYPES: Mapping[str, TaskType] = {
    "classification": CLASSIFICATION,
    "pairs": PAIRS,
    "multilabel": MULTILABEL,
    "ner": NER,
    "seq2seq": SEQ2SEQ,
}
