"""An endpoint: one model at one address, asked within its limits, as far as its capabilities go."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tutelage.agents.capabilities import Capabilities, remembered
from tutelage.agents.exchange import Call, exchange
from tutelage.agents.failures import Failure, read_failure
from tutelage.agents.journal import Entry
from tutelage.agents.limits import Limits, Throttle, backoff
from tutelage.agents.models import ModelSpec
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class RefusedError(Exception):
    """This one call brings no reply, others may; the message says why."""


class FormRefusedError(RefusedError):
    """A call is refused for its form; nobody knows yet whether others are, too."""


class TeacherDownError(InputError):
    """The teacher cannot be asked now; what was paid is in the journal, and the run can be resumed."""


class Endpoint:
    """Asks one model; retries what may pass, and gives up saying why."""

    def __init__(self, spec: ModelSpec, model: "BaseChatModel", limits: Limits):
        self.spec, self.model = spec, model
        self.can = remembered(spec.model, spec.base_url) or _assumed(spec)
        if spec.structured != "auto":
            self.can = replace(self.can, modes=(spec.structured,))
        self.throttle = Throttle(limits)
        # Nothing is to be found out where it is known, or all is said.
        self.settled = bool(self.can.probed) or (spec.structured != "auto" and not spec.logprobs)
        self._first = asyncio.Lock()
        self._begun = self.settled
        self.gone: TeacherDownError | None = None
        self._exhausted = False  # a call was refused in every form there is: the form was not the reason

    async def complete(self, call: Call) -> tuple[Entry, int]:
        """(the reply, the tries it took).

        Raises:
            RefusedError: this call is refused, or fails again and again while others are answered.
            TeacherDownError: the endpoint refuses every call, or has not answered for too long.
        """
        answers, tries = self.throttle.answers, 0
        while True:
            tries += 1
            if self.gone:
                raise self.gone
            async with self.throttle.turn(call.prompt_tokens + call.reply_tokens) as began:
                try:
                    entry = await self._once(call)
                except InputError as error:  # a model in this process: the call is none it can answer
                    raise FormRefusedError(str(error)) from error
                except Exception as error:  # every provider has its own types
                    failure = read_failure(error)
                else:
                    used = entry.prompt_tokens + entry.completion_tokens
                    self.throttle.answered(used - call.prompt_tokens - call.reply_tokens)
                    return entry, tries
                self.throttle.failed(began, busy=failure.kind == "busy", retry_after=failure.retry_after)
            self._give_up(call, failure, tries, answered=self.throttle.answers > answers)
            if not failure.retry_after:
                await asyncio.sleep(backoff(tries))

    def _give_up(self, call: Call, failure: Failure, tries: int, *, answered: bool) -> None:
        """Raise where another try is of no use."""
        if failure.kind == "filtered":
            raise RefusedError(f"refused by the provider's content filter: {failure.words}")
        if failure.kind == "malformed":
            raise FormRefusedError(f"refused: {failure.words}")
        if failure.kind == "fatal":
            raise self.down(call.role, failure.words)
        if why := self.throttle.hopeless(silent=failure.silent, retry_after=failure.retry_after):
            raise self.down(call.role, f"{why}; the last: {failure.words}")
        if tries >= self.throttle.limits.tries and answered:
            raise RefusedError(f"no answer in {tries} tries, while others were answered: {failure.words}")

    def down(self, role: str, why: str) -> TeacherDownError:
        """That the endpoint cannot be asked; no call that waits for it is made any more."""
        self.gone = TeacherDownError(
            f"the teacher {self.spec.place} gave no answer to the {role}: {why};"
            " see what `tutelage doctor` finds"
        )
        return self.gone

    def back(self) -> None:
        """Ask it again, though it was down."""
        self.gone = None

    async def close(self) -> None:
        """Close the connections."""
        if client := getattr(self.model, "http_async_client", None):
            await client.aclose()

    async def _once(self, call: Call) -> Entry:
        """One try. The first call goes alone, so that what must be conceded is conceded once."""
        async with self._first:
            if not self._begun:
                self._begun = True
                return await self._negotiated(call)
        return await self._negotiated(call)

    async def _negotiated(self, call: Call) -> Entry:
        """The reply; while the server refuses the form of the request, something of it is given up."""
        can = self.can
        refusal: Exception | None = None
        while True:
            try:
                entry = await exchange(self.spec, self.model, can, call)
                break
            except Exception as error:
                if read_failure(error).kind != "malformed":
                    raise
                refusal = refusal or error
                less = (
                    None
                    if _too_long(error)
                    else can.conceded(
                        str(error), logprobs=call.logprobs, named_only=self.settled or self._exhausted
                    )
                )
                if less is None:
                    self._exhausted = True
                    raise refusal from None
                can = less
        if refusal:
            # What has worked in a form goes on in it: it was this one call that did not.
            self.can = replace(can, modes=self.can.modes) if self.settled else can
        self.settled = True
        return entry


def _assumed(spec: ModelSpec) -> Capabilities:
    """What is tried first where nothing is known. Other providers' clients do not agree on a JSON mode, a
    seed or log-probabilities; some take what they do not know for an error.
    """
    if spec.speaks_openai:
        return Capabilities()
    return Capabilities(("json_schema", "function_calling", "text"), logprobs=False, seed=False)


def _too_long(error: Exception) -> bool:
    """Whether a call is refused for its length, which no other form of it would mend for others."""
    words = f"{error} {getattr(error, 'code', '')}".lower().replace("_", " ")
    return getattr(error, "status_code", None) == 413 or "context length" in words
