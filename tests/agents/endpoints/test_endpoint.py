"""Endpoints through HTTP: what they support is found out, what passes is tried again, the rest is told."""

import json
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.failures import read_failure
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.capabilities import Capabilities, remember, remembered
from tutelage.agents.rehearsal.faults import STATUS_KINDS, WIRE_KINDS, FaultKind, Faults
from tutelage.agents.rehearsal.rehearsal import Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.teacher import Teacher

FORM = labels_schema(("order_status", "return_refund"))


def labeling(seed: int = 0) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    texts = [{"id": "1", "text": "Where is my parcel?"}]
    return Request("labeler", {"task": "", "labels": labels, "texts": texts}, FORM, seed, ["1"])


@pytest.fixture(scope="module")
def model(encoder, shop) -> RehearsalModel:
    return RehearsalModel(rehearsal=Rehearsal(shop("teacher"), encoder.encode, label_noise=0.0))


def way(body: dict[str, Any]) -> tuple[str, bool, bool]:
    """How a request asks for its form, whether for log-probabilities, and whether with a seed."""
    form = (body.get("response_format") or {"type": "tools" if "tools" in body else "text"})["type"]
    return form, bool(body.get("logprobs")), "seed" in body


@pytest.mark.parametrize(
    ("offers", "settled"),
    [
        (Offers(), ("json_schema", True, True)),
        (Offers(json_schema=False), ("tools", True, True)),
        (Offers(json_schema=False, tools=False), ("json_object", True, True)),
        (Offers(json_schema=False, tools=False, json_object=False), ("text", True, True)),
        (Offers(logprobs=False), ("json_schema", False, True)),
        (Offers(seed=False, logprobs=False), ("json_schema", False, False)),
        (Offers(False, False, False, False, False, False), ("text", False, False)),
    ],
    ids=lambda value: (
        "-".join(name for name, there in vars(value).items() if not there)
        if isinstance(value, Offers)
        else ""
    ),
)
def test_what_a_server_does_not_support_is_given_up_once_and_the_rest_used(
    model: RehearsalModel, teacher_at: Callable[..., Teacher], offers: Offers, settled: tuple[str, bool, bool]
) -> None:
    log: list[dict[str, Any]] = []
    with serve(model, log=log, offers=offers) as url:
        replies = teacher_at(url).ask([labeling(seed) for seed in range(12)])
    assert [reply.items[0].label for reply in replies] == ["order_status"] * 12
    missing = sum(not there for name, there in vars(offers).items() if name != "usage")
    assert [way(body) for body in log[missing:]] == [settled] * 12
    assert (replies[0].parsed[0].probability is not None) == (settled[1] and settled[0] != "tools")


def test_the_first_call_goes_alone_and_the_others_together(model: RehearsalModel, teacher_at) -> None:
    flying: list[int] = []
    together: list[int] = []

    class Watched(RehearsalModel):
        """Notes how many questions it is asked at once."""

        def _generate(self, *arguments: Any, **options: Any) -> Any:
            flying.append(1)
            together.append(len(flying))
            time.sleep(0.05)
            flying.pop()
            return super()._generate(*arguments, **options)

    with serve(Watched(rehearsal=model.rehearsal)) as url:
        teacher_at(url, limits=Limits(concurrency=8)).ask([labeling(seed) for seed in range(25)])
    assert together[0] == together[1] == 1
    assert max(together) == 8
    assert sorted(together)[12] >= 4, "most were asked while others were"


def test_a_server_that_does_not_count_tokens_has_them_estimated(model: RehearsalModel, teacher_at) -> None:
    spent = []
    for usage in (True, False):
        with serve(model, offers=Offers(usage=usage)) as url:
            teacher = teacher_at(url, journal=f"{usage}.sqlite")
            teacher.ask([labeling()])
            spent.append(teacher.journal.spent())
    for name in ("prompt_tokens", "completion_tokens"):
        assert spent[0][name] < spent[1][name] < 2 * spent[0][name]  # characters / 4 and bytes / 3


