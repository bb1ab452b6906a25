"""An endpoint is one model at one address, called within its limits and its capabilities."""

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.exchange import Call, exchange
from tutelage.agents.endpoints.failures import Failure, names_cap, read_failure
from tutelage.agents.endpoints.limits import Limits, Pace, Throttle, backoff
from tutelage.agents.endpoints.stop import Stop
from tutelage.agents.providers.capabilities import Capabilities, remembered
from tutelage.agents.providers.models import ModelSpec
from tutelage.student.errors import InputError, Interrupted

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class RefusedError(Exception):
    """This one call gets no reply, although others may; the message gives the reason."""


class SchemaRefusedError(RefusedError):
    """The server refused a call as malformed; it is still open whether it refuses other calls, too."""


class TeacherDownError(InputError):
    """The teacher cannot be reached now; paid replies are in the journal, and the run can be resumed."""


class UselessError(TeacherDownError):
    """The first replies to a role contain nothing usable; a resumed run must not reuse any of them."""

    def __init__(self, role: str, words: str):
        super().__init__(words)
        self.role = role


class Endpoint:
    """Call one model; retry failures that may pass, and raise an error with the reason for the others.

    Once `stop` is asked for, no request is sent; the replies to those in flight are still returned.
    """

    def __init__(self, spec: ModelSpec, model: "BaseChatModel", limits: Limits, stop: Stop | None = None):
        self.spec, self.model, self.stop = spec, model, stop or Stop()
        self.capabilities = remembered(spec.display_name) or _assumed(spec)
        if spec.structured != "auto":
            self.capabilities = replace(self.capabilities, modes=(spec.structured,))
        self.throttle, self._pace = Throttle(limits, self.stop.sleep), Pace(spec.timeout)
        # Settled: the capabilities were probed, or the specification leaves none of them open.
        self.settled = bool(self.capabilities.probed) or (spec.structured != "auto" and not spec.logprobs)
        self._first = asyncio.Lock()
        self._first_made = self.settled
        self.down_error: TeacherDownError | None = None
        self._exhausted = False  # a call was refused in every request format: the format was not the reason
        self._least_refused: float = math.inf  # the smallest completion cap that was refused

    async def complete(self, call: Call) -> tuple[Entry, int]:
        """Return the reply and the number of tries.

        Raises:
            RefusedError: this call is refused, or fails repeatedly while other calls are answered.
            TeacherDownError: the endpoint refuses every call, or has not answered for too long.
            Interrupted: the user asked to stop before a reply came to any try.
        """
        answers, tries, slow = self.throttle.answers, 0, 0
        reply_limit = call.cap or self.spec.max_tokens or call.reply_tokens
        while True:
            tries += 1
            if self.down_error:
                raise self.down_error
            async with self.throttle.turn(call.prompt_tokens + call.reply_tokens) as began:
                try:
                    entry = await self._once(call, self._pace.limit(reply_limit, slow))
                except Interrupted:
                    raise
                except InputError as error:  # a model in this process cannot answer this call
                    raise SchemaRefusedError(str(error)) from error
                except Exception as error:  # every provider has its own exception types
                    failure = read_failure(error)
                else:
                    used = entry.prompt_tokens + entry.completion_tokens
                    self._pace.answered(entry.completion_tokens, entry.seconds)
                    self.throttle.answered(used - call.prompt_tokens - call.reply_tokens)
                    return entry, tries
                slow += failure.kind == "slow"
                # After a time-out the server may still be generating: make fewer calls, with more time each.
                busy = failure.kind in ("busy", "slow")
                self.throttle.failed(began, busy=busy, retry_after=failure.retry_after)
            self.stop.check()  # the run ends as it was asked to, and not because of the endpoint
            self._give_up(call, failure, tries, answered=self.throttle.answers > answers)
            if not failure.retry_after:
                await self.stop.sleep(backoff(tries))

    def _give_up(self, call: Call, failure: Failure, tries: int, *, answered: bool) -> None:
        """Raise if another try is useless."""
        if failure.kind == "filtered":
            raise RefusedError(f"refused by the provider's content filter: {failure.words}")
        if failure.kind == "malformed":
            raise SchemaRefusedError(f"refused: {failure.words}")
        if failure.kind == "fatal":
            raise self.down(call.role, failure.words)
        if why := self.throttle.give_up_reason(silent=failure.silent, retry_after=failure.retry_after):
            raise self.down(call.role, f"{why}; the last: {failure.words}")
        if tries >= self.throttle.limits.tries and answered:
            raise RefusedError(f"no answer in {tries} tries, while others were answered: {failure.words}")

    def down(self, role: str, why: str) -> TeacherDownError:
        """Mark the endpoint as down and return the error to raise; calls that wait for it raise it, too."""
        self.down_error = TeacherDownError(
            f"the teacher {self.spec.display_name} gave no answer to the {role}: {why};"
            " run `tutelage doctor` to check the endpoint"
        )
        return self.down_error

    def mark_useless(self, role: str, why: str) -> TeacherDownError:
        """Mark the endpoint as useless for a role and return the error; waiting calls raise it, too."""
        self.down_error = UselessError(
            role, f"the teacher {self.spec.display_name} gives no usable replies as the {role}: {why}"
        )
        return self.down_error

    def allowed(self, call: Call) -> Call:
        """Return the call, without its completion cap if an equal or smaller cap was refused before."""
        return replace(call, cap=None) if call.cap and call.cap >= self._least_refused else call

    def uncapped(self, call: Call) -> Call:
        """Return the call without its refused cap; `allowed` drops equal and larger caps from now on."""
        self._least_refused = min(self._least_refused, call.cap or math.inf)
        return replace(call, cap=None)

    def reopen(self) -> None:
        """Allow calls again after `down` or `useless`."""
        self.down_error = None

    async def close(self) -> None:
        """Close the connections, except those of a model object, which is the user's."""
        if self.spec.is_object:
            return
        if client := getattr(self.model, "http_async_client", None):
            await client.aclose()

    async def _once(self, call: Call, seconds: float) -> Entry:
        """Make one try. The first call runs alone, so that the request format is negotiated only once."""
        async with self._first:
            if not self._first_made:
                self._first_made = True
                return await self._negotiated(call, seconds)
        return await self._negotiated(call, seconds)

    async def _negotiated(self, call: Call, seconds: float) -> Entry:
        """Return the reply; while the server refuses the request as malformed, drop one feature at a time."""
        capabilities, sent = self.capabilities, self.allowed(call)
        refusal: Exception | None = None
        while True:
            self.stop.check()  # here, because every request passes here after all its waits
            try:
                entry = await exchange(self.spec, self.model, capabilities, sent, seconds)
                break
            except Exception as error:  # every provider has its own exception types
                if read_failure(error).kind != "malformed":
                    raise
                refusal = refusal or error
                reduced = self._reduced(capabilities, sent, error)
                if reduced is None:
                    self._exhausted = True
                    raise refusal from None
                capabilities, sent = reduced
        if refusal:
            if capabilities == self.capabilities and not sent.cap:
                self.uncapped(call)
            # A reply format that has worked stays in use: only this one call needed another.
            modes = self.capabilities.modes if self.settled else capabilities.modes
            self.capabilities = replace(capabilities, modes=modes)
        self.settled = True
        return entry

    def _reduced(
        self, capabilities: Capabilities, call: Call, error: Exception
    ) -> tuple[Capabilities, Call] | None:
        """Return what to try after a refusal; None if no feature is left to drop.

        The completion cap is dropped if the refusal names it: it exceeds what the model can write, or prompt
        and cap exceed its context. It is also dropped first if nothing is named and nothing was answered yet.
        """
        words, format_known, named = str(error), self.settled or self._exhausted, names_cap(str(error))
        if call.cap and (named or not (format_known or _too_long(error) or capabilities.features_in(words))):
            return capabilities, self.uncapped(call) if named else replace(call, cap=None)
        if _too_long(error):
            return None
        reduced = capabilities.conceded(words, logprobs=call.logprobs, named_only=format_known)
        return (reduced, call) if reduced else None


def _assumed(spec: ModelSpec) -> Capabilities:
    """Return the capabilities to try first at an unknown endpoint. Clients of providers other than OpenAI
    differ in JSON mode, seed and log-probabilities, and some raise an error on unknown options.
    """
    if spec.speaks_openai:
        return Capabilities()
    return Capabilities(("json_schema", "function_calling", "text"), logprobs=False, seed=False)


def _too_long(error: Exception) -> bool:
    """Return whether a call was refused for its length, which another request format cannot change."""
    words = f"{error} {getattr(error, 'code', '')}".lower().replace("_", " ")
    return getattr(error, "status_code", None) == 413 or "context length" in words
