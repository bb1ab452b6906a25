"""Test that malformed replies are repaired, and that a teacher without usable replies is given up."""

import json

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema

SCHEMA = labels_schema(("order_status", "return_refund"))
GOOD = '{"labels": [{"id": "1", "reason": "r", "label": "order_status", "confidence": 0.5}]}'


def labeling(text: str = "Where is my parcel?", seed: int = 0) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    return Request(
        "labeler", {"task": "", "labels": labels, "texts": [{"id": "1", "text": text}]}, SCHEMA, seed
    )


def test_a_malformed_reply_is_repaired(scripted, teacher_at) -> None:
    url, log = scripted("I am sorry.", '{"labels": [', GOOD)
    teacher = teacher_at(url)
    [reply] = teacher.ask([labeling()])
    assert [item.id for item in reply.items] == ["1"]
    assert reply.problems == []
    assert teacher.journal.spent()["calls"] == 3
    assert [len(body["messages"]) for body in log] == [2, 4, 6]
    assert log[1]["messages"][2] == {"role": "assistant", "content": "I am sorry."}
    assert log[1]["messages"][3]["content"].startswith(
        "That reply cannot be used as it is: not a JSON object with the list 'labels': there is none;"
        " labels are missing"
    )


def test_a_repaired_reply_has_the_id_of_the_repairing_call(scripted, teacher_at) -> None:
    events: list[dict[str, object]] = []
    [reply] = teacher_at(scripted("I am sorry.", GOOD)[0], on_call=events.append).ask([labeling()])
    assert reply.parsed[0].call == events[1]["call"] != events[0]["call"]


def test_a_reply_that_stays_malformed_is_returned_empty_with_the_problem(scripted, teacher_at) -> None:
    url, log = scripted(GOOD, "no", "no", "no", GOOD)
    teacher = teacher_at(url)
    teacher.ask([labeling(seed=1)])
    [reply] = teacher.ask([labeling()])
    assert reply.items == []
    assert reply.problems[0].startswith("not a JSON object with the list 'labels'")
    assert len(log) == 4


def test_a_teacher_is_given_up_after_three_unusable_replies(scripted, teacher_at) -> None:
    wrong = GOOD.replace("order_status", "weather")
    url, log = scripted(*[wrong] * 20)
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    with pytest.raises(
        TeacherDownError, match="gives no usable replies as the labeler: none of its first 3"
    ) as caught:
        teacher.ask([labeling(seed=seed) for seed in range(5)])
    assert len(log) == 3
    assert '\'{"labels": [{"id": "1"' in str(caught.value), "what came back"
    assert "labels[0].label: Input should be 'order_status' or 'return_refund'" in str(caught.value)
    assert "use a stronger model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_waiting_calls_are_not_made_after_a_teacher_is_given_up(scripted, teacher_at) -> None:
    url, log = scripted(*["no"] * 60)
    with pytest.raises(TeacherDownError, match="gives no usable replies"):
        teacher_at(url, limits=Limits(concurrency=2)).ask([labeling(seed=seed) for seed in range(20)])
    assert len(log) <= 4


def test_a_resumed_run_tries_a_teacher_again_that_was_given_up(scripted, teacher_at) -> None:
    url, log = scripted(*["no"] * 5, GOOD, GOOD, GOOD)
    requests = [labeling(seed=seed) for seed in range(3)]
    first = teacher_at(url, limits=Limits(concurrency=1))
    with pytest.raises(TeacherDownError, match="gives no usable replies"):
        first.ask(requests)
    first.close()
    assert len(log) == 3
    replies = teacher_at(url, limits=Limits(concurrency=1)).ask(requests)
    assert [len(reply.items) for reply in replies] == [1, 1, 1]
    assert len(log) == 8


def test_one_usable_reply_is_enough_to_continue(scripted, teacher_at) -> None:
    url, log = scripted("no", "no", GOOD, *["no"] * 3, GOOD)
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    replies = teacher.ask([labeling(seed=seed) for seed in range(3)])
    assert [len(reply.items) for reply in replies] == [1, 0, 1]
    assert len(log) == 7


def test_a_partly_valid_reply_is_not_requested_again(scripted, teacher_at) -> None:
    items = [*json.loads(GOOD)["labels"], {"id": "2", "reason": "r", "label": "weather", "confidence": 1}]
    url, log = scripted(json.dumps({"labels": items}))
    [reply] = teacher_at(url).ask([labeling()])
    assert [item.id for item in reply.items] == ["1"]
    assert reply.problems[0].startswith("labels[1].label")
    assert len(log) == 1