def test_what_was_found_out_before_is_gone_by(model: RehearsalModel, teacher_at) -> None:
    log: list[dict[str, Any]] = []
    with serve(model, log=log) as url:
        remember("openai:rehearsal", url, Capabilities(("json_mode",), logprobs=False, seed=False))
        teacher_at(url).ask([labeling()])
        teacher_at(url, structured="function_calling", journal="other.sqlite").ask([labeling()])
    assert [way(body) for body in log] == [("json_object", False, False), ("tools", False, False)]


def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remembered("openai:m", None) is None
    remember("openai:m", None, Capabilities(("text",)))
    found = remembered("openai:m", None)
    assert found
    assert (found.modes, found.logprobs, len(found.probed)) == (("text",), True, 10)
    [path] = tmp_path.rglob("endpoints.json")
    for broken in ("", "[]", '{"openai:m": {"modes": ["shouting"]}}', '{"openai:m": 3}'):
        path.write_text(broken)
        assert remembered("openai:m", None) is None
    remember("openai:n", None, Capabilities())
    assert remembered("openai:n", None)


@pytest.mark.parametrize("kind", [*STATUS_KINDS, *WIRE_KINDS])
def test_a_fault_that_passes_is_waited_out(model: RehearsalModel, teacher_at, kind: FaultKind) -> None:
    faults = Faults(share=1, kinds=(kind,), stubborn=1, hang=3, drip=3, retry_after=0.1)
    events: list[dict[str, Any]] = []
    with serve(model, faults=faults) as url:
        replies = teacher_at(url, timeout=0.5, on_call=events.append).ask([labeling(seed) for seed in (1, 2)])
    assert [reply.items[0].label for reply in replies] == ["order_status"] * 2
    assert faults.injected[kind] == 2
    assert [event["tries"] for event in events] == [2, 2]


@pytest.mark.parametrize("kind", ["429", "500", "connection reset"])
def test_a_server_that_fails_on_and_on_is_given_up_saying_why(
    model: RehearsalModel, teacher_at, kind: FaultKind
) -> None:
    with serve(model, faults=Faults(share=1, kinds=(kind,), stubborn=99)) as url:
        teacher = teacher_at(url, limits=Limits(patience=0.5))
        with pytest.raises(TeacherDownError, match=r"\d failures in a row over 1 s .*; the last: ") as caught:
            teacher.ask([labeling(seed) for seed in range(3)])
    assert {"429": "429", "500": "500", "connection reset": "reset"}[kind] in str(caught.value)
    assert teacher.journal.spent()["calls"] == 0


def test_a_wait_longer_than_the_patience_is_told_at_once(model: RehearsalModel, teacher_at) -> None:
    faults = Faults(share=1, kinds=("429 retry-after",), retry_after=900)
    with serve(model, faults=faults) as url, pytest.raises(TeacherDownError, match="asks to wait 900 s"):
        teacher_at(url).ask([labeling()])


@pytest.mark.parametrize("kind", ["extra prose", "refusal", "content filter", "empty list"])
def test_a_reply_that_is_no_good_is_asked_for_again(
    model: RehearsalModel, teacher_at, kind: FaultKind
) -> None:
    faults = Faults(share=1, kinds=(kind,), stubborn=2)
    with serve(model, faults=faults) as url:
        teacher = teacher_at(url)
        [reply] = teacher.ask([labeling()])
    assert [item.label for item in reply.items] == ["order_status"]
    assert faults.injected[kind] == (1 if kind == "extra prose" else 2)
    assert teacher.journal.spent()["calls"] == (1 if kind == "extra prose" else 3)


