"""Spans: where entities stand in a text, found from tags, places or words."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

from tutelage.student.tasks.names import known

# Thai and Lao, Burmese, Khmer, kana (half as wide too) and Chinese characters.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0002fa1f"
)
_ALONE = re.compile(f"[{UNSPACED}\uac00-\ud7a3]").match  # Korean names have particles right after them


class Span(NamedTuple):
    """An entity: characters from `start` to before `end`, and its type."""

    start: int
    end: int
    type: str


class Mention(TypedDict):
    """An entity as a teacher writes it: its text, verbatim, and its type."""

    text: str
    type: str


def units(text: str) -> list[tuple[int, int]]:
    """The places of words and signs, which entities begin and end with. Marks belong to what they stand on;
    in a script that parts no words with spaces, and in Korean, every letter is a unit.
    """
    found: list[tuple[int, int]] = []
    within = False  # a word that goes on
    for place, sign in enumerate(text):
        category = unicodedata.category(sign)
        if sign.isspace():
            within = False
        elif category[0] == "M" and found and found[-1][1] == place:
            found[-1] = found[-1][0], place + 1
        elif (category[0] in "LN" or sign == "_") and not _ALONE(sign):
            if within:
                found[-1] = found[-1][0], place + 1
            else:
                found.append((place, place + 1))
            within = True
        else:
            found.append((place, place + 1))
            within = False
    return found


def spans(label: str) -> list[Span]:
    """The entities of a label, in order."""
    return [Span(*one) for one in json.loads(label)]


def written(found: Iterable[Span]) -> str:
    """Entities as one string."""
    return json.dumps(sorted(found), ensure_ascii=False)


def aligned(text: str, mentions: Sequence[Mention]) -> list[Span]:
    """The places of mentions in a text, whole words each (ours).

    What is named once is meant wherever it stands; else it has to be named for each place, in order.
    Longer mentions are placed first; one that stands only inside of others is nested, and left out, as flat
    tags cannot hold it.

    Raises:
        ValueError: a mention does not stand in the text, cuts a word, overlaps another one in part, or is
            named several times, but not once for each time it stands there.
    """
    found: list[Span] = []
    named: dict[str, list[str]] = {}
    for one in mentions:
        named.setdefault(one["text"].strip(), []).append(one["type"])
    for words in sorted(named, key=lambda words: -len(words)):
        found += _placed(text, words, named[words], found)
    return sorted(found)


def _placed(text: str, words: str, types: Sequence[str], taken: Sequence[Span]) -> list[Span]:
    """The places of one surface form, named so many times."""
    places = _places(text, words)
    free = [place for place in places if not any(meet(place, other) for other in taken)]
    inside = [p for p in places if any(o.start <= p[0] and p[1] <= o.end for o in taken)]
    if len(free) + len(inside) < len(places):
        raise ValueError(f"the entity {words!r} overlaps another one in part; one of the two must go")
    apart: list[tuple[int, int]] = []
    for place in free:  # "a a" stands once in "a a a"
        if not apart or apart[-1][1] <= place[0]:
            apart.append(place)
    if len(types) == 1:
        return [Span(*place, types[0]) for place in apart]
    kinds = list(dict.fromkeys(types))
    if len(kinds) == 1 and len(types) == len(places):  # those inside of others were named too
        return [Span(*place, kinds[0]) for place in apart]
    if len(types) != len(apart):
        named = f"named {len(types)} times" if len(kinds) == 1 else f"named as {' and '.join(kinds)}"
        raise ValueError(
            f"the entity {words!r} is {named} and stands there {len(apart)} times; it is named once for each"
        )
    return [Span(*place, kind) for place, kind in zip(apart, types, strict=True)]


def _places(text: str, words: str) -> list[tuple[int, int]]:
    """Where a span stands as whole words, from left to right.

    Raises:
        ValueError: nowhere.
    """
    if not words:
        raise ValueError("an entity is empty")
    starts, ends = ({place[i] for place in units(text)} for i in (0, 1))
    # Also where one begins inside of another: "a a" stands twice in "aa a a".
    anywhere = [m.span(1) for m in re.finditer(f"(?=({re.escape(words)}))", text)]
    whole = [(start, end) for start, end in anywhere if start in starts and end in ends]
    if not whole:
        why = "stands there only as a part of a word" if anywhere else "is not in the text"
        raise ValueError(f"the entity {words[:60]!r} {why}; entities are copied from the text as they stand")
    return whole


def meet(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two places share a character."""
    return bool(one[0] < other[1] and other[0] < one[1])


def from_tags(text: str, tags: Sequence[str], labels: Sequence[str]) -> Iterator[Span]:
    """Spans of BIO tags, one for each token of a text.

    Raises:
        ValueError: tags and tokens do not match, a tag is none, or one begins with I-.
    """
    tokens = text.split(" ")
    if len(tokens) != len(tags):
        raise ValueError(f"has {len(tags)} tags for {len(tokens)} tokens; give each token one, O outside")
    start, begun, kind = 0, 0, ""
    place = 0
    for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1):
        prefix, _, name = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not name):
            raise ValueError(f"{tag!r} (token {number}) is no BIO tag; expected O, B-TYPE or I-TYPE")
        if tag != "O":
            known(name, labels)
        before = "O" if number > 1 else "nothing"
        if prefix == "I" and name != kind:
            raise ValueError(
                f"{tag!r} (token {number}) follows {f'an entity of {kind}' if kind else before}:"
                f" an entity begins with B-{name}"
            )
        if kind and prefix != "I":
            yield _checked(text, Span(begun, start - 1, kind), None)
        if prefix != "I":
            begun, kind = start, name
        start += len(token) + 1
        place = start - 1
    if kind:
        yield _checked(text, Span(begun, place, kind), None)


def from_entities(text: str, entities: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[Span]:
    """Spans of entities with `start`, `end` and `type`, or with `text` and `type`.

    Raises:
        ValueError: one is no entity of the text, or two overlap.
    """
    found, mentions = [], []
    for one in entities:
        if not {"type", "label"} & {*one}:
            raise ValueError(f"{one} has no `type`")
        kind = known(one.get("type", one.get("label")), labels)
        start, end, words = one.get("start"), one.get("end"), one.get("text")
        if isinstance(start, int) and isinstance(end, int):
            found.append(_checked(text, Span(start, end, kind), words))
        elif isinstance(words, str):
            mentions.append(Mention(text=words, type=kind))
        else:
            raise ValueError(f"{one} has neither `start` and `end` nor `text`")
    if found and mentions:
        raise ValueError("gives the places of some entities and not of others; give all or none")
    placed = sorted(found) or aligned(text, mentions)
    for span, following in pairwise(placed):
        if meet(span, following):
            both = [text[s.start : s.end] for s in (span, following)]
            raise ValueError(f"{both[0]!r} and {both[1]!r} overlap; keep one")
    return placed


def _checked(text: str, span: Span, words: object) -> Span:
    """A span that is in the text, whole words, and what it says it is."""
    there = text[span.start : span.end]
    if not 0 <= span.start < span.end <= len(text):
        raise ValueError(f"{span.start} to {span.end} is no place in a text of {len(text)} characters")
    if isinstance(words, str) and words != there:
        raise ValueError(f"{words!r} is not what stands from {span.start} to {span.end}: {there!r}")
    starts, ends = ({place[i] for place in units(text)} for i in (0, 1))
    if span.start not in starts or span.end not in ends:
        raise ValueError(
            f"{there!r} ({span.start} to {span.end}) cuts a word, or begins or ends with a space"
        )
    return span
