"""Limit the calls of one endpoint: how many are in flight, when the next may start, when to give up."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tutelage.agents.providers.models import LONGEST_TIMEOUT

_DOWN, _UP_AFTER = 0.75, 25  # factor on the width at the first 429 of a burst; successes that add one call
_BACKOFF, _LONGEST = 0.5, 30.0  # seconds: the first wait after a failure and the longest
_SILENT = 10.0  # seconds without an answer before giving up an address that has never answered
_FEWEST = 3  # consecutive failures before giving up
_BURST = 1.0  # seconds of a rate that may be used at once
_FADING = 0.9  # weight of the earlier measurements at each new reply: about the last ten replies count
_SPARE = 1.5  # factor on the expected seconds of a full-length reply


@dataclass(frozen=True)
class Limits:
    """Bounds of one endpoint: concurrent calls, requests and tokens per minute (None: no bound); `patience`,
    the seconds without any answer before giving up; `tries`, the most tries of one call while other calls
    are answered; `poll`, the seconds between two status requests for a batch.
    """

    concurrency: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    patience: float = 120.0
    tries: int = 6
    poll: float = 30.0


class Throttle:
    """Admit calls to one endpoint.

    The number of calls in flight falls to three quarters at the first 429 of a burst; further 429s of calls
    that started before the fall do not lower it again. It grows by one after 25 answers. After a Retry-After
    no call starts until that time is over.

    Args:
        limits: the bounds.
        sleep: waits for some seconds; it may raise an error to end the wait.
    """

    def __init__(self, limits: Limits, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep):
        self.limits, self._sleep = limits, sleep
        self.width = float(limits.concurrency)
        self.answers = 0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._since_change = 0
        self._lowered_at = self._closed_until = 0.0
        self._failing: list[float] = []  # start times of the tries that failed since the last answer
        self._rates = [_Rate(limits.requests_per_minute), _Rate(limits.tokens_per_minute)]

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """Wait for a place and hold it for one try of about `tokens` tokens; yield the start time."""
        await self._enter()
        try:
            requests, volume = self._rates
            if (seconds := max(requests.wait(1), volume.wait(tokens))) > 0:
                await self._sleep(seconds)
            while (left := self._closed_until - time.monotonic()) > 0:
                await self._sleep(left * random.uniform(1, 1.1))  # jitter, or all would start together
            yield time.monotonic()
        finally:
            self._in_flight -= 1
            self._admit()

    def answered(self, surplus: float = 0.0) -> None:
        """Record an answer that took `surplus` tokens more than estimated."""
        self.answers += 1
        self._failing.clear()
        self._rates[1].correct(surplus)
        self._since_change += 1
        if self._since_change >= _UP_AFTER:
            self.width, self._since_change = min(self.width + 1, self.limits.concurrency), 0
            self._admit()

    def failed(self, began: float, *, busy: bool, retry_after: float | None) -> None:
        """Record a failed try by its start time; `busy` lowers the number of calls in flight (HTTP 429)."""
        now = time.monotonic()
        self._failing.append(began)
        if busy and began >= self._lowered_at:
            self.width, self._lowered_at, self._since_change = max(1.0, self.width * _DOWN), now, 0
        if retry_after:
            self._closed_until = max(self._closed_until, now + retry_after)

    def give_up_reason(self, *, silent: bool, retry_after: float | None) -> str | None:
        """Return the reason to give up, or None; `silent`: the last failure came without any answer."""
        patience = self.limits.patience
        if retry_after and retry_after > patience:
            return f"it asks to wait {retry_after:,.0f} s, more than the `patience` of {patience:g} s"
        if silent and not self.answers:
            patience = min(patience, _SILENT)
        span = time.monotonic() - self._failing[0]
        if len(self._failing) >= _FEWEST and span >= patience:
            return f"{len(self._failing)} failures in a row over {span:,.0f} s without an answer"
        return None

    async def _enter(self) -> None:
        if self._in_flight < int(self.width) and not self._waiting:
            self._in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # admitted just as it was cancelled
                self._in_flight -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._in_flight < int(self.width):
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._in_flight += 1


class Pace:
    """Measure the speed of an endpoint on its replies, and derive the time limit of a call.

    The speed is completion tokens over the seconds of the whole call. It therefore includes the load by other
    users of a shared server and the time to process the prompt.
    """

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._tokens = self._seconds = 0.0

    def answered(self, tokens: int, seconds: float) -> None:
        """Record the completion tokens and the duration of a reply."""
        self._tokens = _FADING * self._tokens + tokens
        self._seconds = _FADING * self._seconds + seconds

    def limit(self, tokens: float, slow: int = 0) -> float:
        """Return the seconds that a call may take: `timeout`, or more if a full-length reply needs more.

        Args:
            tokens: the maximum length of the reply.
            slow: earlier tries of this call that were too slow. Each doubles the time, because the speed of a
                single call says little about its speed among concurrent calls.
        """
        expected = _SPARE * tokens * self._seconds / self._tokens if self._tokens else 0.0
        return min(LONGEST_TIMEOUT * self._timeout, max(self._timeout, expected) * 2.0**slow)


class _Rate:
    """Spread units over time: `per_minute` of them, at most one second's worth at once."""

    def __init__(self, per_minute: int | None):
        self._cost = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def wait(self, units: float) -> float:
        """Reserve units and return the seconds until they may be used."""
        if not self._cost:
            return 0.0
        now = time.monotonic()
        start = max(self._free_at, now - _BURST)
        self._free_at = start + units * self._cost
        return max(0.0, start - now)

    def correct(self, surplus: float) -> None:
        """Charge units that a call used beyond its estimate; a negative surplus is given back."""
        self._free_at += surplus * self._cost


def backoff(tries: int) -> float:
    """Return the seconds to wait after this many failed tries: doubled each time, with random jitter."""
    return float(min(_LONGEST, _BACKOFF * 2.0 ** (tries - 1)) * random.uniform(0.5, 1))
