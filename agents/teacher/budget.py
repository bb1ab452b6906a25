"""The budget: the limits of a run, checked against what it has spent and what its open calls may cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutelage.agents.teacher.journal import Journal, Spent


class BudgetError(Exception):
    """Raised when the budget refuses a call; the message names the limit that is reached."""


@dataclass(frozen=True)
class Budget:
    """The limits of a run; None means no limit. `money` is in the currency of the prices."""

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Cost:
    """The expected cost of a call, prompt and completion together; `money` is None without a price."""

    tokens: float = 0.0
    money: float | None = 0.0
    calls: int = 1

    def twice(self) -> "Cost":
        """Return the cost of making the same call twice."""
        return Cost(2 * self.tokens, None if self.money is None else 2 * self.money, 2 * self.calls)


class Ledger:
    """Allow a call only if the budget covers it together with all calls in flight.

    The limit of `calls` is exact. For `tokens` and `money` a prompt is estimated from its length, and a reply
    from `max_tokens` or else from the longest reply of its role so far. These limits can be exceeded by as
    much as the calls in flight turn out larger than estimated.
    """

    def __init__(self, budget: Budget, journal: Journal):
        self.budget, self._journal = budget, journal
        self._in_flight: list[Cost] = []
        self._refused: str | None = None
        self._matched: tuple[str, str] | None = None

    def hold_back(self, matched: tuple[str, str] | None) -> None:
        """Hold back as much as the first of two nodes has spent for the calls that the second will make, less
        what the second has spent already. With None nothing is held back.
        """
        self._matched = matched

    @contextmanager
    def reserve(self, node: str, cost: Cost, minutes: float) -> Iterator[None]:
        """Reserve the expected cost of a call while it is in flight.

        Args:
            node: the node of the graph that makes the call.
            cost: the estimated cost of the call.
            minutes: the duration of the run so far.

        Raises:
            BudgetError: the budget does not cover the call.
        """
        if self._matched and node == self._matched[0]:
            cost = cost.twice()
        if refusal := self._refusal(cost, minutes):
            self._refused = refusal
            raise BudgetError(refusal)
        self._in_flight.append(cost)
        try:
            yield
        finally:
            self._in_flight.remove(cost)

    @property
    def limits_size(self) -> bool:
        """Return whether there is a limit that depends on the length of replies."""
        return self.budget.tokens is not None or self.budget.money is not None

    def minutes_left(self, minutes: float) -> float | None:
        """Return the minutes until the limit; None without a limit."""
        return None if self.budget.minutes is None else max(0.0, self.budget.minutes - minutes)

    def refusal(self, minutes: float) -> str | None:
        """Return why the last call was refused or the next one would be; None while the budget suffices."""
        return self._refused or self._refusal(Cost(), minutes)

    def _refusal(self, cost: Cost, minutes: float) -> str | None:
        spent = self._journal.spent()
        if self.budget.money is not None and spent["cost"] is None:
            return "the budget of money cannot be enforced: the cost is unknown, as a model has no price"
        used, held = usage(spent, minutes), self._held_back()
        in_flight = [*self._in_flight, cost]
        needed = {
            "calls": float(sum(one.calls for one in in_flight)),
            "tokens": sum(one.tokens for one in in_flight),
            "money": sum(one.money or 0.0 for one in in_flight),
            "minutes": 0.0,
        }
        for name, value in used.items():
            limit = getattr(self.budget, name)
            if limit is None:
                continue
            if value >= limit or (name == "calls" and not held[name] and value + needed[name] > limit):
                return f"budget of {limit:g} {name} is spent"
            if value + held[name] + needed[name] > limit:
                note = f", {held[name]:,.6g} held back for texts drawn at random" if held[name] else ""
                amounts = f"{value:,.6g} used{note}, about {needed[name]:,.3g} needed"
                return f"budget of {limit:g} {name} does not cover the next call ({amounts})"
        return None

    def _held_back(self) -> dict[str, float]:
        """Return the amount held back for each limit."""
        if self._matched is None:
            return dict.fromkeys(("calls", "tokens", "money", "minutes"), 0.0)
        first, second = (usage(self._journal.spent(node), 0.0) for node in self._matched)
        return {name: max(0.0, value - second[name]) for name, value in first.items()}


def usage(spent: Spent, minutes: float) -> dict[str, float]:
    """Return how much of each limit is used up."""
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    return {"calls": spent["calls"], "tokens": tokens, "money": spent["cost"] or 0.0, "minutes": minutes}
