"""Test every kind of fault as a client meets it; the request alone decides which fault it gets."""

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from tutelage.agents.rehearsal.faults import ALL_KINDS, CONTENT_KINDS, Faults
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.teacher import Request
from tutelage.prompts import render

IDS = [*"123456"]


@pytest.fixture(scope="module")
def model(encoder, easy) -> RehearsalModel:
    return RehearsalModel(rehearsal=Rehearsal(easy, encoder.encode, behaviour=Behaviour(label_noise=0.0)))


def payload(easy, number: int = 0, count: int = 6) -> dict[str, Any]:
    """Return a labeler's payload with texts of both labels, different for each number."""
    rows = [easy[(7 * i + number) % len(easy)] for i in range(count)]
    texts = [{"id": str(i), "text": row["text"]} for i, row in enumerate(rows, 1)]
    return {"task": str(number), "labels": {"refund": "", "status": ""}, "texts": texts}


def body(easy, number: int = 0, count: int = 6, **options: Any) -> dict[str, Any]:
    system, user = render("labeler", payload(easy, number, count))
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": "rehearsal", "messages": messages, **options}


def post(url: str, asked: dict[str, Any], timeout: float = 5.0) -> tuple[int, Any, bytes]:
    """Send one request; return status, headers and body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(asked))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def choice_of(url: str, asked: dict[str, Any]) -> dict[str, Any]:
    return json.loads(post(url, asked)[2])["choices"][0]


def reply_of(field: str = "labels", count: int = 6) -> dict[str, Any]:
    """Return a choice whose reply has `count` items."""
    items = [{"id": str(i), "label": "refund", "verdict": "accept"} for i in range(1, count + 1)]
    message = {"role": "assistant", "content": json.dumps({field: items})}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}


def only(kind: Any, **options: Any) -> Faults:
    return Faults(share=1.0, kinds=(kind,), **options)


@pytest.mark.parametrize(
    ("kind", "status", "expected", "header"),
    [
        ("429", 429, b"rate_limit_exceeded", None),
        ("429 retry-after", 429, b"rate_limit_exceeded", "0.25"),
        ("500", 500, b"server_error", None),
        ("502", 502, b"<html>", None),
    ],
)
def test_a_failing_server_returns_its_status_code(
    model, easy, kind, status: int, expected: bytes, header
) -> None:
    with serve(model, faults=only(kind, retry_after=0.25)) as url:
        found, headers, data = post(url, body(easy))
    assert (found, headers["Retry-After"]) == (status, header)
    assert expected in data


def test_a_hanging_server_waits_until_the_client_times_out(model, easy) -> None:
    with serve(model, faults=only("hang", hang=30.0)) as url, pytest.raises(TimeoutError):
        post(url, body(easy), timeout=0.1)


def test_a_hanging_server_closes_the_connection_without_a_response(model, easy) -> None:
    faults = only("hang", hang=0.1)
    with serve(model, faults=faults) as url, pytest.raises(http.client.RemoteDisconnected):
        post(url, body(easy))


def test_a_hanging_response_does_not_block_server_shutdown(model, easy) -> None:
    with ThreadPoolExecutor() as pool:
        with serve(model, faults=(faults := only("hang", hang=0.8))) as url:
            hanging = pool.submit(post, url, body(easy))
            while not faults.injected:
                time.sleep(0.01)
            start = time.monotonic()
        assert time.monotonic() - start < 0.4
        assert isinstance(hanging.exception(), http.client.RemoteDisconnected)


def test_a_slow_drip_sends_small_parts_over_the_set_time(model, easy) -> None:
    with serve(model, faults=only("slow drip", drip=0.6)) as url:
        start = time.monotonic()
        status, _, data = post(url, body(easy), timeout=0.4)
        assert time.monotonic() - start > 0.55
    assert status == 200
    assert json.loads(data)["choices"]


def test_a_connection_is_reset(model, easy) -> None:
    with serve(model, faults=only("connection reset")) as url, pytest.raises(ConnectionResetError) as caught:
        post(url, body(easy))
    assert caught.type is ConnectionResetError, "an orderly close would raise a subclass"


def test_a_torn_body_is_shorter_than_its_content_length(model, easy) -> None:
    with serve(model, faults=only("torn body")) as url, pytest.raises(http.client.IncompleteRead) as caught:
        post(url, body(easy))
    assert caught.value.partial
    assert caught.value.expected > 0


def with_fault(kind: Any, choice: dict[str, Any] | None = None, seed: int = 0) -> dict[str, Any]:
    choice = choice or reply_of()
    assert only(kind, seed=seed).inject({"messages": []}, choice) == kind
    return choice


def items_of(choice: dict[str, Any], field: str = "labels") -> list[dict[str, Any]]:
    return json.loads(choice["message"]["content"])[field]


def ids_of(choice: dict[str, Any], field: str = "labels") -> list[str]:
    return [item["id"] for item in items_of(choice, field)]


@pytest.mark.parametrize("seed", range(20))
def test_a_truncated_reply_has_the_matching_finish_reason(seed: int) -> None:
    whole = reply_of()["message"]["content"]
    for kind, finish in (("truncated json", "length"), ("content filter", "content_filter")):
        choice = with_fault(kind, seed=seed)
        assert whole.startswith(choice["message"]["content"])
        assert (len(choice["message"]["content"]) < len(whole), choice["finish_reason"]) == (True, finish)


@pytest.mark.parametrize(
    ("field", "value", "wrong"),
    [
        ("labels", "label", "not refund"),
        ("drafts", "label", "not refund"),
        ("verdicts", "verdict", "not accept"),
    ],
)
def test_one_item_has_an_invalid_value(field: str, value: str, wrong: str) -> None:
    values = Counter(item[value] for item in items_of(with_fault("wrong label", reply_of(field)), field))
    assert values == {wrong: 1, wrong.removeprefix("not "): 5}


def test_prose_and_a_code_fence_surround_the_json() -> None:
    prose, fenced, more = with_fault("extra prose")["message"]["content"].split("```")
    assert json.loads(fenced.removeprefix("json")) == json.loads(reply_of()["message"]["content"])
    assert prose.strip()
    assert more.strip()


def test_an_empty_list_fault_returns_no_items() -> None:
    assert items_of(with_fault("empty list")) == []


@pytest.mark.parametrize("seed", range(20))
def test_items_are_duplicated_shuffled_or_missing(seed: int) -> None:
    doubled, moved, few = (
        ids_of(with_fault(kind, seed=seed)) for kind in ("duplicated samples", "changed order", "missing ids")
    )
    assert len(doubled) == 6 > len(set(doubled))
    assert moved != sorted(moved) == IDS
    assert few == sorted(set(few)) != IDS
    assert few


def test_a_refusal_is_in_the_content_or_in_the_refusal_field() -> None:
    forms = [with_fault("refusal", seed=seed)["message"] for seed in range(20)]
    messages = {(reply_schema["content"], reply_schema["refusal"]) for reply_schema in forms}
    assert messages == {
        ("I'm sorry, I can't help with that.", None),
        (None, "I'm sorry, I can't help with that."),
    }


def test_a_refusal_is_not_a_tool_call(model, easy) -> None:
    tool = {"type": "function", "function": {"name": "Labels", "parameters": {}}}
    with serve(model, faults=only("refusal")) as url:
        assert "tool_calls" not in choice_of(url, body(easy, tools=[tool]))["message"]


def test_content_faults_also_change_tool_calls(model, easy) -> None:
    tool = {"type": "function", "function": {"name": "Labels", "parameters": {}}}
    with serve(model, faults=only("missing ids")) as url:
        message = choice_of(url, body(easy, tools=[tool]))["message"]
    assert message["content"] is None
    assert 0 < len(json.loads(message["tool_calls"][0]["function"]["arguments"])["labels"]) < 6


@pytest.mark.parametrize("kind", CONTENT_KINDS)
def test_log_probability_tokens_match_the_faulty_reply(model, easy, kind) -> None:
    with serve(model, faults=only(kind)) as url:
        choice = choice_of(url, body(easy, logprobs=True))
    tokens = b"".join(bytes(token["bytes"]) for token in choice["logprobs"]["content"])
    assert tokens.decode() == (choice["message"]["content"] or "")


@pytest.mark.parametrize("kind", ["changed order", "duplicated samples", "missing ids"])
def test_a_single_item_cannot_be_duplicated_shuffled_or_missing(kind) -> None:
    assert only(kind).inject({"messages": []}, reply_of(count=1)) is None


@pytest.mark.parametrize("kind", ["changed order", "wrong label"])
def test_a_diagnosis_is_neither_reordered_nor_relabelled(kind) -> None:
    assert only(kind).inject({"messages": []}, reply_of("weaknesses")) is None


def drawn(faults: Faults, number: int) -> Any:
    return faults.inject({"messages": [{"role": "user", "content": str(number)}]}, reply_of())


def test_faults_occur_at_the_set_rate_and_of_every_kind() -> None:
    faults = Faults(share=0.25)
    hit = [kind for number in range(2000) if (kind := drawn(faults, number))]
    assert len(hit) == pytest.approx(500, abs=58)  # three standard errors
    assert faults.injected == Counter(hit)
    assert set(hit) == set(ALL_KINDS)


def test_a_share_of_zero_gives_no_faults() -> None:
    assert not any(drawn(Faults(share=0.0), number) for number in range(100))


def test_the_fault_of_a_request_does_not_depend_on_the_order_of_requests() -> None:
    one, other = Faults(share=0.5), Faults(share=0.5)
    forwards = {number: [drawn(one, number) for _ in range(3)] for number in range(50)}
    again = [*range(50)][::-1] * 3
    with ThreadPoolExecutor(8) as pool:
        backwards = [*zip(again, pool.map(lambda number: drawn(other, number), again), strict=True)]
    assert Counter((number, kind) for number in forwards for kind in forwards[number]) == Counter(backwards)
    assert one.injected == other.injected


def test_another_seed_gives_other_faults() -> None:
    one, other = Faults(share=0.5), Faults(share=0.5, seed=1)
    assert [drawn(one, n) for n in range(50)] != [drawn(other, n) for n in range(50)]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_repeated_request_is_answered_in_the_end(limit: int) -> None:
    faults = Faults(share=1.0, max_per_request=limit)
    assert [drawn(faults, 0) is not None for _ in range(5)] == [True] * limit + [False] * (5 - limit)
    assert drawn(faults, 1) is not None or limit == 0


def test_a_repair_counts_as_a_repetition_of_its_request(easy) -> None:
    asked = body(easy)
    faults = Faults(share=1.0, max_per_request=1)
    assert faults.inject(asked, reply_of())
    more = [{"role": "assistant", "content": "no"}, {"role": "user", "content": "Reply again."}]
    assert faults.inject({**asked, "messages": [*asked["messages"], *more]}, reply_of()) is None


def test_an_invalid_request_is_refused_whatever_the_faults(model) -> None:
    with serve(model, faults=(faults := Faults(share=1.0))) as url:
        status, _, _ = post(url, {"model": "rehearsal", "messages": [{"role": "user", "content": "Hello."}]})
    assert (status, faults.injected) == (400, {})


def test_the_teacher_repairs_every_content_fault(model, easy, teacher_at) -> None:
    reply_schema = labels_schema(("refund", "status"))
    requests = [Request("labeler", payload(easy, number), reply_schema, 0, IDS) for number in range(60)]
    with serve(model) as url:
        calm = teacher_at(url, journal="calm.sqlite").ask(requests)
    # The rest of a truncated reply is requested in other requests, which count as new ones here.
    kinds = [kind for kind in CONTENT_KINDS if kind != "truncated json"]
    with serve(model, faults=(faults := Faults(share=0.9, kinds=kinds, max_per_request=2))) as url:
        rough = teacher_at(url).ask(requests)
    assert set(faults.injected) == set(kinds)
    answers = [
        [{parsed.item.id: parsed.item.label for parsed in reply.parsed} for reply in run]
        for run in (calm, rough)
    ]
    assert answers[0] == answers[1]
    assert all(len(labels) == 6 for labels in answers[1])
