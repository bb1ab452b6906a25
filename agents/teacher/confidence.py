"""The confidence of an item, computed from the token probabilities of one field of the reply."""

import json
import math
import re
from collections.abc import Callable

from pydantic import ValidationError
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.schemas import Item, LocatedItem, ReplySchema


def field_probability(schema: ReplySchema[Item], found: LocatedItem[Item], entry: Entry) -> float | None:
    """Return the product of the probabilities of all tokens that overlap the measured field's value (ours).

    Returns:
        A number from 0 to 1, or None if the schema measures no field or the reply has no log-probabilities.
    """
    if not schema.measured or not entry.tokens:
        return None
    item = found.item.model_dump()
    value = item[schema.measured]

    def same(raw: object) -> bool:  # as the schema parses it: spaces and extra fields do not count
        try:
            parsed = schema.item.model_validate({**item, schema.measured: raw})
        except ValidationError:
            return False
        return bool(parsed.model_dump()[schema.measured] == value)

    span = _value_span(entry.content, found.start, found.end, schema.measured, same)
    if span is None:
        return None
    # Token lengths are in bytes, because a character may be split over two tokens.
    start, end = (len(entry.content[:place].encode()) for place in span)
    total, place = 0.0, 0
    for length, logprob in entry.tokens:
        if place < end and place + length > start:
            total += logprob
        place += length
    return min(1.0, math.exp(total))


def _value_span(
    content: str, start: int, end: int, name: str, same: Callable[[object], bool]
) -> tuple[int, int] | None:
    """Return the span of a field's value between two positions: a string without its quotes, a list with its
    brackets, because the closing bracket states that no more entries follow.
    """
    for match in reversed(list(re.finditer(rf'"{re.escape(name)}"\s*:\s*(?=["\[])', content[start:end]))):
        place = start + match.end()
        try:
            value, after = json.JSONDecoder().raw_decode(content, place)
        except ValueError:  # the name occurs inside a text
            continue
        if after <= end and same(value):
            return (place, after) if isinstance(value, list) else (place + 1, after - 1)
    return None
