"""The teacher: the one door to a language model, with journal, budget, limits and repair behind it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from tutelage.agents.budget import Budget, BudgetError, Cost, Till
from tutelage.agents.confidence import field_probability
from tutelage.agents.endpoint import Endpoint, RefusedError, TeacherDownError
from tutelage.agents.exchange import Call, Messages
from tutelage.agents.forms import Form, Found, Item
from tutelage.agents.journal import Entry, Journal
from tutelage.agents.limits import Limits
from tutelage.agents.loop import submit
from tutelage.agents.models import ModelSpec
from tutelage.prompts import render

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

REPAIRS = 2  # times a reply that lacks something is asked for again
_SHOWN = 8_000  # characters of a reply that are sent back with what was wrong with it
_ITEM_TOKENS = 60  # completion tokens of an item, before any reply of its role has been seen

Event = dict[str, object]


@dataclass(frozen=True)
class Ask(Generic[Item]):
    """One request: who asks, the data, the form of the reply, and a seed that makes it this one.

    `wanted` is what must come back: the keys of the items, or how many distinct ones.
    """

    role: str
    payload: Mapping[str, object]
    form: Form[Item]
    seed: int
    wanted: Sequence[str] | int = 1

    def lacks(self, keys: Sequence[str]) -> str:
        """What is missing among items of these keys, in words for the model; "" if nothing is."""
        if isinstance(self.wanted, int):
            short = self.wanted - len(set(keys))
            return f"{short} of {self.wanted} {self.form.field} are missing or repeated" if short > 0 else ""
        missing = ", ".join(key for key in self.wanted if key not in keys)
        return f"{self.form.field} are missing for the {self.form.key}s {missing}" if missing else ""


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


class Teacher:
    """Asks chat models, one per role if wished; every reply goes through the journal."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        make: Callable[[ModelSpec], "BaseChatModel"],
        journal: Journal,
        *,
        budget: Budget | None = None,
        limits: Limits | None = None,
        overlay: Path | None = None,
        minutes_before: float = 0.0,
        on_call: Callable[[Event], None] = lambda event: None,
    ):
        self.specs, self.journal, self.limits = specs, journal, limits or Limits()
        self._till = Till(budget or Budget(), journal)
        self._make, self._overlay, self._on_call = make, overlay, on_call
        self._endpoints: dict[ModelSpec, Endpoint] = {}
        self._largest: dict[str, int] = {}  # completion tokens of a role's largest reply an item
        self._began = time.monotonic() - 60 * minutes_before

    def ask(self, asks: Sequence[Ask[Item]]) -> list[Reply[Item]]:
        """Ask all, at most `limits.concurrency` at once; replies in the order asked.

        Raises:
            TeacherDownError: an endpoint refuses every call, or has not answered for too long.
        """
        if not asks:
            return []
        future = submit(self._ask_all(asks))
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def prepare(self) -> None:
        """Make the model of every role now, so that what is missing is told before work begins.

        Raises:
            InputError: no key, an unknown provider, or a package is missing.
        """
        for spec in self.specs.values():
            self._endpoint(spec)

    def refusal(self) -> str | None:
        """Why the budget would refuse the next call, or refused the last; None while there is room."""
        return self._till.refusal(self._minutes)

    def close(self) -> None:
        """Close connections and journal."""
        for endpoint in self._endpoints.values():
            submit(endpoint.close()).result()
        self._endpoints.clear()
        self.journal.close()

    @property
    def _minutes(self) -> float:
        return (time.monotonic() - self._began) / 60

    async def _ask_all(self, asks: Sequence[Ask[Item]]) -> list[Reply[Item]]:
        gate = asyncio.Semaphore(self.limits.concurrency)
        failures: list[BaseException] = []

        async def one(ask: Ask[Item]) -> Reply[Item]:
            async with gate:
                if failures:
                    return Reply(problems=["not asked: the teacher is down"])
                try:
                    return await self._ask(ask)
                except BaseException as failure:
                    failures.append(failure)
                    return Reply(problems=[str(failure)])

        # All are awaited even when one fails: what is in flight is paid for and must reach the journal.
        done = await asyncio.gather(*(one(ask) for ask in asks))
        if failures:
            raise failures[0]
        return done

    async def _ask(self, ask: Ask[Item]) -> Reply[Item]:
        """The reply; what it lacks is asked for again, with the reason, a bounded number of times."""
        messages: Messages = list(zip(("system", "human"), self._rendered(ask), strict=True))
        told: list[Told[Item]] = []
        problems: list[str] = []
        for attempt in range(REPAIRS + 1):
            try:
                call, entry, event = await self._call(ask, messages)
            except (BudgetError, RefusedError) as refusal:
                self._on_call({"role": ask.role, "refused": str(refusal)})
                return Reply(told, [*problems, str(refusal)])
            found, problems = ask.form.read(entry.content)
            told = _merged(ask, told, [_told(ask.form, one, call, entry) for one in found])
            lacking = ask.lacks(_keys(ask.form, told))
            if lacking:
                problems = [*problems, f"{lacking} (it ended with {entry.finish!r})"]
            last = attempt == REPAIRS
            self._on_call({**event, "problems": problems, "set_aside": bool(lacking) and last})
            if not lacking:
                return Reply(told, problems)
            messages = [*messages, ("ai", entry.content[:_SHOWN] or "(nothing)"), ("human", _again(problems))]
        return Reply(told, problems)

    def _rendered(self, ask: Ask[Item]) -> tuple[str, str]:
        return render(ask.role, ask.payload, self._overlay)

    async def _call(self, ask: Ask[Item], messages: Messages) -> tuple[str, Entry, Event]:
        """(id, reply, trace event) of one call, from the journal or from the model."""
        spec = self.specs[ask.role]
        logprobs = bool(ask.form.measured) and spec.logprobs
        request: dict[str, object] = {
            "model": spec.model,
            "base_url": spec.base_url,
            "temperature": spec.temperature,
            "max_tokens": spec.max_tokens,
            "logprobs": logprobs,
            "seed": ask.seed,
            "form": ask.form.schema,
            "messages": messages,
        }
        key = Journal.key(request)
        entry, tries = self.journal.get(key), 0
        if entry is None:
            call = Call(ask.role, messages, ask.form, ask.seed, logprobs, self._foreseen(ask))
            tokens = call.prompt_tokens + call.reply_tokens
            cost = Cost(tokens, spec.cost(call.prompt_tokens, call.reply_tokens))
            with self._till.reserve(cost, self._minutes):
                entry, tries = await self._endpoint(spec).complete(call)
                self.journal.put(key, request, entry)
        self._learn(ask, entry)
        event: Event = {
            "role": ask.role,
            "call": key[:12],
            "model": spec.model,
            "prompt_tokens": entry.prompt_tokens,
            "completion_tokens": entry.completion_tokens,
            "seconds": round(entry.seconds, 3),
            "finish": entry.finish,
            "tries": tries,
            "replayed": tries == 0,
        }
        return key[:12], entry, event

    def _foreseen(self, ask: Ask[Item]) -> float:
        """Completion tokens to be expected, by the role's largest reply so far."""
        return self._largest.get(ask.role, _ITEM_TOKENS) * _count(ask)

    def _learn(self, ask: Ask[Item], entry: Entry) -> None:
        an_item = -(-entry.completion_tokens // _count(ask))
        self._largest[ask.role] = max(self._largest.get(ask.role, 0), an_item)

    def _endpoint(self, spec: ModelSpec) -> Endpoint:
        if spec not in self._endpoints:
            self._endpoints[spec] = Endpoint(spec, self._make(spec), self.limits)
        return self._endpoints[spec]


def _count(ask: Ask[Item]) -> int:
    return max(1, ask.wanted if isinstance(ask.wanted, int) else len(ask.wanted))


def _told(form: Form[Item], found: Found[Item], call: str, entry: Entry) -> Told[Item]:
    return Told(found.item, call, field_probability(form, found, entry))


def _merged(ask: Ask[Item], before: list[Told[Item]], now: list[Told[Item]]) -> list[Told[Item]]:
    """What two replies to one request bring together. One that lacks nothing is taken as it is."""
    if not ask.lacks(_keys(ask.form, now)):
        return now
    known = set(_keys(ask.form, before))
    return before + [told for told in now if getattr(told.item, ask.form.key) not in known]


def _keys(form: Form[Item], told: Sequence[Told[Item]]) -> list[str]:
    return [getattr(one.item, form.key) for one in told]


def _again(problems: Sequence[str]) -> str:
    return f"That reply cannot be used as it is: {'; '.join(problems[-3:])}. Reply again, with JSON only."


__all__ = ["Ask", "Budget", "Reply", "Teacher", "TeacherDownError", "Told"]
