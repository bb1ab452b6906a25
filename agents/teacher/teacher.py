"""The teacher: the only access to language models, with journal, budget, limits and reply repair."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tutelage.agents.endpoints.batch import DISCOUNT, Batches
from tutelage.agents.endpoints.endpoint import (
    Endpoint,
    RefusedError,
    SchemaRefusedError,
    TeacherDownError,
    UselessError,
)
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.event_loop import submit
from tutelage.agents.endpoints.exchange import Call, Messages
from tutelage.agents.endpoints.stop import Stop
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import ParsedItem, Reply, Request, was_cut
from tutelage.agents.schemas import Item
from tutelage.agents.teacher.budget import BudgetError, Cost, Ledger
from tutelage.agents.teacher.journal import Journal, canonical_call
from tutelage.agents.teacher.remainder import grown, is_thought, remainder
from tutelage.agents.teacher.replies import joined, read_reply
from tutelage.agents.teacher.reply_sizes import ReplySizes
from tutelage.agents.teacher.settings import Event, TeacherSettings
from tutelage.agents.teacher.usefulness import Usefulness
from tutelage.prompts import render
from tutelage.student.errors import Interrupted

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

REPAIRS = 2  # times an incomplete reply is requested again
_SHOWN = 8_000  # characters of a bad reply that are sent back with its problems


class Teacher:
    """Call chat models, one for all roles or one per role; every reply goes through the journal."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        make: Callable[[ModelSpec], "BaseChatModel"],
        journal: Journal,
        settings: TeacherSettings | None = None,
    ):
        self.specs, self.journal = specs, journal
        self.settings = settings = settings or TeacherSettings()
        self._ledger, self._make = Ledger(settings.budget, journal), make
        self._node, self._round = "", 0
        self._endpoints: dict[ModelSpec, Endpoint | Batches] = {}
        self._sizes, self._usefulness = ReplySizes(), Usefulness()
        self._first = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._began = time.monotonic() - 60 * settings.minutes_before
        self._stop = Stop()

    def ask(self, requests: Sequence[Request[Item]]) -> list[Reply[Item]]:
        """Send all requests, at most `limits.concurrency` at once, and return the replies in the same order.

        Raises:
            TeacherDownError: an endpoint refuses every call, or has not answered for too long.
            Interrupted: `stop` was called before all requests were answered.
        """
        if not requests:
            return []
        for endpoint in self._endpoints.values():
            endpoint.reopen()
        future = submit(self._send_all(requests))
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def prepare(self) -> None:
        """Create the model of every role now, so that errors in the setup show before any work begins.

        Raises:
            InputError: an API key or a package is missing, or the provider is unknown.
        """
        for spec in self.specs.values():
            self._endpoint(spec)

    def refusal(self) -> str | None:
        """Return why the budget refused the last call or would refuse the next; None while it suffices."""
        return self._ledger.refusal(self._minutes)

    def stop(self) -> None:
        """Send no further calls and no retries. Calls in flight are awaited, because they are paid for; a
        batch is not: a resumed run finds it. It can be called from a signal handler.
        """
        self._stop.ask()

    def enter(self, node: str, round: int, matched: tuple[str, str] | None = None) -> None:
        """Account all calls from now on to a node of the graph and a round, and hold back a part of the
        budget (`Ledger.hold_back`).
        """
        self._node, self._round = node, round
        self._ledger.hold_back(matched)

    def close(self) -> None:
        """Close the connections and the journal."""
        for endpoint in self._endpoints.values():
            submit(endpoint.close()).result()
        self._endpoints.clear()
        self.journal.close()

    @property
    def _minutes(self) -> float:
        return (time.monotonic() - self._began) / 60

    async def _send_all(self, requests: Sequence[Request[Item]]) -> list[Reply[Item]]:
        gate = asyncio.Semaphore(len(requests) if self.settings.batches else self.settings.limits.concurrency)
        failures: list[BaseException] = []
        refused: dict[str, str] = {}  # role -> the last refusal of a call because of its schema

        async def send(request: Request[Item]) -> Reply[Item]:
            async with gate:
                if failures:
                    return Reply(problems=["not sent: the teacher is down"])
                try:
                    return await self._send(request)
                except SchemaRefusedError as refusal:
                    refused[request.role] = str(refusal)
                    self._log_refusal(request.role, refusal)
                    return Reply(problems=[str(refusal)])
                except BaseException as failure:
                    failures.append(failure)
                    return Reply(problems=[str(failure)])

        # All are awaited even if one fails: calls in flight are paid for and must reach the journal.
        done = await asyncio.gather(*(send(request) for request in requests))
        # A single refused call is tolerated; but if a model has never answered, it never will.
        failures += [self._down(role, why) for role, why in refused.items() if not self._was_answered(role)]
        if failures:
            for role in {failure.role for failure in failures if isinstance(failure, UselessError)}:
                self.journal.void(role)
            raise _foremost(failures)
        return done

    def _log_refusal(self, role: str, refusal: Exception) -> None:
        over = isinstance(refusal, BudgetError)
        event = {"role": role, "refused": str(refusal), "over_budget": over}
        self.settings.on_call({**event, "model": self.specs[role].model})

    def _was_answered(self, role: str) -> bool:
        """Return whether the model of a role has ever answered, in this run or before it was resumed."""
        return any(
            self.journal.holds(other) for other, spec in self.specs.items() if spec == self.specs[role]
        )

    def _down(self, role: str, why: str) -> TeacherDownError:
        return self._endpoint(self.specs[role]).down(role, why)

    async def _send(self, request: Request[Item], tries: int = REPAIRS) -> Reply[Item]:
        """Send a request and return the reply; make at most `tries` further calls for missing items.

        After a cut-off reply, smaller requests for the rest follow. Any other incomplete reply is shown to
        the model again, together with its problems.
        """
        system, user = render(request.role, request.payload, self.settings.overlay)
        messages: Messages = [("system", system), ("human", user)]
        parsed: list[ParsedItem[Item]] = []
        problems: list[str] = []
        for left in range(tries, -1, -1):
            try:
                call, entry, event = await self._call(request, messages)
            except (BudgetError, RefusedError) as refusal:
                if isinstance(refusal, SchemaRefusedError) and left == REPAIRS:
                    raise
                self._log_refusal(request.role, refusal)
                return Reply(parsed, [*problems, str(refusal)])
            parsed, problems = read_reply(request, call, entry, parsed)
            lacking = request.lacks(parsed, entry.finish)
            self.settings.on_call({**event, "problems": problems, "incomplete": bool(lacking) and not left})
            self._check_use(request, entry, parsed, problems, replayed=bool(event["replayed"]))
            if not lacking or not left:
                break
            if was_cut(entry.finish):
                return await self._send_rest(request, parsed, entry, left - 1)
            messages = [*messages, ("ai", entry.content[:_SHOWN] or "(nothing)"), ("human", _retry(problems))]
        return Reply(parsed, problems)

    def _check_use(
        self,
        request: Request[Item],
        entry: Entry,
        parsed: list[ParsedItem[Item]],
        problems: list[str],
        *,
        replayed: bool,
    ) -> None:
        """Stop if the teacher's first replies to a role are all of no use.

        Raises:
            TeacherDownError: they are; the message quotes the last reply and says what to do.
        """
        # A diagnosis may be empty.
        usable = bool(parsed) or (request.wanted is None and not request.schema.read(entry.content)[1])
        if why := self._usefulness.note(entry, problems, usable=usable, replayed=replayed):
            raise self._endpoint(self.specs[request.role]).mark_useless(request.role, why)

    async def _send_rest(
        self, request: Request[Item], parsed: list[ParsedItem[Item]], entry: Entry, tries: int
    ) -> Reply[Item]:
        """Return the items of a cut-off reply together with those of the requests for the rest."""
        spec = self.specs[request.role]
        if thought := is_thought(entry.content) and not spec.max_tokens:
            self._sizes.add_reasoning(spec)
        parts = grown(request) if thought else remainder(request, parsed)
        # Sent together, so that they form one batch; all are awaited, because calls in flight are paid for.
        replies = await asyncio.gather(*(self._send(part, tries) for part in parts), return_exceptions=True)
        problems: list[str] = []
        if failures := [reply for reply in replies if isinstance(reply, BaseException)]:
            raise _foremost(failures)
        for reply in replies:
            assert isinstance(reply, Reply)
            parsed = joined(request, parsed, reply.parsed)
            problems += reply.problems
        return Reply(parsed, problems)

    async def _call(self, request: Request[Item], messages: Messages) -> tuple[str, Entry, Event]:
        """Return (id, reply, trace event) of one call, answered by the journal or by the model."""
        spec, began = self.specs[request.role], time.time()
        canonical = canonical_call(request, spec, messages)
        key = Journal.key(canonical)
        entry, tries = self.journal.get(key), 0
        if entry is None:
            logprobs, cap = bool(canonical["logprobs"]), self._sizes.cap(request, spec)
            about = {"node": self._node, "round": self._round, **self._about(request, key)}
            call = Call(key, request.role, messages, request.schema, request.seed, logprobs, 0, cap, about)
            entry, tries = await self._sized(request, spec, call, canonical)
        self._sizes.add(request, spec, entry)
        event: Event = {
            **self._about(request, key),
            "model": spec.model,
            "began": float(f"{began:.3f}"),
            "prompt_tokens": entry.prompt_tokens,
            "completion_tokens": entry.completion_tokens,
            "cached_tokens": entry.cached_tokens,
            "reasoning_tokens": entry.reasoning_tokens,
            "cost": entry.cost,
            "seconds": round(entry.seconds, 3),
            "finish": entry.finish,
            "tries": tries,
            "replayed": tries == 0,
        }
        return key[:12], entry, event

    @staticmethod
    def _about(request: Request[Item], key: str) -> Event:
        """Return what traces say of any call."""
        return {"role": request.role, "call": key[:12], "weaknesses": list(request.weaknesses)}

    async def _sized(
        self, request: Request[Item], spec: ModelSpec, call: Call, canonical: dict[str, object]
    ) -> tuple[Entry, int]:
        """Make a paid call; under a size limit, a role's first call goes alone and shows the reply length."""
        if self._ledger.limits_size and not self._sizes.measured(request.role):
            async with self._first[request.role]:
                if not self._sizes.measured(request.role):
                    entry, tries = await self._paid(request, spec, call, canonical)
                    self._sizes.add(request, spec, entry)
                    return entry, tries
        return await self._paid(request, spec, call, canonical)

    async def _paid(
        self, request: Request[Item], spec: ModelSpec, call: Call, canonical: dict[str, object]
    ) -> tuple[Entry, int]:
        """Make a call within the budget, write the reply to the journal, and return it with its tries."""
        self._stop.check()
        endpoint = self._endpoint(spec)
        longest = self._sizes.expected(request, spec)
        call = replace(call, reply_tokens=longest)
        money = spec.cost(call.prompt_tokens, longest)
        if money and isinstance(endpoint, Batches):
            money *= DISCOUNT
        with self._ledger.reserve(self._node, Cost(call.prompt_tokens + longest, money), self._minutes):
            # A call in flight may finish after the limit, but a batch may take a day.
            left = self._ledger.minutes_left(self._minutes) if isinstance(endpoint, Batches) else None
            try:
                async with asyncio.timeout(None if left is None else 60 * left):
                    entry, tries = await endpoint.complete(call)
            except TimeoutError:
                raise BudgetError("budget of minutes is spent; a resumed run waits for the batch") from None
        entry = replace(entry, node=self._node)
        await self.journal.put_soon(call.key, canonical, entry)
        return entry, tries

    def _endpoint(self, spec: ModelSpec) -> Endpoint | Batches:
        if spec not in self._endpoints:
            endpoint = Endpoint(spec, self._make(spec), self.settings.limits, self._stop)
            self._endpoints[spec] = endpoint
            if self.settings.batches and spec.speaks_openai:
                poll, log = self.settings.limits.poll, self.settings.on_call
                self._endpoints[spec] = Batches(endpoint, self.settings.batches, poll=poll, on_change=log)
        return self._endpoints[spec]


def _foremost(failures: Sequence[BaseException]) -> BaseException:
    """Return the failure to report: that the user asked to stop, or else the first."""
    return next((failure for failure in failures if isinstance(failure, Interrupted)), failures[0])


def _retry(problems: Sequence[str]) -> str:
    return f"That reply cannot be used as it is: {'; '.join(problems[-3:])}. Reply again, with JSON only."
