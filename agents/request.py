"""Requests to the teacher, and its parsed replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from tutelage.agents.schemas import Item, ReplySchema

_CUT_OFF = ("length", "max_tokens", "model_length")  # finish reasons of a reply that became too long


@dataclass(frozen=True)
class Request(Generic[Item]):
    """One request: the role that makes it, its payload, the reply schema, and a seed that distinguishes it.

    `wanted` states which items the reply must hold: their keys, the number of distinct items, or, if None, at
    least one. `room` multiplies the completion cap of a request that is repeated after a cut-off reply.
    `weaknesses` are the ids of those that the request targets, for the trace.
    """

    role: str
    payload: Mapping[str, object]
    schema: ReplySchema[Item]
    seed: int
    wanted: Sequence[str] | int | None = None
    room: int = 1
    weaknesses: Sequence[str] = ()

    @property
    def size(self) -> int:
        """Return how many items are wanted, at least one."""
        return max(1, self.wanted if isinstance(self.wanted, int) else len(self.wanted or ()))

    def lacks(self, received: "Sequence[ParsedItem[Item]]", finish: str) -> str:
        """Return what is missing, worded for the model; "" if the items are complete.

        Args:
            received: the items received so far.
            finish: the finish reason of the last reply, as its provider gives it.
        """
        keys = {self.key(parsed) for parsed in received}
        if self.wanted is None:
            return f"{self.schema.field} are missing" if finish == "content_filter" or not keys else ""
        if isinstance(self.wanted, int):
            short = self.wanted - len(keys)
            return (
                f"{short} of {self.wanted} {self.schema.field} are missing or repeated" if short > 0 else ""
            )
        missing = ", ".join(key for key in self.wanted if key not in keys)
        return f"{self.schema.field} are missing for the {self.schema.key}s {missing}" if missing else ""

    def key(self, parsed: "ParsedItem[Item]") -> str:
        """Return the key of an item; items with the same key count as one."""
        return str(getattr(parsed.item, self.schema.key))


@dataclass(frozen=True)
class ParsedItem(Generic[Item]):
    """An item, the id of the call that returned it, and the probability of the tokens of its measured field
    (None if the endpoint returns no log-probabilities).
    """

    item: Item
    call: str
    probability: float | None


@dataclass(frozen=True)
class Reply(Generic[Item]):
    """The valid items of all replies to a request, and the problems of the others.

    If the budget refuses a request, there are no items and the refusal is one of the problems.
    """

    parsed: list[ParsedItem[Item]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        """Return the items without their calls and probabilities."""
        return [parsed.item for parsed in self.parsed]


def was_cut(finish: str) -> bool:
    """Return whether a reply ended because it reached its cap or the end of the context."""
    return finish.lower() in _CUT_OFF
