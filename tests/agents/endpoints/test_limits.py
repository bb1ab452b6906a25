"""Test the limits of concurrency and rate, and how long failures are tolerated."""

import asyncio
import time
from collections.abc import Callable

import pytest
from tutelage.agents.endpoints.limits import Limits, Pace, Throttle, backoff
from tutelage.agents.providers.models import LONGEST_TIMEOUT


async def measured(throttle: Throttle, calls: int, seconds: float = 0.0, tokens: float = 0.0) -> list[float]:
    """Return when each call began, in seconds after all were asked for."""
    starts: list[float] = []
    asked = time.monotonic()

    async def one() -> None:
        async with throttle.turn(tokens) as began:
            starts.append(began)
            await asyncio.sleep(seconds)
        throttle.answered()

    await asyncio.gather(*(one() for _ in range(calls)))
    return [start - asked for start in starts]


async def widest(throttle: Throttle, calls: int) -> int:
    """Return the maximum number of calls in flight at once."""
    in_flight = most = 0

    async def one() -> None:
        nonlocal in_flight, most
        async with throttle.turn(0):
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0.001)
            in_flight -= 1
        throttle.answered()

    await asyncio.gather(*(one() for _ in range(calls)))
    return most


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    assert asyncio.run(widest(Throttle(Limits(concurrency=5)), 40)) == 5


def test_a_burst_of_429s_lowers_concurrency_once_and_answers_raise_it_again() -> None:
    async def main() -> list[int]:
        throttle = Throttle(Limits(concurrency=16))
        begun = time.monotonic()
        for _ in range(10):  # all of these calls began before the first one was refused
            throttle.failed(begun, busy=True, retry_after=None)
        widths = [await widest(throttle, 24)]  # 24 answers: one fewer than raise the concurrency
        throttle.answered()
        widths.append(await widest(throttle, 24))
        throttle.failed(time.monotonic(), busy=True, retry_after=None)
        throttle.failed(time.monotonic(), busy=True, retry_after=None)  # this call began later: another burst
        return [*widths, await widest(throttle, 20)]

    assert asyncio.run(main()) == [12, 13, 7]


def test_other_failures_do_not_lower_concurrency() -> None:
    throttle = Throttle(Limits(concurrency=8))
    for _ in range(5):
        throttle.failed(time.monotonic(), busy=False, retry_after=None)
    assert asyncio.run(widest(throttle, 20)) == 8


def test_concurrency_never_falls_below_one() -> None:
    throttle = Throttle(Limits(concurrency=2))
    for _ in range(20):
        throttle.failed(time.monotonic(), busy=True, retry_after=None)
    assert asyncio.run(widest(throttle, 4)) == 1


def test_no_call_begins_before_a_retry_after_has_passed() -> None:
    async def main() -> float:
        throttle = Throttle(Limits())
        now = time.monotonic()
        throttle.failed(now, busy=True, retry_after=0.15)
        async with throttle.turn(0) as began:
            return began - now

    assert 0.15 <= asyncio.run(main()) < 1


@pytest.mark.parametrize(
    ("limits", "tokens"),
    [
        (Limits(concurrency=50, requests_per_minute=1200), 0.0),
        (Limits(concurrency=50, tokens_per_minute=120_000), 100.0),
    ],
    ids=["requests", "tokens"],
)
def test_calls_are_spread_over_the_minute_with_a_burst_of_one_second(limits: Limits, tokens: float) -> None:
    # Twenty a second: those of the first second at once, the other ten over half a second.
    starts = asyncio.run(measured(Throttle(limits), 31, tokens=tokens))
    assert max(starts[:20]) < 0.2
    assert 0.45 <= starts[30] < 1.5


def test_tokens_beyond_the_estimate_count_against_the_rate_limit() -> None:
    async def main() -> float:
        throttle = Throttle(Limits(tokens_per_minute=60_000))
        async with throttle.turn(10) as first:
            pass
        throttle.answered(surplus=1300)
        async with throttle.turn(10) as second:
            return second - first

    assert 0.25 <= asyncio.run(main()) < 1


def test_a_cancelled_waiting_call_takes_no_slot() -> None:
    async def main() -> int:
        throttle = Throttle(Limits(concurrency=1))

        async def hold(seconds: float) -> None:
            async with throttle.turn(0):
                await asyncio.sleep(seconds)

        first = asyncio.create_task(hold(0.05))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(hold(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        return await widest(throttle, 3)

    assert asyncio.run(main()) == 1


def failing(limits: Limits, seconds: float, *, answers: int = 0, times: int = 3) -> Callable[..., str | None]:
    """Return the method of a throttle that says whether to give up, after failures over some seconds."""
    throttle = Throttle(limits)
    for _ in range(answers):
        throttle.answered()
    for i in range(times):
        throttle.failed(time.monotonic(), busy=False, retry_after=None)
        time.sleep(seconds / times if i < times - 1 else 0)
    return throttle.give_up_reason


@pytest.mark.parametrize(("seconds", "times", "gives_up"), [(0.3, 3, True), (0.3, 2, False), (0.0, 9, False)])
def test_a_server_is_given_up_after_enough_failures_over_a_long_enough_time(
    seconds: float, times: int, gives_up: bool
) -> None:
    why = failing(Limits(patience=0.15), seconds, times=times)(silent=False, retry_after=None)
    assert bool(why) == gives_up
    assert not why or "3 failures in a row" in why


def test_a_wait_beyond_the_patience_is_refused() -> None:
    reason = failing(Limits(patience=60), 0, times=1)
    assert reason(silent=False, retry_after=59) is None
    assert reason(silent=False, retry_after=3600) == (
        "it asks to wait 3,600 s, more than the `patience` of 60 s"
    )


def test_backoff_grows_and_is_jittered() -> None:
    waits = [[backoff(tries) for _ in range(200)] for tries in (1, 2, 3, 20)]
    for found, longest in zip(waits, (0.5, 1, 2, 30), strict=True):
        assert longest / 2 <= min(found) < longest * 0.6
        assert longest * 0.9 < max(found) <= longest


def test_the_timeout_allows_the_longest_reply_up_to_a_maximum() -> None:
    pace = Pace(10.0)
    assert pace.limit(3000) == 10.0, "no reply was measured yet"
    pace.answered(200, 2.0)
    assert pace.limit(500) == 10.0
    assert pace.limit(3000) == pytest.approx(1.5 * 3000 / 100)
    assert pace.limit(3000, slow=1) == LONGEST_TIMEOUT * 10.0 == pace.limit(10**6)
    for _ in range(30):
        pace.answered(20, 2.0)
    assert pace.limit(300) == pytest.approx(1.5 * 300 / 10, rel=0.1), "earlier, faster replies count little"
