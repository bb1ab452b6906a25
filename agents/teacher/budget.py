"""The budget: what a run may spend, and what its calls in flight may still come to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutelage.agents.teacher.journal import Journal, Spent


class BudgetError(Exception):
    """The budget refuses a call; the message says which limit is reached."""


@dataclass(frozen=True)
class Budget:
    """Limits of a run; None is none. `money` is in the currency of the prices."""

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Cost:
    """What a call is expected to take, prompt and completion together; money is None without a price."""

    tokens: float = 0.0
    money: float | None = 0.0
    calls: int = 1

    def twice(self) -> "Cost":
        """Return the cost of the same call made two times."""
        return Cost(2 * self.tokens, None if self.money is None else 2 * self.money, 2 * self.calls)


class Till:
    """Lets a call begin only while the budget covers it beside all that are in flight.

    `calls` is exact. For `tokens` and `money` a prompt is estimated by its length, a reply by `max_tokens`
    or, without it, by the longest of its role so far: a limit can be passed by as much as the calls then in
    flight take more than that.
    """

    def __init__(self, budget: Budget, journal: Journal):
        self.budget, self._journal = budget, journal
        self._flying: list[Cost] = []
        self._refused: str | None = None
        self._held_for: str | None = None
        self._since: Spent | None = None

    def hold_back(self, role: str | None, since: Spent | None = None) -> None:
        """Hold back as much as a role has taken `since`, so that as many calls can be made at the end; with
        None everything may be spent.
        """
        self._held_for, self._since = role, since

    @contextmanager
    def reserve(self, role: str, cost: Cost, minutes: float) -> Iterator[None]:
        """Hold what a call may cost while it is in flight.

        Args:
            role: whose call it is.
            cost: the estimate.
            minutes: how long the run has taken.

        Raises:
            BudgetError: the budget does not cover it.
        """
        if role == self._held_for:
            cost = cost.twice()
        if refusal := self._refusal(cost, minutes):
            self._refused = refusal
            raise BudgetError(refusal)
        self._flying.append(cost)
        try:
            yield
        finally:
            self._flying.remove(cost)

    @property
    def limits_size(self) -> bool:
        """Whether it matters how long replies are."""
        return self.budget.tokens is not None or self.budget.money is not None

    def minutes_left(self, minutes: float) -> float | None:
        """Minutes until the limit, None without one."""
        return None if self.budget.minutes is None else max(0.0, self.budget.minutes - minutes)

    def refusal(self, minutes: float) -> str | None:
        """Why the next call would be refused, or the last one was; None while there is room."""
        return self._refused or self._refusal(Cost(), minutes)

    def _refusal(self, cost: Cost, minutes: float) -> str | None:
        spent = self._journal.spent()
        if self.budget.money is not None and spent["cost"] is None:
            return "budget of money cannot be kept: what was spent so far is unknown, a model had no price"
        used, kept = _used(spent, minutes), self._kept()
        flying = [*self._flying, cost]
        needed = {
            "calls": float(sum(one.calls for one in flying)),
            "tokens": sum(one.tokens for one in flying),
            "money": sum(one.money or 0.0 for one in flying),
            "minutes": 0.0,
        }
        for name, value in used.items():
            limit = getattr(self.budget, name)
            if limit is None:
                continue
            if value >= limit or (name == "calls" and not kept[name] and value + needed[name] > limit):
                return f"budget of {limit:g} {name} is spent"
            if value + kept[name] + needed[name] > limit:
                held = f", {kept[name]:,.6g} held back for texts drawn at random" if kept[name] else ""
                told = f"{value:,.6g} used{held}, about {needed[name]:,.3g} needed"
                return f"budget of {limit:g} {name} does not cover the next call ({told})"
        return None

    def _kept(self) -> dict[str, float]:
        """What is held back of each limit."""
        if self._held_for is None:
            return dict.fromkeys(("calls", "tokens", "money", "minutes"), 0.0)
        used = _used(self._journal.spent(self._held_for), 0.0)
        before = _used(self._since, 0.0) if self._since else dict.fromkeys(used, 0.0)
        return {name: max(0.0, value - before[name]) for name, value in used.items()}


def _used(spent: Spent, minutes: float) -> dict[str, float]:
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    return {"calls": spent["calls"], "tokens": tokens, "money": spent["cost"] or 0.0, "minutes": minutes}
