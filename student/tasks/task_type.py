"""The interface of a task type, in four parts, with the defaults of its fields and methods.

Outside of student/tasks a label is always one string. A label that is more than a name is stored as JSON.
Two labels are equal if their strings are.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.student.tasks.scoring import (
    ExampleStatistics,
    Item,
    Scores,
    item_figures,
    item_report,
    item_statistics,
)

MISSED, INVENTED, BOUNDARY = "missed", "invented", "boundary"  # errors of tasks with several labels per text


class LabelFormat(ABC):
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
    min_labels: int = 2
    texts_per_row: int = 1
    accepts_tokens: bool = False
    case_sensitive: bool = False
    needs_examples: bool = False

    @abstractmethod
    def parse_label(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Return the label string for a label read from a file.

        Raises:
            ValueError: the value is not a label of this text. The message says what is wrong and what to do;
                it continues a sentence that begins with the file, the line and the field.
        """

    def to_payload(self, label: str, text: str) -> Any:
        """Return the label as request payloads contain it; by default it is the label string."""
        return label

    def to_file(self, label: str, text: str) -> Any:
        """Return the label as data files and `predict --json` contain it; by default as in payloads."""
        return self.to_payload(label, text)

    def to_text(self, label: str, text: str) -> str:
        """Return the label as one readable line; by default it is the label string."""
        return label

    @abstractmethod
    def reply_type(self, labels: Sequence[str]) -> Any:
        """Return the pydantic type of a label in the schema of a teacher's reply."""

    @abstractmethod
    def parse_reply(self, value: Any, text: str) -> str:
        """Return the label string for a label in a teacher's reply.

        Raises:
            ValueError: the label does not fit the text.
        """


class RequestBalancing(ABC):
    """Balancing of requests: the labels over which generation requests and draws are spread evenly.

    Attributes:
        no_label: ("",) where a text may have none of the labels and can be requested as such; else ().
    """

    no_label: tuple[str, ...] = ("",)

    @abstractmethod
    def labels_in(self, label: str) -> list[str]:
        """Return the task's labels that a label contains, or `no_label` if it contains none."""


class Scoring(RequestBalancing):
    """Scoring: metrics of an evaluation, and the errors in a single answer.

    Attributes:
        metrics: names of the metrics that a task may use; the first is the default.
        error_kinds: what `error_pairs` may name as the second part of a pair besides labels.
    """

    metrics: tuple[str, ...]
    error_kinds: tuple[str, ...] = ()

    def check_metric(self, metric: str) -> str:
        """Return why this metric cannot be used and what to do, or "" if it can be used."""
        hint = "; user functions are supported for `kind: seq2seq` only" if ":" in metric else ""
        expected = f"expected one of {', '.join(self.metrics)}"
        return "" if metric in self.metrics else f"{expected}, got {metric!r}{hint}"

    def items(self, label: str) -> list[Item]:
        """Return the items of a label that are right or wrong on their own; by default its labels."""
        return [(one, 0) for one in self.labels_in(label) if one]

    def example_statistics(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> ExampleStatistics:
        """Return the per-example statistics, shape (n, m), whose sum determines all scores, `metric` too; by
        default those of the `items`.
        """
        return item_statistics(
            [self.items(one) for one in gold], [self.items(one) for one in answers], labels
        )

    def figures(self, totals: ExampleStatistics, size: int, metric: str) -> dict[str, NDArray[np.float64]]:
        """Return the figures, `metric` among them and each of shape (...), of sets of `size` examples whose
        statistics sum to `totals`, shape (..., m).
        """
        return item_figures(totals, size)

    def aggregate(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """Return the scores, `metric` among them, for `size` examples whose statistics sum to `total`, shape
        (m,); by default precision, recall, F1 and accuracy.
        """
        return item_report(total, size, labels)

    @abstractmethod
    def error_pairs(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Return the errors in an answer as pairs (label, what it is confused with), most telling first."""

    def choice_count(self, labels: Sequence[str]) -> int:
        """Return how many answers a teacher chooses from, which scales its confidence; by default 2, right or
        wrong, because the probabilities of all other answers are unknown.
        """
        return 2


class RehearsalErrors(ABC):
    """Errors of the rehearsal teacher: wrong labels that look like those of a careless annotator."""

    @abstractmethod
    def corrupted(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Return a wrong label for the same text; `chance`, a number in [0, 1), selects which one."""

    def fit_to_text(self, label: str, text: str) -> str:
        """Return the part of another text's label that this text can have too, by default the whole."""
        return label


class TaskType(LabelFormat, Scoring, RehearsalErrors):
    """The interface of a task type: its treatment of labels in four parts, and properties of its student.

    Attributes:
        student_modes: supported modes of the student (see `TrainingConfig`).
        default_base: base model of the student, unless a task names another.
        generates: whether the student generates its answers token by token.
        single_label: whether a text has exactly one label, so that its label probabilities sum to 1.
        decision_thresholds: whether the student predicts every label whose probability reaches a threshold
            of its own.
        min_steps: minimum number of training steps of a fresh student, however few the rows (see
            `TrainingConfig`).
    """

    student_modes: tuple[str, ...] = ("full",)
    default_base: str = "minilm"
    generates: bool = False
    single_label: bool = False
    decision_thresholds: bool = False
    min_steps: int = 200

    @property
    def label_probabilities(self) -> bool:
        """Whether the student predicts a probability of each label for the whole text."""
        return self.single_label or self.decision_thresholds
