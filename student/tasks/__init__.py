"""Kinds of task: what a label is, and how it is read, shown, ordered and graded; one file a kind.

Everywhere else a label is one string: JSON of what it holds where it holds more than a name. Two labels are
the same if their strings are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tutelage.student.tasks.classification import CLASSIFICATION, PAIRS
from tutelage.student.tasks.multilabel import INVENTED, MISSED, MULTILABEL
from tutelage.student.tasks.ner import BOUNDARY, NER
from tutelage.student.tasks.scoring import Marks, Scores
from tutelage.student.tasks.seq2seq import SEQ2SEQ

__all__ = ["BOUNDARY", "INVENTED", "KINDS", "MISSED", "Kind"]


class Kind(Protocol):
    """What one kind of task does with labels.

    Attributes:
        key: under which a label stands in files, payloads and replies.
        metrics: names of what an exam may be measured by; the first is the default.
        fewest: labels a task needs.
        texts: how many texts a row consists of.
        modes: of the student (see `Recipe`).
        base: of the student, unless a task names another.
        writes: whether the student writes its answers, token by token.
        outcomes: what a label may be confused with beside other labels.
        lists: whether a file may give a text as a list of tokens.
        bare: ("",) where texts may have none of the labels, and are ordered as such; else ().
        shots: whether a labeler is shown labelled texts, to learn the form of a label by.
        verbatim: whether case and signs can carry the answer: texts that differ in them alone are two.
        steps: that a fresh student is trained at least, however few the rows (see `Recipe`).
    """

    key: str
    metrics: tuple[str, ...]
    fewest: int
    texts: int
    modes: tuple[str, ...]
    base: str
    writes: bool
    outcomes: tuple[str, ...]
    lists: bool
    bare: tuple[str, ...]
    shots: bool
    verbatim: bool
    steps: int

    def unfit(self, metric: str) -> str:
        """Why an exam cannot be measured by this, and what to do; "" if it can."""
        ...

    def read(self, value: object, text: str, labels: Sequence[str]) -> str:
        """The label that a file gives a text.

        Raises:
            ValueError: it is none; what was wrong and what to do, as the end of a sentence that names the
            place.
        """
        ...

    def shown(self, label: str, text: str) -> Any:
        """A label as payloads hold it."""
        ...

    def filed(self, label: str, text: str) -> Any:
        """A label as files and `predict --json` hold it."""
        ...

    def words(self, label: str, text: str) -> str:
        """A label in a line for people."""
        ...

    def reply(self, labels: Sequence[str]) -> Any:
        """The type of a label in a teacher's reply, for pydantic."""
        ...

    def said(self, value: Any, text: str) -> str:
        """The label that a teacher's reply gives a text.

        Raises:
            ValueError: it does not fit the text, in words.
        """
        ...

    def groups(self, label: str) -> list[str]:
        """The task's labels that a label holds, or `bare`: what orders and draws are balanced by."""
        ...

    def slips(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """What is wrong with an answer: (label, what it is confused with), most telling first."""
        ...

    def garbled(self, label: str, labels: Sequence[str], chance: float) -> str:
        """Another label of the same text, wrong as a careless reader's would be; which one, a number in [0,
        1) decides.
        """
        ...

    def fitting(self, label: str, text: str) -> str:
        """What of another text's label this text can have too."""
        ...

    def choices(self, labels: Sequence[str]) -> int:
        """How many answers a teacher chooses from, which its confidence is scaled by; 2 is right or wrong."""
        ...

    def marks(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> Marks:
        """What each answer adds to the figures of an exam, the metric among them, shape (n, m)."""
        ...

    def scores(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """The figures of an exam, the metric among them, whose marks sum to `total`, shape (m,)."""
        ...


KINDS: Mapping[str, Kind] = {
    "classification": CLASSIFICATION,
    "pairs": PAIRS,
    "multilabel": MULTILABEL,
    "ner": NER,
    "seq2seq": SEQ2SEQ,
}
