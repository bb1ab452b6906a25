"""What is asked after a reply was cut off: the rest, in smaller requests, each in a fresh context.

A reply that broke off because the model repeats itself is never shown to the model again: with it in the
prompt the model goes on repeating.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage.agents.request import Ask, Told
from tutelage.agents.schemas import Item
from tutelage.student.tasks.fields import ONE, Fields, split

_STRIDE = 1_000_003  # added to the seed of a request that is asked again unchanged
_GROWN = 4  # times the room, where all of it went into hidden reasoning

_Payload = dict[str, Any]


def is_thought(content: str) -> bool:
    """Return whether a reply that was cut off is reasoning alone, hidden or shown."""
    return not content.strip() or ("<think>" in content and "</think>" not in content)


def grown(ask: Ask[Item]) -> list[Ask[Item]]:
    """Return the same request with more room, for a model that spent all of it on reasoning."""
    return [replace(ask, room=_GROWN * ask.room)]


def remainder(ask: Ask[Item], told: Sequence[Told[Item]]) -> list[Ask[Item]]:
    """Return requests for what is missing: one, or two where more than half of the items are.

    A request that cannot be made smaller is asked once more with another seed and twice the room.

    Args:
        ask: the request whose reply was cut off.
        told: the items that came before the cut.
    """
    if isinstance(ask.wanted, int):
        return _for_count(ask, told)
    if ask.wanted is None:
        return _for_diagnosis(ask)
    have = {ask.key(one) for one in told}
    missing = [key for key in ask.wanted if key not in have]
    parts = _halves(missing) if len(missing) > ask.size // 2 else [missing]
    return [_again(ask)] if len(missing) == ask.size == 1 else [_about(ask, part) for part in parts]


def _again(ask: Ask[Item]) -> Ask[Item]:
    return replace(ask, seed=ask.seed + _STRIDE, room=max(2, ask.room))


def _about(ask: Ask[Item], keys: Sequence[str]) -> Ask[Item]:
    """The request about some of its texts alone: of a list whose entries are all wanted, only those."""
    payload: _Payload = dict(ask.payload)
    wanted, kept = set(ask.wanted or ()), set(keys)  # type: ignore[arg-type]
    for name, entries in payload.items():
        if isinstance(entries, list) and entries and all(_id(one) in wanted for one in entries):
            payload[name] = [one for one in entries if _id(one) in kept]
    return replace(ask, payload=payload, wanted=keys)


def _for_diagnosis(ask: Ask[Item]) -> list[Ask[Item]]:
    """The request with half of the answers it showed."""
    payload: _Payload = dict(ask.payload)
    if len(payload.get("wrong") or ()) < 2:
        return [_again(ask)]
    for name in ("right", "wrong"):
        if entries := payload.get(name):
            payload[name] = _halves(entries)[0]
    return [replace(ask, payload=payload)]


def _for_count(ask: Ask[Item], told: Sequence[Told[Item]]) -> list[Ask[Item]]:
    """Requests for the texts that are not written yet; those that are must not be written again."""
    distinct = {ask.key(one): one for one in told}
    missing = ask.size - len(distinct)
    orders = _open_orders(ask, [one.item for one in distinct.values()])
    if ask.size == 1 or sum(order["count"] for order in orders) != missing:
        return [replace(_again(ask), wanted=missing)]
    fields: Fields = tuple(ask.payload.get("fields", ONE))  # type: ignore[arg-type]
    written = [{**split(key, fields), "reason": "already written"} for key in distinct]
    parts = (missing - missing // 2, missing // 2) if missing > ask.size // 2 else (missing,)
    asks = []
    for number, count in enumerate(part for part in parts if part):
        payload: _Payload = {**ask.payload, "requests": _taken(orders, count)}
        payload["avoid"] = [*payload.get("avoid", ()), *written]
        asks.append(replace(ask, payload=payload, wanted=count, seed=ask.seed + number * _STRIDE))
    return asks


def _open_orders(ask: Ask[Item], items: Sequence[Item]) -> list[_Payload]:
    """The orders less one text for each item, taken from the order it was written for, or from another."""
    orders: list[_Payload] = [dict(order) for order in ask.payload.get("requests", ())]  # type: ignore[attr-defined]
    for item in items:
        left = [order for order in orders if order["count"] > 0]
        if left:
            names = ("label", "kind", "weakness")
            fit = [sum(order.get(name) == getattr(item, name, None) for name in names) for order in left]
            left[fit.index(max(fit))]["count"] -= 1
    return [order for order in orders if order["count"] > 0]


def _taken(orders: list[_Payload], count: int) -> list[_Payload]:
    """Take so many texts from the front of the orders; what is left stays in them."""
    taken = []
    while count and orders:
        share = min(count, orders[0]["count"])
        taken.append({**orders[0], "count": share})
        orders[0]["count"] -= share
        count -= share
        if not orders[0]["count"]:
            orders.pop(0)
    return taken


def _halves(entries: Sequence[Any]) -> list[list[Any]]:
    middle = -(-len(entries) // 2)
    return [part for part in (list(entries[:middle]), list(entries[middle:])) if part]


def _id(entry: object) -> object:
    return entry.get("id") if isinstance(entry, Mapping) else None
