"""An endpoint: one model at one address, asked within its limits, as far as its capabilities go."""

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.exchange import Call, exchange
from tutelage.agents.endpoints.failures import Failure, names_cap, read_failure
from tutelage.agents.endpoints.limits import Limits, Pace, Throttle, backoff
from tutelage.agents.providers.capabilities import Capabilities, remembered
from tutelage.agents.providers.models import ModelSpec
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class RefusedError(Exception):
    """This one call brings no reply, others may; the message says why."""


class FormRefusedError(RefusedError):
    """A call is refused for its form; nobody knows yet whether others are, too."""


class TeacherDownError(InputError):
    """The teacher cannot be asked now; what was paid is in the journal, and the run can be resumed."""


class UselessError(TeacherDownError):
    """The first replies to a role hold nothing usable; none of them is to answer a resumed run."""

    def __init__(self, role: str, words: str):
        super().__init__(words)
        self.role = role


class Endpoint:
    """Asks one model; retries what may pass, and gives up saying why."""

    def __init__(self, spec: ModelSpec, model: "BaseChatModel", limits: Limits):
        self.spec, self.model = spec, model
        self.can = remembered(spec.model, spec.base_url) or _assumed(spec)
        if spec.structured != "auto":
            self.can = replace(self.can, modes=(spec.structured,))
        self.throttle, self._pace = Throttle(limits), Pace(spec.timeout)
        # Nothing is to be found out where it is known, or all is said.
        self.settled = bool(self.can.probed) or (spec.structured != "auto" and not spec.logprobs)
        self._first = asyncio.Lock()
        self._begun = self.settled
        self.gone: TeacherDownError | None = None
        self._exhausted = False  # a call was refused in every form there is: the form was not the reason
        self._least_refused: float = math.inf  # the smallest completion cap that was refused

    async def complete(self, call: Call) -> tuple[Entry, int]:
        """(the reply, the tries it took).

        Raises:
            RefusedError: this call is refused, or fails again and again while others are answered.
            TeacherDownError: the endpoint refuses every call, or has not answered for too long.
        """
        answers, tries, slow = self.throttle.answers, 0, 0
        most = call.cap or self.spec.max_tokens or call.reply_tokens
        while True:
            tries += 1
            if self.gone:
                raise self.gone
            async with self.throttle.turn(call.prompt_tokens + call.reply_tokens) as began:
                try:
                    entry = await self._once(call, self._pace.limit(most, slow))
                except InputError as error:  # a model in this process: the call is none it can answer
                    raise FormRefusedError(str(error)) from error
                except Exception as error:  # every provider has its own types
                    failure = read_failure(error)
                else:
                    used = entry.prompt_tokens + entry.completion_tokens
                    self._pace.answered(entry.completion_tokens, entry.seconds)
                    self.throttle.answered(used - call.prompt_tokens - call.reply_tokens)
                    return entry, tries
                slow += failure.kind == "slow"
                # A server may still be writing a reply that was given up: fewer calls, each with more time.
                busy = failure.kind in ("busy", "slow")
                self.throttle.failed(began, busy=busy, retry_after=failure.retry_after)
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

    def useless(self, role: str, why: str) -> TeacherDownError:
        """That a role's replies are of no use; as after `down`, no call that waits is made any more."""
        self.gone = UselessError(role, f"the teacher {self.spec.place} is of no use as the {role}: {why}")
        return self.gone

    def allowed(self, call: Call) -> Call:
        """The call without its cap, if one that is not larger was refused."""
        return replace(call, cap=None) if call.cap and call.cap >= self._least_refused else call

    def uncapped(self, call: Call) -> Call:
        """The call without its cap, which was refused; so are larger ones from now on."""
        self._least_refused = min(self._least_refused, call.cap or math.inf)
        return replace(call, cap=None)

    def back(self) -> None:
        """Ask it again, though it was down."""
        self.gone = None

    async def close(self) -> None:
        """Close the connections."""
        if client := getattr(self.model, "http_async_client", None):
            await client.aclose()

    async def _once(self, call: Call, seconds: float) -> Entry:
        """One try. The first call goes alone, so that what must be conceded is conceded once."""
        async with self._first:
            if not self._begun:
                self._begun = True
                return await self._negotiated(call, seconds)
        return await self._negotiated(call, seconds)

    async def _negotiated(self, call: Call, seconds: float) -> Entry:
        """The reply; while the server refuses the form of the request, something of it is given up."""
        can, sent = self.can, self.allowed(call)
        refusal: Exception | None = None
        while True:
            try:
                entry = await exchange(self.spec, self.model, can, sent, seconds)
                break
            except Exception as error:
                if read_failure(error).kind != "malformed":
                    raise
                refusal = refusal or error
                less = self._less(can, sent, error)
                if less is None:
                    self._exhausted = True
                    raise refusal from None
                can, sent = less
        if refusal:
            if can == self.can and not sent.cap:
                self.uncapped(call)
            # What has worked in a form goes on in it: it was this one call that did not.
            self.can = replace(can, modes=self.can.modes) if self.settled else can
        self.settled = True
        return entry

    def _less(self, can: Capabilities, call: Call, error: Exception) -> tuple[Capabilities, Call] | None:
        """What to try next after a refusal; None where nothing is left to give up.

        A cap is given up where the refusal names it (the model writes less, or its context has no room for
        prompt and cap), and first of all where nothing is named and nothing has been answered yet.
        """
        words, found_out, named = str(error), self.settled or self._exhausted, names_cap(str(error))
        if call.cap and (named or not (found_out or _too_long(error) or can.named(words))):
            return can, self.uncapped(call) if named else replace(call, cap=None)
        if _too_long(error):
            return None
        less = can.conceded(words, logprobs=call.logprobs, named_only=found_out)
        return (less, call) if less else None


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
