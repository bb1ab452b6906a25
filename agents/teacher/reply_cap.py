"""The completion cap: the most tokens that the reply to a request may have.

A model that repeats itself writes until its context ends. The cap stops it long before that, but leaves
enough room for any reply that answers the request. It depends only on the request and on settings.
"""

import re
from collections.abc import Mapping, Sequence

from tutelage.agents.brief import fields_of
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Request
from tutelage.agents.schemas import Item

# Numbers of tokens; all of these are ours.
_OPENING = 256  # a sentence before the JSON, the code fence, the outer braces
_ITEM = 80  # the braces, field names, id and numbers of one item, indented
_REASON = 160  # a reason or a hypothesis: about 120 English words
_SOLUTION = 640  # a reason that works out the solution of a target
_TEXT = 256  # a written text or target, if the request shows only short ones or none
_EVIDENCE = 16  # one cited id
_MOST_LABELS = 8  # labels of one text
_MOST_WEAKNESSES = 12  # weaknesses in one diagnosis
# The hidden tokens of a reasoning model count as completion tokens. OpenAI recommends to reserve 25,000 for
# them at first; labels and short texts need far less.
REASONING = 16_384
_REASONS = re.compile(
    r"\b(o[134]|gpt-5|gpt-oss|gemini-(2\.5|3)|grok-(3-mini|4)|qwq|qwen-?3|magistral|r1)\b|think|reason",
    re.IGNORECASE,
)


def reply_cap(request: Request[Item], spec: ModelSpec) -> int:
    """Return the most completion tokens that the reply to a request may have.

    Args:
        request: the request; the cap follows from its size, its reply schema and the texts in its payload.
        spec: the model; its own `max_tokens`, if set, is returned unchanged.
    """
    if spec.max_tokens:
        return spec.max_tokens
    room = _OPENING + _items(request) * _item_tokens(request) + _copied_tokens(request)
    return request.room * room + REASONING * reasons(spec)


def reasons(spec: ModelSpec) -> bool:
    """Return whether the model's name shows that it writes hidden tokens before its reply."""
    return not spec.in_process and bool(_REASONS.search(spec.model))


def _items(request: Request[Item]) -> int:
    """Return the number of items that the reply may hold."""
    if request.wanted is not None:
        return request.size
    return min(_MOST_WEAKNESSES, max(1, len(_entries(request, "wrong"))))


def _item_tokens(request: Request[Item]) -> int:
    """Return the tokens of one item, without what it copies from the texts in the payload."""
    fields = set(request.schema.item.model_fields)
    labels = request.payload.get("labels")
    label = max(map(room_of, labels), default=0) if isinstance(labels, Mapping) else 0
    parts = {*fields_of(request.payload), "entities", "target"} & fields
    tokens = _ITEM + label * (len(fields & {"label", "confused_with"}) + _MOST_LABELS * ("labels" in fields))
    if fields & {"reason", "hypothesis"}:
        tokens += _SOLUTION if "target" in fields else _REASON
    return tokens + len(parts) * max(_TEXT, 2 * _longest_shown(request))


def _longest_shown(request: Request[Item]) -> int:
    """Return the room of the longest text that the request shows as an example."""
    shown: list[object] = [one for key in ("shots", "feedback", "avoid") for one in _entries(request, key)]
    shown += [entry["of"] for entry in _entries(request, "requests") if "of" in entry]
    examples = [one.get("examples") for one in _entries(request, "weaknesses")]
    shown += [text for texts in examples if isinstance(texts, Sequence) for text in texts]
    return max(map(room_of, shown), default=0)


def _copied_tokens(request: Request[Item]) -> int:
    """Return the tokens that items copy from the texts in the payload: entities, parts of targets, ids."""
    fields, texts = set(request.schema.item.model_fields), room_of(request.payload.get("texts"))
    tokens = 4 * texts * ("entities" in fields) + 2 * texts * ("target" in fields)
    if "evidence" in fields:
        tokens += 2 * _EVIDENCE * (len(_entries(request, "right")) + len(_entries(request, "wrong")))
    return tokens


def _entries(request: Request[Item], name: str) -> list[Mapping[str, object]]:
    entries = request.payload.get(name)
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list | tuple) else []


def room_of(value: object) -> int:
    """Return enough tokens for all strings in a JSON value: one token for two bytes of UTF-8. English takes
    one for four bytes; few scripts take more than one for two.
    """
    if isinstance(value, str):
        return -(-len(value.encode()) // 2)
    if isinstance(value, Mapping):
        return sum(map(room_of, value.values()))
    return sum(map(room_of, value)) if isinstance(value, list | tuple) else 0
