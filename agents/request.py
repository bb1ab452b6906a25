"""What is asked of the teacher, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from tutelage.agents.schemas import Form, Item

_FULL = ("length", "max_tokens", "model_length")  # how providers say that a reply ended for its length


@dataclass(frozen=True)
class Ask(Generic[Item]):
    """One request: who asks, the data, the form of the reply, and a seed that makes it this one.

    `wanted` is what must come back: the keys of the items, how many distinct ones, or, with None, one or
    more. `room` multiplies the completion cap of a request that is asked again because its reply was cut off.
    """

    role: str
    payload: Mapping[str, object]
    form: Form[Item]
    seed: int
    wanted: Sequence[str] | int | None = None
    room: int = 1

    @property
    def size(self) -> int:
        """How many items are wanted, at least one."""
        return max(1, self.wanted if isinstance(self.wanted, int) else len(self.wanted or ()))

    def lacks(self, told: "Sequence[Told[Item]]", finish: str) -> str:
        """What is missing beside these items, in words for the model; "" if nothing is.

        Args:
            told: the items there are.
            finish: why the last reply ended, as its provider says.
        """
        keys = {self.key(one) for one in told}
        if self.wanted is None:
            return f"{self.form.field} are missing" if finish == "content_filter" or not keys else ""
        if isinstance(self.wanted, int):
            short = self.wanted - len(keys)
            return f"{short} of {self.wanted} {self.form.field} are missing or repeated" if short > 0 else ""
        missing = ", ".join(key for key in self.wanted if key not in keys)
        return f"{self.form.field} are missing for the {self.form.key}s {missing}" if missing else ""

    def key(self, told: "Told[Item]") -> str:
        """By what an item is the same as another."""
        return str(getattr(told.item, self.form.key))


@dataclass(frozen=True)
class Told(Generic[Item]):
    """An item, the id of the call that brought it, and the probability of the tokens of its measured
    field (None where the endpoint offers no log-probabilities).
    """

    item: Item
    call: str
    probability: float | None


@dataclass(frozen=True)
class Reply(Generic[Item]):
    """The right items of a request's replies, and what was wrong with the others.

    A request that the budget refused has no items, and the refusal among its problems.
    """

    told: list[Told[Item]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        """The items alone."""
        return [told.item for told in self.told]


def was_cut(finish: str) -> bool:
    """Return whether a reply ended because it reached a length: its cap, or the end of the context."""
    return finish.lower() in _FULL
