"""Test that an endpoint retries temporary failures and reports permanent ones."""

import json
import re
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.failures import read_failure
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.rehearsal.faults import STATUS_KINDS, WIRE_KINDS, FaultKind, Faults
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema

SCHEMA = labels_schema(("order_status", "return_refund"))


def labeling(seed: int = 0) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    texts = [{"id": "1", "text": "Where is my parcel?"}]
    return Request("labeler", {"task": "", "labels": labels, "texts": texts}, SCHEMA, seed, ["1"])


@pytest.fixture(scope="module")
def model(encoder, shop) -> RehearsalModel:
    return RehearsalModel(
        rehearsal=Rehearsal(shop("teacher"), encoder.encode, behaviour=Behaviour(label_noise=0.0))
    )


@pytest.mark.parametrize("kind", [*STATUS_KINDS, *WIRE_KINDS])
def test_a_temporary_fault_is_retried(model: RehearsalModel, teacher_at, kind: FaultKind) -> None:
    faults = Faults(share=1, kinds=(kind,), max_per_request=1, hang=3, drip=3, retry_after=0.1)
    events: list[dict[str, Any]] = []
    with serve(model, faults=faults) as url:
        replies = teacher_at(url, timeout=0.5, on_call=events.append).ask([labeling(seed) for seed in (1, 2)])
    assert [reply.items[0].label for reply in replies] == ["order_status"] * 2
    assert faults.injected[kind] == 2
    assert [event["tries"] for event in events] == [2, 2]


@pytest.mark.parametrize("kind", ["429", "500", "connection reset"])
def test_a_server_that_keeps_failing_raises_an_error_with_the_reason(
    model: RehearsalModel, teacher_at, kind: FaultKind
) -> None:
    with serve(model, faults=Faults(share=1, kinds=(kind,), max_per_request=99)) as url:
        teacher = teacher_at(url, limits=Limits(patience=0.5))
        with pytest.raises(TeacherDownError, match=r"\d failures in a row over 1 s .*; the last: ") as caught:
            teacher.ask([labeling(seed) for seed in range(3)])
    assert {"429": "429", "500": "500", "connection reset": "reset"}[kind] in str(caught.value)
    assert teacher.journal.spent()["calls"] == 0


def test_a_retry_after_longer_than_the_patience_fails_at_once(model: RehearsalModel, teacher_at) -> None:
    faults = Faults(share=1, kinds=("429 retry-after",), retry_after=900)
    with serve(model, faults=faults) as url, pytest.raises(TeacherDownError, match="asks to wait 900 s"):
        teacher_at(url).ask([labeling()])


@pytest.mark.parametrize("kind", ["extra prose", "refusal", "content filter", "empty list"])
def test_an_unusable_reply_is_requested_again(model: RehearsalModel, teacher_at, kind: FaultKind) -> None:
    faults = Faults(share=1, kinds=(kind,), max_per_request=2)
    with serve(model, faults=faults) as url:
        teacher = teacher_at(url)
        [reply] = teacher.ask([labeling()])
    assert [item.label for item in reply.items] == ["order_status"]
    assert faults.injected[kind] == (1 if kind == "extra prose" else 2)
    assert teacher.journal.spent()["calls"] == (1 if kind == "extra prose" else 3)


def test_a_reply_that_stays_unusable_is_set_aside_and_its_text_journalled(
    model: RehearsalModel, teacher_at, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    with serve(model) as url:
        teacher_at(url).ask([labeling(1)])  # one usable reply, so that the teacher is not given up
    with serve(model, faults=Faults(share=1, kinds=("refusal",), max_per_request=9)) as url:
        teacher = teacher_at(url, on_call=events.append)
        teacher.ask([labeling(1)])
        events.clear()
        [reply] = teacher.ask([labeling()])
    assert reply.items == []
    assert reply.problems == [
        "not a JSON object with the list 'labels': there is none",
        f"labels are missing for the ids 1 (it ended with {events[-1]['finish']!r})",
    ]
    assert [event["incomplete"] for event in events] == [False, False, True]
    assert b"I'm sorry, I can't help with that." in (tmp_path / "journal.sqlite").read_bytes() + b"".join(
        path.read_bytes() for path in tmp_path.glob("journal.sqlite-wal")
    )


GOOD = json.dumps({"labels": [{"id": "1", "reason": "", "label": "order_status", "confidence": 1}]})


def refusal(status: int, message: str, code: str | None = None) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": "error", "param": None, "code": code}}


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "Incorrect API key provided", "invalid_api_key"),
        refusal(403, "Country not supported"),
        refusal(429, "You exceeded your current quota", "insufficient_quota"),
    ],
    ids=["wrong key", "forbidden", "no money left"],
)
def test_a_permanent_error_stops_at_once(scripted, teacher_at, answer: tuple[int, dict[str, Any]]) -> None:
    url, log = scripted(answer, GOOD)
    with pytest.raises(TeacherDownError, match=answer[1]["error"]["message"]):
        teacher_at(url).ask([labeling()])
    assert len(log) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal(400, "filtered", "content_filter"), "refused by the provider's content filter"),
        (refusal(400, "too long", "context_length_exceeded"), "refused: BadRequestError"),
    ],
    ids=["filtered", "too long"],
)
def test_a_single_refused_call_is_set_aside(scripted, teacher_at, answer, message: str) -> None:
    url, log = scripted(GOOD, answer, GOOD)
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    replies = teacher.ask([labeling(seed) for seed in range(3)])
    assert [len(reply.items) for reply in replies] == [1, 0, 1]
    assert replies[1].problems[0].startswith(message)
    assert len(log) == 3


