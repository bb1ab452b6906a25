"""The teacher: the one door to a language model, with journal, budget, limits and repair behind it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.agents.endpoints.batch import DISCOUNT, Batches
from tutelage.agents.endpoints.endpoint import (
    Endpoint,
    FormRefusedError,
    RefusedError,
    TeacherDownError,
    UselessError,
)
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.event_loop import submit
from tutelage.agents.endpoints.exchange import Call, Messages
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Ask, Reply, Told, was_cut
from tutelage.agents.schemas import Item
from tutelage.agents.teacher.budget import Budget, BudgetError, Cost, Till
from tutelage.agents.teacher.journal import Journal, Spent
from tutelage.agents.teacher.remainder import grown, is_thought, remainder
from tutelage.agents.teacher.replies import joined, read_reply
from tutelage.agents.teacher.reply_cap import REASONING, reasons, reply_cap
from tutelage.agents.teacher.usefulness import Usefulness
from tutelage.prompts import render

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

REPAIRS = 2  # times a reply that lacks something is asked for again
_SHOWN = 8_000  # characters of a reply that are sent back with what was wrong with it
_ITEM_TOKENS = 60  # completion tokens of an item, before any reply of its role has been seen

Event = dict[str, object]


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
        batches: Submitted | None = None,
        minutes_before: float = 0.0,
        on_call: Callable[[Event], None] = lambda event: None,
    ):
        self.specs, self.journal, self.limits = specs, journal, limits or Limits()
        self._till = Till(budget or Budget(), journal)
        self._make, self._overlay, self._on_call = make, overlay, on_call
        self._batches = batches
        self._endpoints: dict[ModelSpec, Endpoint | Batches] = {}
        self._largest: dict[str, int] = {}  # completion tokens an item of a role's largest reply
        self._reasoning: set[ModelSpec] = set()  # models that were seen to write hidden tokens
        self._usefulness = Usefulness()
        self._first = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._began = time.monotonic() - 60 * minutes_before

    def ask(self, asks: Sequence[Ask[Item]]) -> list[Reply[Item]]:
        """Ask all, at most `limits.concurrency` at once; replies in the order asked.

        Raises:
            TeacherDownError: an endpoint refuses every call, or has not answered for too long.
        """
        if not asks:
            return []
        for endpoint in self._endpoints.values():
            endpoint.back()
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

    def hold_back(self, role: str | None, since: Spent | None = None) -> None:
        """Hold back as much of the budget as a role has taken `since`, for as many calls at the end; with
        None everything may be spent.
        """
        self._till.hold_back(role, since)

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
        gate = asyncio.Semaphore(len(asks) if self._batches else self.limits.concurrency)
        failures: list[BaseException] = []
        refused: dict[str, str] = {}  # role -> the last refusal of a call for its form

        async def one(ask: Ask[Item]) -> Reply[Item]:
            async with gate:
                if failures:
                    return Reply(problems=["not asked: the teacher is down"])
                try:
                    return await self._ask(ask)
                except FormRefusedError as refusal:
                    refused[ask.role] = str(refusal)
                    self._on_call({"role": ask.role, "refused": str(refusal), "over_budget": False})
                    return Reply(problems=[str(refusal)])
                except BaseException as failure:
                    failures.append(failure)
                    return Reply(problems=[str(failure)])

        # All are awaited even when one fails: what is in flight is paid for and must reach the journal.
        done = await asyncio.gather(*(one(ask) for ask in asks))
        # One call that is refused is set aside; where none was ever answered, none will be.
        failures += [self._down(role, why) for role, why in refused.items() if not self._was_answered(role)]
        if failures:
            for role in {failure.role for failure in failures if isinstance(failure, UselessError)}:
                self.journal.void(role)
            raise failures[0]
        return done

    def _was_answered(self, role: str) -> bool:
        """Whether the model of a role has ever answered, in this run or before it was resumed."""
        return any(
            self.journal.holds(other) for other, spec in self.specs.items() if spec == self.specs[role]
        )

    def _down(self, role: str, why: str) -> TeacherDownError:
        return self._endpoint(self.specs[role]).down(role, why)

    async def _ask(self, ask: Ask[Item], tries: int = REPAIRS) -> Reply[Item]:
        """Return the reply; ask at most `tries` times for what it lacks.

        A reply that was cut off is followed by smaller requests for the rest; any other is shown to the model
        with what was wrong with it.
        """
        system, user = render(ask.role, ask.payload, self._overlay)
        messages: Messages = [("system", system), ("human", user)]
        told: list[Told[Item]] = []
        problems: list[str] = []
        for left in range(tries, -1, -1):
            try:
                call, entry, event = await self._call(ask, messages)
            except (BudgetError, RefusedError) as refusal:
                if isinstance(refusal, FormRefusedError) and left == REPAIRS:
                    raise
                over = isinstance(refusal, BudgetError)
                self._on_call({"role": ask.role, "refused": str(refusal), "over_budget": over})
                return Reply(told, [*problems, str(refusal)])
            told, problems = read_reply(ask, call, entry, told)
            lacking = ask.lacks(told, entry.finish)
            self._on_call({**event, "problems": problems, "set_aside": bool(lacking) and not left})
            self._check_use(ask, entry, told, problems, replayed=bool(event["replayed"]))
            if not lacking or not left:
                break
            if was_cut(entry.finish):
                return await self._ask_rest(ask, told, entry, left - 1)
            messages = [*messages, ("ai", entry.content[:_SHOWN] or "(nothing)"), ("human", _again(problems))]
        return Reply(told, problems)

    def _check_use(
        self, ask: Ask[Item], entry: Entry, told: list[Told[Item]], problems: list[str], *, replayed: bool
    ) -> None:
        """Give the teacher up whose first replies to a role are of no use.

        Raises:
            TeacherDownError: with the last reply, what was wrong with it, and what to do.
        """
        # A diagnosis may be empty.
        usable = bool(told) or (ask.wanted is None and not ask.form.read(entry.content)[1])
        if why := self._usefulness.note(entry, problems, usable=usable, replayed=replayed):
            raise self._endpoint(self.specs[ask.role]).useless(ask.role, why)

    async def _ask_rest(
        self, ask: Ask[Item], told: list[Told[Item]], entry: Entry, tries: int
    ) -> Reply[Item]:
        """Return the items of a reply that was cut off, and those of the requests for the rest."""
        spec = self.specs[ask.role]
        if thought := is_thought(entry.content) and not spec.max_tokens:
            self._reasoning.add(spec)
        parts = grown(ask) if thought else remainder(ask, told)
        # Together, for a batch; all are awaited, as what is in flight is paid for.
        replies = await asyncio.gather(*(self._ask(part, tries) for part in parts), return_exceptions=True)
        problems: list[str] = []
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
            told = joined(ask, told, reply.told)
            problems += reply.problems
        return Reply(told, problems)

    async def _call(self, ask: Ask[Item], messages: Messages) -> tuple[str, Entry, Event]:
        """(id, reply, trace event) of one call, from the journal or from the model."""
        spec = self.specs[ask.role]
        logprobs = bool(ask.form.measured) and spec.logprobs
        request: dict[str, object] = {
            "model": spec.model,
            "temperature": spec.temperature,
            "max_tokens": spec.max_tokens,
            "logprobs": logprobs,
            "seed": ask.seed,
            "form": ask.form.schema,
            "messages": messages,
        }
        if ask.room > 1:  # the cap is in no key: it follows from the rest
            request["room"] = ask.room
        key = Journal.key(request)
        entry, tries = self.journal.get(key), 0
        if entry is None:
            call = Call(key, ask.role, messages, ask.form, ask.seed, logprobs, 0, self._cap(ask, spec))
            entry, tries = await self._sized(ask, spec, call, request)
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

    async def _sized(
        self, ask: Ask[Item], spec: ModelSpec, call: Call, request: dict[str, object]
    ) -> tuple[Entry, int]:
        """`_paid`; where size is limited a role's first call goes alone, and shows how long replies are."""
        if self._till.limits_size and ask.role not in self._largest:
            async with self._first[ask.role]:
                if ask.role not in self._largest:
                    entry, tries = await self._paid(ask, spec, call, request)
                    self._learn(ask, entry)
                    return entry, tries
        return await self._paid(ask, spec, call, request)

    async def _paid(
        self, ask: Ask[Item], spec: ModelSpec, call: Call, request: dict[str, object]
    ) -> tuple[Entry, int]:
        """(the reply, in the journal; the tries it took)."""
        endpoint = self._endpoint(spec)
        longest = self._largest.get(ask.role, _ITEM_TOKENS) * ask.size
        longest = spec.max_tokens or min(longest, call.cap or longest)
        call = replace(call, reply_tokens=longest)
        money = spec.cost(call.prompt_tokens, longest)
        if money and isinstance(endpoint, Batches):
            money *= DISCOUNT
        with self._till.reserve(ask.role, Cost(call.prompt_tokens + longest, money), self._minutes):
            # What is in flight may end; a batch may take a day.
            left = self._till.minutes_left(self._minutes) if isinstance(endpoint, Batches) else None
            try:
                async with asyncio.timeout(None if left is None else 60 * left):
                    entry, tries = await endpoint.complete(call)
            except TimeoutError:
                raise BudgetError("budget of minutes is spent; the batch is waited for on resume") from None
        await self.journal.put_soon(call.key, request, entry)
        return entry, tries

    def _learn(self, ask: Ask[Item], entry: Entry) -> None:
        an_item = -(-entry.completion_tokens // ask.size)
        self._largest[ask.role] = max(self._largest.get(ask.role, 0), an_item)
        if entry.reasoning_tokens:
            self._reasoning.add(self.specs[ask.role])

    def _cap(self, ask: Ask[Item], spec: ModelSpec) -> int | None:
        """The completion cap to send; None where the client has the user's own."""
        if spec.max_tokens:
            return None
        more = spec in self._reasoning and not reasons(spec)
        return reply_cap(ask, spec) + REASONING * more

    def _endpoint(self, spec: ModelSpec) -> Endpoint | Batches:
        if spec not in self._endpoints:
            endpoint = Endpoint(spec, self._make(spec), self.limits)
            self._endpoints[spec] = endpoint
            if self._batches and spec.speaks_openai:
                poll, tell = self.limits.poll, self._on_call
                self._endpoints[spec] = Batches(endpoint, self._batches, poll=poll, on_change=tell)
        return self._endpoints[spec]


def _again(problems: Sequence[str]) -> str:
    return f"That reply cannot be used as it is: {'; '.join(problems[-3:])}. Reply again, with JSON only."
