"""Limits: how many calls are in flight at one endpoint, how soon the next may begin, when to give up."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tutelage.agents.providers.models import LONGEST_TIMEOUT

_DOWN, _UP_AFTER = 0.75, 25  # of the calls in flight at the first 429 of a burst; successes for one more
_BACKOFF, _LONGEST = 0.5, 30.0  # seconds: the first wait after a failure and the longest
_SILENT = 10.0  # seconds after which an address where nothing has ever answered is given up
_FEWEST = 3  # failures in a row before anything is given up
_BURST = 1.0  # seconds of a rate that may be used at once
_FADING = 0.9  # weight of what was measured before, at each new reply: about the last ten count
_SPARE = 1.5  # times the seconds that a full-length reply is expected to take


@dataclass(frozen=True)
class Limits:
    """Bounds of one endpoint: calls at once, requests and tokens a minute (None: no bound); `patience`,
    the seconds without a single answer after which it is given up; `tries` of one call while others are
    answered; `poll`, the seconds between two looks at a batch.
    """

    concurrency: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    patience: float = 120.0
    tries: int = 6
    poll: float = 30.0


class Throttle:
    """Admits calls to one endpoint.

    The number in flight falls to three quarters at the first 429 of a burst (those of calls that began
    before the fall do not count again) and grows by one after 25 answers; after a Retry-After nobody
    begins until it is over.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.width = float(limits.concurrency)
        self.answers = 0
        self._flying = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._since_change = 0
        self._fell = self._closed_until = 0.0
        self._failing: list[float] = []  # when each try that failed began, since the last answer
        self._rates = [_Rate(limits.requests_per_minute), _Rate(limits.tokens_per_minute)]

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """Wait for a place, hold it for one try of about `tokens`; gives the time at which it began."""
        await self._enter()
        try:
            requests, volume = self._rates
            await asyncio.sleep(max(requests.wait(1), volume.wait(tokens)))
            while (left := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(left * random.uniform(1, 1.1))  # or all would begin at the same moment
            yield time.monotonic()
        finally:
            self._flying -= 1
            self._let_in()

    def answered(self, surplus: float = 0.0) -> None:
        """An answer came, of `surplus` tokens more than was thought."""
        self.answers += 1
        self._failing.clear()
        self._rates[1].correct(surplus)
        self._since_change += 1
        if self._since_change >= _UP_AFTER:
            self.width, self._since_change = min(self.width + 1, self.limits.concurrency), 0
            self._let_in()

    def failed(self, began: float, *, busy: bool, retry_after: float | None) -> None:
        """A try that began then failed; `busy` when the endpoint said so (429)."""
        now = time.monotonic()
        self._failing.append(began)
        if busy and began >= self._fell:
            self.width, self._fell, self._since_change = max(1.0, self.width * _DOWN), now, 0
        if retry_after:
            self._closed_until = max(self._closed_until, now + retry_after)

    def hopeless(self, *, silent: bool, retry_after: float | None) -> str | None:
        """Why to give up, or None; `silent` when nothing answered at all."""
        patience = self.limits.patience
        if retry_after and retry_after > patience:
            return f"it asks to wait {retry_after:,.0f} s, more than the patience of {patience:g} s"
        if silent and not self.answers:
            patience = min(patience, _SILENT)
        span = time.monotonic() - self._failing[0]
        if len(self._failing) >= _FEWEST and span >= patience:
            return f"{len(self._failing)} failures in a row over {span:,.0f} s without an answer"
        return None

    async def _enter(self) -> None:
        if self._flying < int(self.width) and not self._waiting:
            self._flying += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # let in at the very moment it was given up
                self._flying -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self._flying < int(self.width):
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._flying += 1


class Pace:
    """How fast an endpoint writes, measured on its replies, and how long a call may therefore take.

    The speed is completion tokens over the seconds of the whole call: what others take of a shared server
    is in it, and so is the time in which the prompt is read.
    """

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._tokens = self._seconds = 0.0

    def answered(self, tokens: int, seconds: float) -> None:
        """Note a reply."""
        self._tokens = _FADING * self._tokens + tokens
        self._seconds = _FADING * self._seconds + seconds

    def limit(self, tokens: float, slow: int = 0) -> float:
        """Return the seconds that a call may take: `timeout`, or what the longest reply takes at this speed.

        Args:
            tokens: the most that the reply may have.
            slow: tries of this call that were too slow already; each doubles the time, since the speed of a
                call alone says little of the speed beside others.
        """
        expected = _SPARE * tokens * self._seconds / self._tokens if self._tokens else 0.0
        return min(LONGEST_TIMEOUT * self._timeout, max(self._timeout, expected) * 2.0**slow)


class _Rate:
    """Spreads units over time: `per_minute` of them, a second's worth at once."""

    def __init__(self, per_minute: int | None):
        self._cost = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def wait(self, units: float) -> float:
        """Book units; seconds until they may be used."""
        if not self._cost:
            return 0.0
        now = time.monotonic()
        start = max(self._free_at, now - _BURST)
        self._free_at = start + units * self._cost
        return max(0.0, start - now)

    def correct(self, surplus: float) -> None:
        """Book what a call took beyond its estimate, or give back what it did not."""
        self._free_at += surplus * self._cost


def backoff(tries: int) -> float:
    """Seconds to wait after that many failed tries: doubled each time, jittered over half its length."""
    return float(min(_LONGEST, _BACKOFF * 2.0 ** (tries - 1)) * random.uniform(0.5, 1))