def test_a_reply_that_stays_no_good_is_set_aside_with_its_text_in_the_journal(
    model: RehearsalModel, teacher_at, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    with serve(model) as url:
        teacher_at(url).ask([labeling(1)])  # the teacher is of use in general
    with serve(model, faults=Faults(share=1, kinds=("refusal",), stubborn=9)) as url:
        teacher = teacher_at(url, on_call=events.append)
        teacher.ask([labeling(1)])
        events.clear()
        [reply] = teacher.ask([labeling()])
    assert reply.items == []
    assert reply.problems == [
        "not a JSON object with the list 'labels': there is none",
        f"labels are missing for the ids 1 (it ended with {events[-1]['finish']!r})",
    ]
    assert [event["set_aside"] for event in events] == [False, False, True]
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
def test_what_no_waiting_mends_stops_at_once(
    scripted, teacher_at, answer: tuple[int, dict[str, Any]]
) -> None:
    url, log = scripted(answer, GOOD)
    with pytest.raises(TeacherDownError, match=answer[1]["error"]["message"]):
        teacher_at(url).ask([labeling()])
    assert len(log) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(400, "filtered", "content_filter"), "refused by the provider's content filter"),
        (refusal(400, "too long", "context_length_exceeded"), "refused: BadRequestError"),
    ],
    ids=["filtered", "too long"],
)
def test_a_call_that_is_refused_alone_is_set_aside(scripted, teacher_at, answer, said: str) -> None:
    url, log = scripted(GOOD, answer, GOOD)
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    replies = teacher.ask([labeling(seed) for seed in range(3)])
    assert [len(reply.items) for reply in replies] == [1, 0, 1]
    assert replies[1].problems[0].startswith(said)
    assert len(log) == 3


@pytest.mark.parametrize("first", [refusal(400, "too long", "context_length_exceeded"), refusal(400, "no")])
def test_the_first_call_may_be_the_one_that_is_refused(scripted, teacher_at, first) -> None:
    many = 1 if "too long" in str(first) else 7  # refused in every form there is
    url, log = scripted(*[first] * many, GOOD, GOOD)
    replies = teacher_at(url, limits=Limits(concurrency=1)).ask([labeling(seed) for seed in range(3)])
    assert [len(reply.items) for reply in replies] == [0, 1, 1]
    assert len(log) == many + 2


def test_a_call_that_is_refused_for_good_does_not_block_a_resumed_run(scripted, teacher_at) -> None:
    too_long = refusal(400, "too long", "context_length_exceeded")
    url, _ = scripted(GOOD, too_long, GOOD, too_long)
    asks = [labeling(seed) for seed in range(3)]
    for _ in range(2):  # the second time the refused call is the only one that is made
        replies = teacher_at(url, limits=Limits(concurrency=1)).ask(asks)
        assert [len(reply.items) for reply in replies] == [1, 0, 1]


def test_a_call_too_long_changes_nothing_for_the_others(scripted, teacher_at) -> None:
    words = "maximum context length is 8 tokens, you asked for 9: 5 in messages, 4 in functions"
    url, log = scripted(GOOD, refusal(400, words), GOOD)
    teacher_at(url, limits=Limits(concurrency=1)).ask([labeling(seed) for seed in range(3)])
    assert [way(body)[0] for body in log] == ["json_schema"] * 3


def test_log_probabilities_that_are_forbidden_are_done_without(scripted, teacher_at) -> None:
    """As OpenAI answers for its reasoning models."""
    forbidden = refusal(403, "You are not allowed to request logprobs from this model")
    url, log = scripted(forbidden, GOOD, GOOD)
    replies = teacher_at(url).ask([labeling(seed) for seed in range(2)])
    assert [len(reply.items) for reply in replies] == [1, 1]
    assert [way(body) for body in log] == [("json_schema", True, True), *[("json_schema", False, True)] * 2]


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
def test_what_is_no_completion_is_asked_for_again(scripted, teacher_at, odd: dict[str, Any]) -> None:
    url, log = scripted((200, {"id": "1", "model": "m", **odd}), GOOD)
    [reply] = teacher_at(url).ask([labeling()])
    assert reply.items
    assert len(log) == 2


