"""The completion cap: how many tokens the reply to a request may have.

A model that repeats itself writes until its context ends. The cap stops it long before, and is generous
enough for any reply that answers the request. It depends on the request and on settings alone.
"""

import re
from collections.abc import Mapping, Sequence

from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Ask
from tutelage.agents.schemas import Item
from tutelage.student.tasks.fields import ONE

# Tokens, all of them ours.
_OPENING = 256  # a sentence before the JSON, its fence, its outer braces
_ITEM = 80  # braces, field names, id and numbers of one item, indented
_REASON = 160  # a reason or a hypothesis: about 120 English words
_SOLUTION = 640  # a reason that works out a target
_TEXT = 256  # a written text or target where the request shows only short ones, or none
_EVIDENCE = 16  # one cited id
_MOST_LABELS = 8  # of one text
_MOST_WEAKNESSES = 12  # in one diagnosis
# The hidden tokens of a model that reasons count as completion. OpenAI advises to leave 25,000 for them at
# first; labels and short texts need far less.
REASONING = 16_384
_REASONS = re.compile(
    r"\b(o[134]|gpt-5|gpt-oss|gemini-(2\.5|3)|grok-(3-mini|4)|qwq|qwen-?3|magistral|r1)\b|think|reason",
    re.IGNORECASE,
)


def reply_cap(ask: Ask[Item], spec: ModelSpec) -> int:
    """Return the most completion tokens that the reply to a request may have.

    Args:
        ask: the request; its size, its reply schema and the lengths of the texts in its payload count.
        spec: the model that is asked; a `max_tokens` of its own is returned as it is.
    """
    if spec.max_tokens:
        return spec.max_tokens
    room = _OPENING + _items(ask) * _an_item(ask) + _copied(ask)
    return ask.room * room + REASONING * reasons(spec)


def reasons(spec: ModelSpec) -> bool:
    """Return whether a model is known, by its name, to write hidden tokens before its reply."""
    return not spec.in_process and bool(_REASONS.search(spec.model))


def _items(ask: Ask[Item]) -> int:
    """How many items the reply may hold."""
    if ask.wanted is not None:
        return ask.size
    return min(_MOST_WEAKNESSES, max(1, len(_entries(ask, "wrong"))))


def _an_item(ask: Ask[Item]) -> int:
    """Tokens of one item, without what it copies from the texts it is about."""
    fields = set(ask.form.item.model_fields)
    labels = ask.payload.get("labels")
    label = max(map(room_of, labels), default=0) if isinstance(labels, Mapping) else 0
    parts = {*_own_fields(ask), "entities", "target"} & fields
    tokens = _ITEM + label * (len(fields & {"label", "confused_with"}) + _MOST_LABELS * ("labels" in fields))
    if fields & {"reason", "hypothesis"}:
        tokens += _SOLUTION if "target" in fields else _REASON
    return tokens + len(parts) * max(_TEXT, 2 * _longest_shown(ask))


def _own_fields(ask: Ask[Item]) -> Sequence[str]:
    """The fields of a text: one, or the two of a pair."""
    fields = ask.payload.get("fields", ONE)
    return [str(field) for field in fields] if isinstance(fields, list | tuple) else ONE


def _longest_shown(ask: Ask[Item]) -> int:
    """Room of the longest text that the request shows as an example."""
    shown: list[object] = [one for name in ("shots", "feedback", "avoid") for one in _entries(ask, name)]
    shown += [order["of"] for order in _entries(ask, "requests") if "of" in order]
    examples = [one.get("examples") for one in _entries(ask, "weaknesses")]
    shown += [text for texts in examples if isinstance(texts, Sequence) for text in texts]
    return max(map(room_of, shown), default=0)


def _copied(ask: Ask[Item]) -> int:
    """Tokens of what the items copy from the texts they are about: entities, parts of targets, ids."""
    fields, texts = set(ask.form.item.model_fields), room_of(ask.payload.get("texts"))
    tokens = 4 * texts * ("entities" in fields) + 2 * texts * ("target" in fields)
    if "evidence" in fields:
        tokens += 2 * _EVIDENCE * (len(_entries(ask, "right")) + len(_entries(ask, "wrong")))
    return tokens


def _entries(ask: Ask[Item], name: str) -> list[Mapping[str, object]]:
    entries = ask.payload.get(name)
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list | tuple) else []


def room_of(value: object) -> int:
    """Tokens that leave room for all strings in a JSON value: one for two bytes of UTF-8. English takes one
    for four; few scripts take more than one for two.
    """
    if isinstance(value, str):
        return -(-len(value.encode()) // 2)
    if isinstance(value, Mapping):
        return sum(map(room_of, value.values()))
    return sum(map(room_of, value)) if isinstance(value, list | tuple) else 0
