"""Limits that fit together, and requests per second."""

import pytest
from tutelage.graph.serving.limits import Limits, RateLimiter
from tutelage.graph.serving.refused import Refused
from tutelage.student.errors import InputError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def allowed(limiter: RateLimiter, address: str = "a") -> bool:
    try:
        limiter.take(address)
    except Refused:
        return False
    return True


def test_a_client_may_send_the_requests_of_one_second_at_once_and_then_that_many_per_second() -> None:
    clock = Clock()
    limiter = RateLimiter(2, clock)
    assert [allowed(limiter) for _ in range(3)] == [True, True, False]
    clock.now = 0.4
    assert not allowed(limiter)
    clock.now = 0.6
    assert [allowed(limiter) for _ in range(2)] == [True, False]
    clock.now = 100
    assert [allowed(limiter) for _ in range(3)] == [True, True, False]


def test_each_address_has_its_own_limit() -> None:
    limiter = RateLimiter(1, Clock())
    assert [allowed(limiter, one) for one in ("a", "b", "a")] == [True, True, False]


def test_the_client_is_told_how_long_to_wait() -> None:
    limiter = RateLimiter(0.1, Clock())
    limiter.take("a")
    with pytest.raises(Refused, match=r"more than 0\.1 requests per second; wait 10 s") as refused:
        limiter.take("a")
    assert (refused.value.status, refused.value.retry_after) == (429, 10)


def test_of_many_addresses_only_the_latest_are_remembered() -> None:
    limiter = RateLimiter(1, Clock(), most=2)
    assert [allowed(limiter, one) for one in ("a", "b", "c", "a", "c")] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(texts=10, queue=9), "--max-texts is 10 and --queue 9"),
        (Limits(rate=0), "--rate is 0; give"),
        (Limits(rate=float("nan")), "--rate is nan; give"),
    ],
)
def test_limits_that_cannot_work_are_refused(limits: Limits, words: str) -> None:
    with pytest.raises(InputError, match=words):
        limits.check()
