"""Rows: labelled texts, their ids and equality, and the checks that each has to pass."""

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from tutelage.student.errors import InputError
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import MARK, Fields, split
from tutelage.student.tasks.task_type import TaskType

LONGEST = 20_000  # characters; a longer text is usually a pasted file, and exceeds what students can read


class Row(TypedDict):
    """A text and its label; `id` is its `content_id`.

    `confidence` is the teacher's confidence in a label it assigned; the user's own labels have none.
    `rationale` is the reason for the label, if known. `weight` is the row's relative weight in the loss, 1 by
    default. `target` replaces the label in training: a distribution over the task's labels, in their order,
    or for multi-label tasks a probability for each label. Its most likely label is `label`.
    """

    id: str
    text: str
    label: str
    confidence: NotRequired[float]
    rationale: NotRequired[str]
    weight: NotRequired[float]
    target: NotRequired[list[float]]


def to_record(text: str, label: str, *, task_type: TaskType, fields: Fields) -> dict[str, Any]:
    """Return a labelled text as data files contain it: its fields, and the label under `label_field`."""
    return {**split(text, fields), task_type.label_field: task_type.to_file(label, text)}


def normal_form(text: str) -> str:
    """Return the normal form of a text, without case, punctuation and spacing; equal forms are the same text.

    Embeddings cannot replace it: a capital letter and a final dot alone can lower the cosine to 0.93.
    """
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(folded.translate(_SPACED).split()) or text.strip()


class _Spaced(dict[int, int | str]):
    """Map letters, marks (vowel signs), digits and symbols (emoji) to themselves, the rest to a space."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMNS" else " "
        return self[code]


_SPACED = _Spaced()


def content_id(text: str, task_type: TaskType = CLASSIFICATION) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the normal form, so that equal texts have equal ids. For
    case-sensitive task types only spacing is ignored (`12 / 3`, and `us` differs from `US`).
    """
    form = (
        " ".join(unicodedata.normalize("NFC", text).split())
        if task_type.case_sensitive
        else normal_form(text)
    )
    return hashlib.sha256(form.encode()).hexdigest()[:16]


def check_text(text: str, which: str, *, of_pair: bool = False) -> None:
    """Check that a text, or one text of a pair, is usable.

    Raises:
        InputError: it is blank, too long or damaged, or contains the separator of the texts of a pair.
    """
    if not text.strip():
        raise InputError(f"{which} is empty; there is nothing to label in it: remove it")
    if len(text) > LONGEST:
        raise InputError(f"{which} has {len(text):,} characters, at most {LONGEST:,}; shorten it")
    if "\0" in text:
        raise InputError(f"{which} contains a NUL byte; the file is damaged or not text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{which} contains half of a surrogate pair; save the file as UTF-8 again")
    if of_pair and MARK in text:
        raise InputError(f"{which} contains {MARK!r}, which separates the texts of a pair; remove it")


def without_repeats(rows: Sequence[Row], where: str) -> list[Row]:
    """Return the rows without those that repeat a text with the same label; the first one is kept.

    Raises:
        InputError: a text occurs with two labels. The message quotes it and them.
    """
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row["id"], row)
        if other["label"] != row["label"]:
            raise InputError(
                f"{where}: {row['text'][:60]!r} occurs as {other['label']!r} and as {row['label']!r};"
                " keep the right one"
            )
    return list(seen.values())
