"""Fields: the parts of a text.

The two texts of a pair are joined into one string, so that code for texts works for pairs. They are split
only where they are read, shown or trained on.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

TaskTypeName = Literal["classification", "pairs", "multilabel", "ner", "seq2seq"]  # see student/tasks/
Fields = tuple[str, ...]
ONE: Fields = ("text",)
PAIR: Fields = ("text_a", "text_b")
# Names of the other fields in a payload or a file.
RESERVED = (
    *("id", "label", "labels", "entities", "target", "predicted"),
    *("kind", "weakness", "reason", "count", "of", "confidence"),
)
MARK = "␞"  # a symbol, which the normal form keeps: the pairs (a, b c) and (a b, c) differ
_BETWEEN = f" {MARK} "


def join(parts: Mapping[str, str], fields: Fields) -> str:
    """Join the fields of a text into one string; a single field stays unchanged."""
    return _BETWEEN.join(parts[field] if len(fields) == 1 else parts[field].strip() for field in fields)


def split(text: str, fields: Fields) -> dict[str, str]:
    """Return the fields of a text by name."""
    if len(fields) == 1:
        return {fields[0]: text}
    return dict(zip(fields, text.split(_BETWEEN), strict=True))


def columns(texts: Sequence[str], fields: Fields) -> list[list[str]]:
    """Return one list of texts per field, as tokenizers expect them."""
    parts = [list(split(text, fields).values()) for text in texts]
    return [[part[i] for part in parts] for i in range(len(fields))]