@pytest.mark.parametrize(
    "logprobs", [[], {"content": None}, {"content": [{"logprob": -1}]}, {"content": [1]}]
)
def test_log_probabilities_in_another_form_are_none(scripted, teacher_at, logprobs: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": GOOD}, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    url, _ = scripted((200, {**body, "choices": [{**choice, "logprobs": logprobs}]}))
    [reply] = teacher_at(url).ask([labeling()])
    assert reply.parsed[0].probability is None


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
def test_a_wait_is_read_in_each_way_it_is_written(headers: dict[str, str], seconds: float | None) -> None:
    class Busy(Exception):  # noqa: N818
        """As the clients of several providers raise it."""

        status_code = 429

    if headers.get("retry-after") == "a date":
        headers = {"retry-after": formatdate(time.time() + 30, usegmt=True)}
    error = Busy("slow down")
    error.response = SimpleNamespace(status_code=429, headers=headers)  # type: ignore[attr-defined]
    found = read_failure(error)
    assert found.kind == "busy"
    assert found.retry_after == (None if seconds is None else pytest.approx(seconds, abs=2))


def test_a_call_that_alone_fails_on_and_on_is_set_aside(model: RehearsalModel, teacher_at) -> None:
    class Unlucky(Faults):
        """Fails one request for good."""

        def strike(self, body, choice, among=()):  # type: ignore[no-untyped-def]
            return "500" if body.get("seed") == 13 else None

    with serve(model, faults=Unlucky()) as url:
        teacher = teacher_at(url, limits=Limits(tries=3))
        begun = teacher.ask([labeling(13), *[labeling(seed) for seed in range(20, 23)]])
    assert [len(reply.items) for reply in begun] == [0, 1, 1, 1]
    assert "no answer in 3 tries, while others were answered" in begun[0].problems[0]


class Slow(RehearsalModel):
    """Takes its time, another one for each call."""

    waits: list[float]

    def _generate(self, *arguments: Any, **options: Any) -> Any:
        time.sleep(self.waits.pop(0) if self.waits else 0.0)
        return super()._generate(*arguments, **options)


def test_the_time_of_a_call_follows_the_speed_of_those_before(model: RehearsalModel, teacher_at) -> None:
    """The first reply has about 25 tokens in 0.4 s: a full-length one would take over ten seconds."""
    events: list[dict[str, Any]] = []
    with serve(Slow(rehearsal=model.rehearsal, waits=[0.4, 1.2])) as url:
        teacher = teacher_at(url, timeout=0.8, on_call=events.append)
        for seed in range(2):
            assert teacher.ask([labeling(seed)])[0].items
    assert [event["tries"] for event in events] == [1, 1]


def test_a_call_that_was_too_slow_gets_more_time_and_fewer_beside_it(
    model: RehearsalModel, teacher_at
) -> None:
    events: list[dict[str, Any]] = []
    with serve(Slow(rehearsal=model.rehearsal, waits=[1.2, 0.8])) as url:
        teacher = teacher_at(url, timeout=0.5, on_call=events.append, limits=Limits(concurrency=8))
        assert teacher.ask([labeling()])[0].items
        [endpoint] = teacher._endpoints.values()
        assert endpoint.throttle.width == 6
    assert [event["tries"] for event in events] == [2]


def test_a_server_that_is_too_slow_is_given_up_saying_what_to_change(
    model: RehearsalModel, teacher_at
) -> None:
    with serve(Slow(rehearsal=model.rehearsal, waits=[9.0] * 4)) as url:
        teacher = teacher_at(url, timeout=0.1, limits=Limits(patience=0.2))
        with pytest.raises(TeacherDownError, match="3 failures in a row") as caught:
            teacher.ask([labeling()])
    assert re.search(r"no whole reply \(up to \d+ tokens\) came within 0\.4 s", str(caught.value))
    assert "raise `timeout`, lower `concurrency`" in str(caught.value)
    assert "CancelledError" not in str(caught.value)
