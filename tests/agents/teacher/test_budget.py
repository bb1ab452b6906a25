"""Test that calls stay within the budget."""

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.request import Reply, Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.budget import Budget

SCHEMA = labels_schema(("order_status", "return_refund"))
GOOD = '{"labels": [{"id": "1", "reason": "r", "label": "order_status", "confidence": 0.5}]}'


def labeling(text: str = "Where is my parcel?", seed: int = 0) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    return Request(
        "labeler", {"task": "", "labels": labels, "texts": [{"id": "1", "text": text}]}, SCHEMA, seed
    )


def unknown() -> Request:
    """Return a request that the rehearsal server answers with status 400."""
    return Request("labeler", {"task": "", "labels": {}}, SCHEMA, 0)


def test_a_spent_budget_refuses_the_next_call(scripted, teacher_at) -> None:
    url, log = scripted(GOOD, GOOD)
    teacher = teacher_at(url, budget=Budget(calls=1))
    assert teacher.refusal() is None
    teacher.ask([labeling(seed=1)])
    assert teacher.refusal() == "budget of 1 calls is spent"
    assert teacher.ask([labeling(seed=2)]) == [Reply(problems=["budget of 1 calls is spent"])]
    assert len(log) == 1


@pytest.mark.parametrize("budget", [Budget(tokens=1000), Budget(money=0.0025)])
def test_no_call_is_started_that_the_budget_does_not_cover(scripted, teacher_at, budget: Budget) -> None:
    url, log = scripted(*[GOOD] * 30)
    teacher = teacher_at(url, budget=budget, price_prompt=2.0, price_completion=10.0)
    replies = [teacher.ask([labeling(seed=seed)])[0] for seed in range(5)]
    replies += teacher.ask([labeling(seed=seed) for seed in range(5, 30)])
    spent = teacher.journal.spent()
    assert 5 <= spent["calls"] == len(log) < 30
    assert spent["prompt_tokens"] + spent["completion_tokens"] <= (budget.tokens or 10**9)
    assert spent["cost"] <= (budget.money or 10**9)
    assert "does not cover the next call" in replies[-1].problems[0]
    assert teacher.refusal() == replies[-1].problems[0]


def test_a_spent_budget_still_replays_paid_replies(scripted, teacher_at) -> None:
    teacher = teacher_at(scripted(GOOD)[0], budget=Budget(calls=1))
    assert teacher.ask([labeling()]) == teacher.ask([labeling()])


@pytest.mark.parametrize("field", ["max_tokens", "temperature"])
def test_the_budget_holds_even_if_replies_are_much_longer_than_estimated(
    scripted, teacher_at, field: str
) -> None:
    """Each reply takes 110 tokens; the budget pays for a tenth of what is requested at once."""
    url, log = scripted(*[GOOD] * 40)
    teacher = teacher_at(
        url,
        budget=Budget(tokens=1200),
        limits=Limits(concurrency=32),
        **{field: 1 if field == "temperature" else 60},
    )
    teacher.ask([labeling(seed=seed) for seed in range(40)])
    assert 110 * len(log) <= 1200


def test_a_budget_of_zero_minutes_refuses_the_first_call(scripted, teacher_at) -> None:
    url, log = scripted(GOOD)
    [reply] = teacher_at(url, budget=Budget(minutes=0)).ask([labeling()])
    assert reply == Reply(problems=["budget of 0 minutes is spent"])
    assert log == []


def test_concurrent_calls_do_not_exceed_the_budget(scripted, teacher_at) -> None:
    url, log = scripted(*[GOOD] * 8)
    teacher = teacher_at(url, budget=Budget(calls=2))
    replies = teacher.ask([labeling(seed=i) for i in range(8)])
    assert [bool(reply.items) for reply in replies] == [True] * 2 + [False] * 6
    assert replies[7].problems == ["budget of 2 calls is spent"]
    assert len(log) == 2


def test_a_repair_counts_as_a_call_against_the_budget(scripted, teacher_at) -> None:
    url, log = scripted("I am sorry.", GOOD)
    [reply] = teacher_at(url, budget=Budget(calls=1)).ask([labeling()])
    assert reply.items == []
    assert reply.problems[-1] == "budget of 1 calls is spent"
    assert len(log) == 1


def test_a_failed_call_does_not_use_up_the_budget(rehearsal, teacher_at) -> None:
    url, _ = rehearsal
    teacher = teacher_at(url, budget=Budget(calls=1))
    with pytest.raises(TeacherDownError):
        teacher.ask([unknown()])
    assert teacher.ask([labeling()])[0].items
