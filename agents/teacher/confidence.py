"""Confidence read from a reply: the probability of the tokens of one field."""

import json
import math
import re
from collections.abc import Callable

from pydantic import ValidationError
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.schemas import Form, Found, Item


def field_probability(form: Form[Item], found: Found[Item], entry: Entry) -> float | None:
    """The product of the probabilities of all tokens that reach into the measured field's value (ours).

    Returns:
        From 0 to 1, or None where the form measures no field or the reply has no log-probabilities.
    """
    if not form.measured or not entry.tokens:
        return None
    item = found.item.model_dump()
    value = item[form.measured]

    def same(raw: object) -> bool:  # as the form reads it: without spaces around, or fields too many
        try:
            read = form.item.model_validate({**item, form.measured: raw})
        except ValidationError:
            return False
        return bool(read.model_dump()[form.measured] == value)

    span = _value(entry.content, found.start, found.end, form.measured, same)
    if span is None:
        return None
    # Tokens are counted in bytes: a character may be split over two of them.
    start, end = (len(entry.content[:place].encode()) for place in span)
    total, place = 0.0, 0
    for length, logprob in entry.tokens:
        if place < end and place + length > start:
            total += logprob
        place += length
    return min(1.0, math.exp(total))


def _value(
    content: str, start: int, end: int, name: str, same: Callable[[object], bool]
) -> tuple[int, int] | None:
    """Where the value of a field stands between two places: a string without its quotes, a list with its
    brackets, of which the last says that no more follows.
    """
    for match in reversed(list(re.finditer(rf'"{re.escape(name)}"\s*:\s*(?=["\[])', content[start:end]))):
        place = start + match.end()
        try:
            found, after = json.JSONDecoder().raw_decode(content, place)
        except ValueError:  # a name inside of a text
            continue
        if after <= end and same(found):
            return (place, after) if isinstance(found, list) else (place + 1, after - 1)
    return None
