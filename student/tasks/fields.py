"""Fields: what a text consists of.

The two texts of a pair travel as one string, so that whatever handles texts handles pairs; only what reads,
shows or trains on them takes them apart.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

KindName = Literal["classification", "pairs", "multilabel", "ner", "seq2seq"]  # see student/kinds/
Fields = tuple[str, ...]
ONE: Fields = ("text",)
PAIR: Fields = ("text_a", "text_b")
# What else stands beside a text in a payload or a file.
RESERVED = (
    *("id", "label", "labels", "entities", "target", "predicted"),
    *("kind", "weakness", "reason", "count", "of", "confidence"),
)
MARK = "␞"  # a symbol: it is part of a text's normal form, so that the pair (a, b c) is not (a b, c)
_BETWEEN = f" {MARK} "


def join(parts: Mapping[str, str], fields: Fields) -> str:
    """The one string of a text's fields; of a single field its text as it is."""
    return _BETWEEN.join(parts[field] if len(fields) == 1 else parts[field].strip() for field in fields)


def split(text: str, fields: Fields) -> dict[str, str]:
    """A text's fields by name."""
    if len(fields) == 1:
        return {fields[0]: text}
    return dict(zip(fields, text.split(_BETWEEN), strict=True))


def columns(texts: Sequence[str], fields: Fields) -> list[list[str]]:
    """One list for each field, as tokenizers take them."""
    parts = [list(split(text, fields).values()) for text in texts]
    return [[part[i] for part in parts] for i in range(len(fields))]
