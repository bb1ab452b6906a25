"""The limits of a server: how much a request, a client and the queue may hold."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tutelage.graph.serving.refused import Refused
from tutelage.student.errors import InputError

_ADDRESSES = 10_000  # remembered clients; the one that was quiet longest is forgotten first


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        batch: the most texts that are predicted together.
        queue: the most texts that wait.
        texts: the most texts of a request.
        body: the most bytes of a request.
        rate: requests per second and client address; None for no limit.
        patience: seconds in which the body of a request has to arrive.
    """

    batch: int = 64
    queue: int = 1024
    texts: int = 256
    body: int = 1_000_000
    rate: float | None = None
    patience: float = 30.0

    def check(self) -> None:
        """Check that the limits fit together.

        Raises:
            InputError: a request may have more texts than may wait, so that it would always be refused.
        """
        if self.texts > self.queue:
            raise InputError(
                f"--max-texts is {self.texts} and --queue {self.queue}: the largest requests would never fit;"
                " raise --queue or lower --max-texts"
            )
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise InputError(f"--rate is {self.rate:g}; give requests per second above 0, e.g. 10")


class RateLimiter:
    """One token bucket per client address. A bucket holds the requests of one second, at least one."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic, most: int = _ADDRESSES):
        self._rate, self._clock, self._most = rate, clock, most
        self._full = max(1.0, rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # tokens, and when they were counted

    def take(self, address: str) -> None:
        """Take a token for a request.

        Raises:
            Refused: with status 429, none is left.
        """
        now = self._clock()
        tokens, before = self._buckets.pop(address, (self._full, now))
        tokens = min(self._full, tokens + (now - before) * self._rate)
        allowed = tokens >= 1
        self._buckets[address] = (tokens - allowed, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = math.ceil((1 - tokens) / self._rate)
            raise Refused(
                429,
                f"your address has sent more than {self._rate:g} requests per second; wait {wait} s, or send"
                " more texts in a request",
                retry_after=wait,
            )
