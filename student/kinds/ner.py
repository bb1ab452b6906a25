"""Named entities: any number of spans a text, each of one type, none over another."""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypedDict

from tutelage.student.kinds.classification import known, unknown
from tutelage.student.kinds.multilabel import INVENTED, MISSED
from tutelage.student.scoring import Marks, Scores, item_marks, item_scores

BOUNDARY = "boundary"
# A script that writes no spaces has a unit a character.
_UNIT = re.compile(r"[぀-ヿ㐀-鿿豈-﫿฀-๿]|[^\W぀-ヿ㐀-鿿豈-﫿฀-๿]+|[^\w\s]")


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
    """The places of words and signs, which entities begin and end with."""
    return [match.span() for match in _UNIT.finditer(text)]


def spans(label: str) -> list[Span]:
    """The entities of a label, in order."""
    return [Span(*one) for one in json.loads(label)]


def written(found: Iterable[Span]) -> str:
    """Entities as one string."""
    return json.dumps(sorted(found), ensure_ascii=False)


class Ner:
    """A label is the JSON list of [start, end, type], sorted."""

    texts: int = 1
    key: str = "entities"
    metrics: tuple[str, ...] = ("micro_f1", "macro_f1", "accuracy")
    fewest: int = 1
    modes: tuple[str, ...] = ("full",)
    base: str = "minilm"
    writes: bool = False
    outcomes: tuple[str, ...] = (MISSED, INVENTED, BOUNDARY)
    lists: bool = True
    bare: tuple[str, ...] = ("",)
    shots: bool = True

    def unfit(self, metric: str) -> str:
        """Only what scoring knows."""
        return unknown(metric, self.metrics)

    def read(self, value: object, text: str, labels: Sequence[str]) -> str:
        """Entities with `start`, `end` and `type`, or with `text` and `type`; or a BIO tag for each token,
        where spaces part tokens; of either also the JSON.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{str(value)[:60]!r} is no JSON list ({error})") from error
        if not isinstance(value, list):
            raise ValueError(f"is {type(value).__name__}, expected a list of entities, or of BIO tags")
        if value and all(isinstance(one, str) for one in value):
            return written(_from_tags(text, value, labels))
        if not all(isinstance(one, dict) for one in value):
            raise ValueError("mixes tags and other things; give a BIO tag for each token, or entities")
        return _from_entities(text, value, labels)

    def shown(self, label: str, text: str) -> Any:
        """The entities with their texts: a teacher is asked for no places."""
        return [{"text": text[one.start : one.end], "type": one.type} for one in spans(label)]

    def filed(self, label: str, text: str) -> Any:
        """The same with their places."""
        found = spans(label)
        return [{**one._asdict(), **told} for one, told in zip(found, self.shown(label, text), strict=True)]

    def words(self, label: str, text: str) -> str:
        """The entities, each as `type: text`."""
        return "; ".join(f"{one.type}: {text[one.start : one.end]}" for one in spans(label)) or "none"

    def reply(self, labels: Sequence[str]) -> Any:
        """A list of mentions."""
        return list[_mention(Literal[tuple(labels)])]  # type: ignore[misc]

    def said(self, value: Any, text: str) -> str:
        """See `aligned`."""
        mentions = [one if isinstance(one, dict) else one.model_dump() for one in value]
        return written(aligned(text, [Mention(text=one["text"], type=one["type"]) for one in mentions]))

    def groups(self, label: str) -> list[str]:
        """The types that occur."""
        return list(dict.fromkeys(one.type for one in spans(label))) or list(self.bare)

    def slips(self, gold: str, answer: str) -> list[tuple[str, str]]:
        """Of each gold entity that was not found: as which type its very span was answered, whether its type
        was found with other borders, or that it was missed; then what was invented: answered where no gold
        entity is.
        """
        true, given = set(spans(gold)), set(spans(answer))
        result = []
        for one in sorted(true - given):
            same = [other.type for other in given if other[:2] == one[:2]]
            near = [other for other in given - true if _meet(one, other)]
            if same:
                result.append((one.type, same[0]))
            elif any(other.type == one.type for other in near):
                result.append((one.type, BOUNDARY))
            else:
                result.append((one.type, near[0].type if near else MISSED))
        lone = [other for other in sorted(given - true) if not any(_meet(one, other) for one in true)]
        # What is wrong in no other way: an answer inside of an entity that was found whole too.
        extra = [other for other in sorted(given - true) if other not in lone] if not result else []
        return [*result, *((other.type, INVENTED) for other in [*lone, *extra])]

    def garbled(self, label: str, labels: Sequence[str], chance: float) -> str:
        """One entity less, of another type, or shorter by a word."""
        luck, found = random.Random(chance), spans(label)
        if not found:
            return label
        one = luck.choice(found)
        rest = [other for other in found if other != one]
        types = [other for other in labels if other != one.type]
        way = luck.random()
        if way < 0.5 or not types:
            return written(rest)
        return written([*rest, one._replace(type=luck.choice(types))])

    def fitting(self, label: str, text: str) -> str:
        """None: the places are another text's."""
        return "[]"

    def choices(self, labels: Sequence[str]) -> int:
        """Right or wrong: how the rest is shared cannot be said."""
        return 2

    def marks(
        self,
        texts: Sequence[str],
        gold: Sequence[str],
        answers: Sequence[str],
        labels: Sequence[str],
        metric: str,
    ) -> Marks:
        """An item an entity, right only whole and of the right type (CoNLL-2003; seqeval)."""
        true, given = ([[(s.type, s[:2]) for s in spans(one)] for one in part] for part in (gold, answers))
        return item_marks(true, given, labels)

    def scores(self, total: Any, size: int, labels: Sequence[str], metric: str) -> Scores:
        """See student/scoring.py."""
        return item_scores(total, size, labels)