@pytest.mark.parametrize("first", [refusal(400, "too long", "context_length_exceeded"), refusal(400, "no")])
def test_the_first_call_may_be_refused(scripted, teacher_at, first) -> None:
    many = 1 if "too long" in str(first) else 7  # refused in every reply format
    url, log = scripted(*[first] * many, GOOD, GOOD)
    replies = teacher_at(url, limits=Limits(concurrency=1)).ask([labeling(seed) for seed in range(3)])
    assert [len(reply.items) for reply in replies] == [0, 1, 1]
    assert len(log) == many + 2


def test_a_permanently_refused_call_does_not_block_a_resumed_run(scripted, teacher_at) -> None:
    too_long = refusal(400, "too long", "context_length_exceeded")
    url, _ = scripted(GOOD, too_long, GOOD, too_long)
    requests = [labeling(seed) for seed in range(3)]
    for _ in range(2):  # the second time only the refused call is made
        replies = teacher_at(url, limits=Limits(concurrency=1)).ask(requests)
        assert [len(reply.items) for reply in replies] == [1, 0, 1]


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": []},
        {"error": {"message": "upstream"}},
        {"object": "list"},
    ],
    ids=["no choices", "empty choices", "an error with status 200", "something else"],
)
def test_a_response_that_is_no_completion_is_requested_again(
    scripted, teacher_at, odd: dict[str, Any]
) -> None:
    url, log = scripted((200, {"id": "1", "model": "m", **odd}), GOOD)
    [reply] = teacher_at(url).ask([labeling()])
    assert reply.items
    assert len(log) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "a date"}, 30),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_every_retry_after_format_is_parsed(headers: dict[str, str], seconds: float | None) -> None:
    class Busy(Exception):  # noqa: N818
        """An error as the clients of several providers raise it."""

        status_code = 429

    if headers.get("retry-after") == "a date":
        headers = {"retry-after": formatdate(time.time() + 30, usegmt=True)}
    error = Busy("slow down")
    error.response = SimpleNamespace(status_code=429, headers=headers)  # type: ignore[attr-defined]
    found = read_failure(error)
    assert found.kind == "busy"
    assert found.retry_after == (None if seconds is None else pytest.approx(seconds, abs=2))


def test_a_single_call_that_keeps_failing_is_set_aside(model: RehearsalModel, teacher_at) -> None:
    class Unlucky(Faults):
        """Faults that fail one request for good."""

        def inject(self, body, choice, among=()):  # type: ignore[no-untyped-def]
            return "500" if body.get("seed") == 13 else None

    with serve(model, faults=Unlucky()) as url:
        teacher = teacher_at(url, limits=Limits(tries=3))
        begun = teacher.ask([labeling(13), *[labeling(seed) for seed in range(20, 23)]])
    assert [len(reply.items) for reply in begun] == [0, 1, 1, 1]
    assert "no answer in 3 tries, while others were answered" in begun[0].problems[0]


class Slow(RehearsalModel):
    """A rehearsal model that waits before each reply for the next of `waits`, in seconds."""

    waits: list[float]

    def _generate(self, *arguments: Any, **options: Any) -> Any:
        time.sleep(self.waits.pop(0) if self.waits else 0.0)
        return super()._generate(*arguments, **options)


def test_the_timeout_of_a_call_follows_the_speed_of_earlier_calls(model: RehearsalModel, teacher_at) -> None:
    """The first reply has about 25 tokens in 0.4 s: a full-length one would take over ten seconds."""
    events: list[dict[str, Any]] = []
    with serve(Slow(rehearsal=model.rehearsal, waits=[0.4, 1.2])) as url:
        teacher = teacher_at(url, timeout=0.8, on_call=events.append)
        for seed in range(2):
            assert teacher.ask([labeling(seed)])[0].items
    assert [event["tries"] for event in events] == [1, 1]


def test_a_call_that_timed_out_gets_more_time_and_lower_concurrency(
    model: RehearsalModel, teacher_at
) -> None:
    events: list[dict[str, Any]] = []
    with serve(Slow(rehearsal=model.rehearsal, waits=[1.2, 0.8])) as url:
        teacher = teacher_at(url, timeout=0.5, on_call=events.append, limits=Limits(concurrency=8))
        assert teacher.ask([labeling()])[0].items
        [endpoint] = teacher._endpoints.values()
        assert endpoint.throttle.width == 6
    assert [event["tries"] for event in events] == [2]


def test_a_server_that_is_too_slow_raises_an_error_that_says_what_to_change(
    model: RehearsalModel, teacher_at
) -> None:
    with serve(Slow(rehearsal=model.rehearsal, waits=[9.0] * 4)) as url:
        teacher = teacher_at(url, timeout=0.1, limits=Limits(patience=0.2))
        with pytest.raises(TeacherDownError, match="3 failures in a row") as caught:
            teacher.ask([labeling()])
    assert re.search(r"no whole reply \(up to \d+ tokens\) came within 0\.4 s", str(caught.value))
    assert "raise `timeout`, lower `concurrency`" in str(caught.value)
    assert "CancelledError" not in str(caught.value)
