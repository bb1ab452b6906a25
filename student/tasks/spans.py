"""Spans: positions of entities in a text, from BIO tags, character positions or mentions."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

from tutelage.student.tasks.names import validate_label
from tutelage.student.tasks.words import units


class Span(NamedTuple):
    """An entity: its characters from `start` up to and excluding `end`, and its type."""

    start: int
    end: int
    type: str


class Mention(TypedDict):
    """An entity in a teacher's reply: its text, verbatim, and its type."""

    text: str
    type: str


def spans(label: str) -> list[Span]:
    """Return the entities of a label string, in order."""
    return [Span(*one) for one in json.loads(label)]


def written(found: Iterable[Span]) -> str:
    """Return the label string of entities."""
    return json.dumps(sorted(found), ensure_ascii=False)


def aligned(text: str, mentions: Sequence[Mention]) -> list[Span]:
    """Return the spans of mentions in a text; each span consists of whole words (ours).

    A text that is mentioned once stands for all its occurrences; otherwise each one needs a mention, in
    order. Longer mentions are located first. A mention that occurs only inside of others is nested, and left
    out, because flat tags cannot represent it.

    Raises:
        ValueError: a mention is not in the text, cuts a word, overlaps another one in part, or is repeated,
            but not once for each occurrence.
    """
    found: list[Span] = []
    types: dict[str, list[str]] = {}
    for one in mentions:
        types.setdefault(one["text"].strip(), []).append(one["type"])
    for words in sorted(types, key=lambda words: -len(words)):
        found += _locate(text, words, types[words], found)
    return sorted(found)


def _locate(text: str, words: str, types: Sequence[str], taken: Sequence[Span]) -> list[Span]:
    """Return the spans of one surface form that was mentioned once for each of `types`."""
    places = _occurrences(text, words)
    free = [place for place in places if not any(meet(place, other) for other in taken)]
    inside = [p for p in places if any(o.start <= p[0] and p[1] <= o.end for o in taken)]
    if len(free) + len(inside) < len(places):
        raise ValueError(f"the entity {words!r} overlaps another one in part; one of the two must go")
    apart: list[tuple[int, int]] = []
    for place in free:  # "a a" occurs once in "a a a" without overlap
        if not apart or apart[-1][1] <= place[0]:
            apart.append(place)
    if len(types) == 1:
        return [Span(*place, types[0]) for place in apart]
    kinds = list(dict.fromkeys(types))
    if len(kinds) == 1 and len(types) == len(places):  # nested occurrences were mentioned too
        return [Span(*place, kinds[0]) for place in apart]
    if len(types) != len(apart):
        named = f"named {len(types)} times" if len(kinds) == 1 else f"named as {' and '.join(kinds)}"
        raise ValueError(
            f"the entity {words!r} is {named} and stands there {len(apart)} times; it is named once for each"
        )
    return [Span(*place, kind) for place, kind in zip(apart, types, strict=True)]


def _occurrences(text: str, words: str) -> list[tuple[int, int]]:
    """Return where a surface form occurs as whole words, from left to right.

    Raises:
        ValueError: it occurs nowhere.
    """
    if not words:
        raise ValueError("an entity is empty")
    starts, ends = ({place[i] for place in units(text)} for i in (0, 1))
    # The lookahead also finds matches that overlap others: "a a" matches twice in "aa a a".
    anywhere = [m.span(1) for m in re.finditer(f"(?=({re.escape(words)}))", text)]
    whole = [(start, end) for start, end in anywhere if start in starts and end in ends]
    if not whole:
        why = "stands there only as a part of a word" if anywhere else "is not in the text"
        raise ValueError(f"the entity {words[:60]!r} {why}; entities are copied from the text as they stand")
    return whole


def meet(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two spans share a character."""
    return bool(one[0] < other[1] and other[0] < one[1])


def from_tags(text: str, tags: Sequence[str], labels: Sequence[str]) -> Iterator[Span]:
    """Yield the spans of BIO tags, one tag for each token of a text.

    Raises:
        ValueError: tags and tokens differ in number, a tag is malformed or unknown, or one begins with I-.
    """
    tokens = text.split(" ")
    if len(tokens) != len(tags):
        raise ValueError(f"has {len(tags)} tags for {len(tokens)} tokens; give each token one tag, O outside")
    start, first, kind = 0, 0, ""  # where the token starts; where the entity starts; its type
    end = 0
    for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1):
        prefix, _, name = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not name):
            raise ValueError(f"{tag!r} (token {number}) is not a BIO tag; expected O, B-TYPE or I-TYPE")
        if tag != "O":
            validate_label(name, labels)
        before = "O" if number > 1 else "nothing"
        if prefix == "I" and name != kind:
            raise ValueError(
                f"{tag!r} (token {number}) follows {f'an entity of {kind}' if kind else before}:"
                f" an entity begins with B-{name}"
            )
        if kind and prefix != "I":
            yield _check(text, Span(first, start - 1, kind), None)
        if prefix != "I":
            first, kind = start, name
        start += len(token) + 1
        end = start - 1
    if kind:
        yield _check(text, Span(first, end, kind), None)


def from_entities(text: str, entities: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[Span]:
    """Return the spans of entities with `start`, `end` and `type`, or with `text` and `type`.

    Raises:
        ValueError: one is not an entity of the text, or two overlap.
    """
    found, mentions = [], []
    for one in entities:
        if not {"type", "label"} & {*one}:
            raise ValueError(f"{one} has no `type`")
        kind = validate_label(one.get("type", one.get("label")), labels)
        start, end, words = one.get("start"), one.get("end"), one.get("text")
        if isinstance(start, int) and isinstance(end, int):
            found.append(_check(text, Span(start, end, kind), words))
        elif isinstance(words, str):
            mentions.append(Mention(text=words, type=kind))
        else:
            raise ValueError(f"{one} has neither `start` and `end` nor `text`")
    if found and mentions:
        raise ValueError(
            "gives positions for some entities and not for others; give them for all or for none"
        )
    placed = sorted(found) or aligned(text, mentions)
    for span, following in pairwise(placed):
        if meet(span, following):
            both = [text[s.start : s.end] for s in (span, following)]
            raise ValueError(f"{both[0]!r} and {both[1]!r} overlap; keep one")
    return placed


def _check(text: str, span: Span, words: object) -> Span:
    """Return a span after checking that it lies in the text, has the text `words` and cuts no word."""
    actual = text[span.start : span.end]
    if not 0 <= span.start < span.end <= len(text):
        raise ValueError(
            f"{span.start} to {span.end} is not a valid range in a text of {len(text)} characters"
        )
    if isinstance(words, str) and words != actual:
        raise ValueError(f"{words!r} is not the text from {span.start} to {span.end}, which is {actual!r}")
    starts, ends = ({place[i] for place in units(text)} for i in (0, 1))
    if span.start not in starts or span.end not in ends:
        raise ValueError(
            f"{actual!r} ({span.start} to {span.end}) cuts a word, or begins or ends with a space"
        )
    return span