NER = Ner()


def aligned(text: str, mentions: Sequence[Mention]) -> list[Span]:
    """The places of mentions in a text, whole words each (ours).

    Of a span that stands there more often than it was named, all are meant if it was named with one type.
    Longer mentions are placed first; one that stands only inside of others is nested, and left out, as flat
    tags cannot hold it.

    Raises:
        ValueError: a mention does not stand in the text, cuts a word, overlaps another one in part, is named
        more
            often than it stands there, or with two types fewer times.
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
    free = [place for place in places if not any(_meet(place, other) for other in taken)]
    inside = [p for p in places if any(o.start <= p[0] and p[1] <= o.end for o in taken)]
    if len(free) + len(inside) < len(places):
        raise ValueError(f"the entity {words!r} overlaps another one in part; one of the two must go")
    kinds = list(dict.fromkeys(types))
    if len(kinds) == 1:
        if len(types) > len(places):
            raise ValueError(
                f"the entity {words!r} is named {len(types)} times and stands there {len(places)} times"
            )
        return [Span(*place, kinds[0]) for place in free]
    if len(types) != len(free):
        raise ValueError(f"the entity {words!r} is {' and '.join(kinds)}, but stands there {len(free)} times")
    return [Span(*place, kind) for place, kind in zip(free, types, strict=True)]


def _places(text: str, words: str) -> list[tuple[int, int]]:
    """Where a span stands as whole words, from left to right.

    Raises:
        ValueError: nowhere.
    """
    if not words:
        raise ValueError("an entity is empty")
    starts, ends = ({place[i] for place in units(text)} for i in (0, 1))
    anywhere = [m.span() for m in re.finditer(re.escape(words), text)]
    whole = [(start, end) for start, end in anywhere if start in starts and end in ends]
    if not whole:
        why = "stands there only as a part of a word" if anywhere else "is not in the text"
        raise ValueError(f"the entity {words[:60]!r} {why}; entities are copied from the text as they stand")
    return whole


def _meet(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return bool(one[0] < other[1] and other[0] < one[1])


def _from_tags(text: str, tags: Sequence[str], labels: Sequence[str]) -> Iterator[Span]:
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
        if prefix == "I" and name != kind:
            raise ValueError(
                f"{tag!r} (token {number}) follows {'O' if not kind else 'an entity of ' + kind}:"
                f" an entity begins with B-{name}"
            )
        if kind and prefix != "I":
            yield Span(begun, start - 1, kind)
        if prefix != "I":
            begun, kind = start, name
        start += len(token) + 1
        place = start - 1
    if kind:
        yield Span(begun, place, kind)


def _from_entities(text: str, entities: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    found, mentions = [], []
    for one in entities:
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
        if _meet(span, following):
            both = [text[s.start : s.end] for s in (span, following)]
            raise ValueError(f"{both[0]!r} and {both[1]!r} overlap; keep one")
    return written(placed)


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


def _mention(types: Any) -> Any:
    from pydantic import ConfigDict, create_model

    config = ConfigDict(json_schema_extra={"additionalProperties": False})
    return create_model("Mention", __config__=config, text=(str, ...), type=(types, ...))
