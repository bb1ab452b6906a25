"""The teacher: the one door to a language model, with journal, budget and repair behind it."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from tutelage.agents.forms import Form, Item
from tutelage.agents.journal import Entry, Journal, Spent
from tutelage.agents.models import ModelSpec
from tutelage.prompts import render
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

REPAIRS = 2  # times a malformed reply is asked for again


class _RefusedError(Exception):
    """The budget, or the provider's content filter, refuses this call; the message says why."""


class TeacherDownError(InputError):
    """The teacher cannot be asked now; what was paid is in the journal, and the run can be resumed."""


@dataclass(frozen=True)
class Budget:
    """Limits of a run; None is none. No call is begun at a limit; what the calls in flight then still
    bring can go over `tokens` and `money`. `money` is in the currency of the prices.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    minutes: float | None = None

    def refusal(self, spent: Spent, minutes: float, flying: int = 0) -> str | None:
        """Which limit is reached by what was spent and the calls in flight, or None."""
        tokens = spent["prompt_tokens"] + spent["completion_tokens"]
        used = {
            "calls": spent["calls"] + flying,
            "tokens": tokens,
            "money": spent["cost"] or 0.0,
            "minutes": minutes,
        }
        for name, value in used.items():
            limit = getattr(self, name)
            if limit is not None and value >= limit:
                return f"budget of {limit:g} {name} is spent"
        return None


@dataclass(frozen=True)
class Ask(Generic[Item]):
    """One request: who asks, the data, the form of the reply, and a seed that makes it this one."""

    role: str
    payload: Mapping[str, object]
    form: Form[Item]
    seed: int


@dataclass(frozen=True)
class Reply(Generic[Item]):
    """The right items of a reply, what was wrong with the others, and the id of the call in the trace.

    A request that the budget refused has no call (""), no items, and the refusal among its problems.
    """

    call: str
    items: list[Item]
    problems: list[str]


class Teacher:
    """Asks chat models, one per role if wished; every reply goes through the journal.

    All calls of a process run on one event loop in a thread of its own: langchain-openai shares HTTP
    clients between models, they do not survive a second loop, and callers may themselves be inside one.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        make: Callable[[ModelSpec], "BaseChatModel"],
        journal: Journal,
        *,
        budget: Budget | None = None,
        overlay: Path | None = None,
        concurrency: int = 8,
        on_call: Callable[[dict[str, object]], None] = lambda event: None,
    ):
        self.specs, self.journal, self.budget = specs, journal, budget or Budget()
        self._make, self._overlay, self._concurrency, self._on_call = make, overlay, concurrency, on_call
        self._models: dict[ModelSpec, BaseChatModel] = {}
        self._began, self._flying = time.monotonic(), 0

    def ask(self, asks: Sequence[Ask[Item]]) -> list[Reply[Item]]:
        """Ask all at once, at most `concurrency` in flight; replies in the order asked.

        Raises:
            TeacherDownError: the provider failed after its retries.
        """
        if not asks:
            return []
        future = asyncio.run_coroutine_threadsafe(self._ask_all(asks), _event_loop())
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
            self._model(spec)

    def refusal(self) -> str | None:
        """Why the budget would refuse the next call, or None."""
        minutes = (time.monotonic() - self._began) / 60
        return self.budget.refusal(self.journal.spent(), minutes, self._flying)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    async def _ask_all(self, asks: Sequence[Ask[Item]]) -> list[Reply[Item]]:
        gate = asyncio.Semaphore(self._concurrency)

        failures: list[BaseException] = []

        async def one(ask: Ask[Item]) -> Reply[Item]:
            async with gate:
                if failures:
                    return Reply("", [], ["not asked: the teacher is down"])
                try:
                    return await self._ask(ask)
                except BaseException as failure:
                    failures.append(failure)
                    return Reply("", [], [str(failure)])

        # All are awaited even when one fails: what is in flight is paid for and must reach the journal.
        done = await asyncio.gather(*(one(ask) for ask in asks))
        if failures:
            raise failures[0]
        return done

    async def _ask(self, ask: Ask[Item]) -> Reply[Item]:
        system, user = render(ask.role, ask.payload, self._overlay)
        messages = [("system", system), ("human", user)]
        for attempt in range(REPAIRS + 1):
            try:
                call, raw, event = await self._call(ask, messages)
            except _RefusedError as refusal:
                return Reply("", [], [str(refusal)])
            items, problems = ask.form.read(raw)
            self._on_call({**event, "problems": problems} if problems else event)
            if items or not problems or attempt == REPAIRS:
                break
            messages += [
                ("ai", raw),
                ("human", f"That reply cannot be used: {problems[0]}. Reply again, with JSON only."),
            ]
        return Reply(call, items, problems)

    async def _call(
        self, ask: Ask[Item], messages: list[tuple[str, str]]
    ) -> tuple[str, str, dict[str, object]]:
        """(id, raw text, trace event) of one call, from the journal or from the model."""
        spec = self.specs[ask.role]
        request: dict[str, object] = {
            "model": spec.model,
            "base_url": spec.base_url,
            "temperature": spec.temperature,
            "seed": ask.seed,
            "form": ask.form.schema(),
            "messages": messages,
        }
        key = Journal.key(request)
        entry = self.journal.get(key)
        replayed = entry is not None
        if entry is None:
            if refusal := self.refusal():
                raise _RefusedError(refusal)
            self._flying += 1
            try:
                entry = await self._pay(spec, ask, messages)
                self.journal.put(key, request, entry)
            finally:
                self._flying -= 1
        event: dict[str, object] = {
            "role": ask.role,
            "call": key[:12],
            "model": spec.model,
            "prompt_tokens": entry.prompt_tokens,
            "completion_tokens": entry.completion_tokens,
            "seconds": round(entry.seconds, 3),
            "finish": entry.finish,
            "replayed": replayed,
        }
        return key[:12], entry.content, event

    async def _pay(self, spec: ModelSpec, ask: Ask[Item], messages: list[tuple[str, str]]) -> Entry:
        start = time.monotonic()
        model = self._model(spec)
        try:
            message = await model.ainvoke(messages, **_options(spec, ask))
        except InputError:
            raise
        except Exception as error:  # every provider has its own types; all mean "no answer"
            if getattr(error, "code", None) == "content_filter":
                raise _RefusedError(f"refused by the provider's content filter: {error}") from error
            where = f"{spec.model} at {spec.base_url}" if spec.base_url else spec.model
            raise TeacherDownError(
                f"the teacher {where} gave no answer to the {ask.role}: {type(error).__name__}:"
                f" {str(error).rstrip('.')}; see what `tutelage doctor` finds"
            ) from error
        usage: Any = getattr(message, "usage_metadata", None) or {}
        used = int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0))
        finish = str(message.response_metadata.get("finish_reason", ""))
        return Entry(ask.role, message.text, finish, *used, spec.cost(*used), time.monotonic() - start)

    def _model(self, spec: ModelSpec) -> "BaseChatModel":
        if spec not in self._models:
            self._models[spec] = self._make(spec)
        return self._models[spec]


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="teacher", daemon=True).start()
    return loop


def _options(spec: ModelSpec, ask: Ask[Item]) -> dict[str, Any]:
    """What a call carries beside its messages."""
    if not spec.model.startswith(("openai:", "rehearsal")):
        return {}
    options: dict[str, Any] = {"seed": ask.seed}
    if spec.structured == "json_schema":
        form = {"name": ask.form.title, "schema": ask.form.schema(), "strict": True}
        wanted: dict[str, Any] | None = {"type": "json_schema", "json_schema": form}
    else:
        wanted = {"type": "json_object"} if spec.structured == "json_mode" else None
    if wanted and spec.model != "rehearsal":
        # In the body, not as an argument: with the argument the client parses by itself, and raises on
        # a truncated reply, which then is paid for and in no journal.
        options["extra_body"] = {"response_format": wanted}
    return options
