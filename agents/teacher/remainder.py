"""After a reply was cut off: smaller requests for the missing items, each in a fresh context.

A reply that broke off because the model repeats itself is never shown to the model again: with such a reply
in the prompt, the model continues to repeat itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage.agents.brief import fields_of
from tutelage.agents.request import ParsedItem, Request
from tutelage.agents.schemas import Item
from tutelage.student.tasks.fields import split

_STRIDE = 1_000_003  # added to the seed of a request that is repeated unchanged
_GROWTH = 4  # factor for the room of a request whose reply was all hidden reasoning

_Payload = dict[str, Any]


def is_thought(content: str) -> bool:
    """Return whether a cut-off reply consists only of reasoning, hidden or shown."""
    return not content.strip() or ("<think>" in content and "</think>" not in content)


def grown(request: Request[Item]) -> list[Request[Item]]:
    """Return the same request with more room, for a model that used all of it for reasoning."""
    return [replace(request, room=_GROWTH * request.room)]


def remainder(request: Request[Item], parsed_items: Sequence[ParsedItem[Item]]) -> list[Request[Item]]:
    """Return requests for the missing items: one, or two if more than half of the items are missing.

    A request that cannot be made smaller is repeated with another seed and twice the room.

    Args:
        request: the request whose reply was cut off.
        parsed_items: the items before the cut.
    """
    if isinstance(request.wanted, int):
        return _for_count(request, parsed_items)
    if request.wanted is None:
        return _for_diagnosis(request)
    received = {request.key(parsed) for parsed in parsed_items}
    missing = [key for key in request.wanted if key not in received]
    if len(missing) == request.size == 1:
        return [_repeated(request)]
    parts = _halves(missing) if len(missing) > request.size // 2 else [missing]
    return [_narrowed(request, part) for part in parts]


def _repeated(request: Request[Item]) -> Request[Item]:
    return replace(request, seed=request.seed + _STRIDE, room=max(2, request.room))


def _narrowed(request: Request[Item], keys: Sequence[str]) -> Request[Item]:
    """Return the request for only these keys; payload lists of wanted entries are cut down to them."""
    payload: _Payload = dict(request.payload)
    wanted, kept = set(request.wanted or ()), set(keys)  # type: ignore[arg-type]
    for name, entries in payload.items():
        if isinstance(entries, list) and entries and all(_id(one) in wanted for one in entries):
            payload[name] = [one for one in entries if _id(one) in kept]
    return replace(request, payload=payload, wanted=keys)


def _for_diagnosis(request: Request[Item]) -> list[Request[Item]]:
    """Return the request with half of the answers that it showed."""
    payload: _Payload = dict(request.payload)
    if len(payload.get("wrong") or ()) < 2:
        return [_repeated(request)]
    for name in ("right", "wrong"):
        if entries := payload.get(name):
            payload[name] = _halves(entries)[0]
    return [replace(request, payload=payload)]


def _for_count(request: Request[Item], items: Sequence[ParsedItem[Item]]) -> list[Request[Item]]:
    """Return requests for the missing texts; the texts received so far must not be written again."""
    distinct = {request.key(parsed): parsed for parsed in items}
    missing = request.size - len(distinct)
    entries = _open_entries(request, [parsed.item for parsed in distinct.values()])
    if request.size == 1 or sum(entry["count"] for entry in entries) != missing:
        return [replace(_repeated(request), wanted=missing)]
    fields = fields_of(request.payload)
    written = [{**split(key, fields), "reason": "already written"} for key in distinct]
    parts = (missing - missing // 2, missing // 2) if missing > request.size // 2 else (missing,)
    requests = []
    for number, count in enumerate(part for part in parts if part):
        payload: _Payload = {**request.payload, "requests": _take(entries, count)}
        payload["avoid"] = [*payload.get("avoid", ()), *written]
        requests.append(replace(request, payload=payload, wanted=count, seed=request.seed + number * _STRIDE))
    return requests


def _open_entries(request: Request[Item], items: Sequence[Item]) -> list[_Payload]:
    """Return the open generation requests; each item lowers the count of the one that it fits best."""
    entries: list[_Payload] = [dict(entry) for entry in request.payload.get("requests", ())]  # type: ignore[attr-defined]
    for item in items:
        left = [entry for entry in entries if entry["count"] > 0]
        if left:
            names = ("label", "kind", "weakness")
            fit = [sum(entry.get(name) == getattr(item, name, None) for name in names) for entry in left]
            left[fit.index(max(fit))]["count"] -= 1
    return [entry for entry in entries if entry["count"] > 0]


def _take(entries: list[_Payload], count: int) -> list[_Payload]:
    """Remove generation requests for `count` texts from the front of the list, and return them."""
    taken = []
    while count and entries:
        share = min(count, entries[0]["count"])
        taken.append({**entries[0], "count": share})
        entries[0]["count"] -= share
        count -= share
        if not entries[0]["count"]:
            entries.pop(0)
    return taken


def _halves(entries: Sequence[Any]) -> list[list[Any]]:
    middle = -(-len(entries) // 2)
    return [part for part in (list(entries[:middle]), list(entries[middle:])) if part]


def _id(entry: object) -> object:
    return entry.get("id") if isinstance(entry, Mapping) else None
