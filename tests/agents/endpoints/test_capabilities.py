"""Test that an endpoint finds out which features a server supports, and remembers them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.capabilities import Capabilities, remember, remembered
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.teacher import Teacher

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


def sent_as(body: dict[str, Any]) -> tuple[str, bool, bool]:
    """Return the reply format of a request, and whether it asks for log-probabilities and has a seed."""
    mode = (body.get("response_format") or {"type": "tools" if "tools" in body else "text"})["type"]
    return mode, bool(body.get("logprobs")), "seed" in body


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
def test_unsupported_features_are_dropped_once_and_the_others_still_used(
    model: RehearsalModel, teacher_at: Callable[..., Teacher], offers: Offers, settled: tuple[str, bool, bool]
) -> None:
    log: list[dict[str, Any]] = []
    with serve(model, log=log, offers=offers) as url:
        replies = teacher_at(url).ask([labeling(seed) for seed in range(12)])
    assert [reply.items[0].label for reply in replies] == ["order_status"] * 12
    missing = sum(not there for name, there in vars(offers).items() if name != "usage")
    assert [sent_as(body) for body in log[missing:]] == [settled] * 12
    assert (replies[0].parsed[0].probability is not None) == (settled[1] and settled[0] != "tools")


def test_the_first_call_is_sent_alone_and_the_others_concurrently(model: RehearsalModel, teacher_at) -> None:
    in_flight: list[int] = []
    together: list[int] = []

    class Watched(RehearsalModel):
        """A rehearsal model that records how many calls it has at once."""

        def _generate(self, *arguments: Any, **options: Any) -> Any:
            in_flight.append(1)
            together.append(len(in_flight))
            time.sleep(0.05)
            in_flight.pop()
            return super()._generate(*arguments, **options)

    with serve(Watched(rehearsal=model.rehearsal)) as url:
        teacher_at(url, limits=Limits(concurrency=8)).ask([labeling(seed) for seed in range(25)])
    assert together[0] == together[1] == 1
    assert max(together) == 8
    assert sorted(together)[12] >= 4, "most were asked while others were"


def test_tokens_are_estimated_if_the_server_does_not_count_them(model: RehearsalModel, teacher_at) -> None:
    spent = []
    for usage in (True, False):
        with serve(model, offers=Offers(usage=usage)) as url:
            teacher = teacher_at(url, journal=f"{usage}.sqlite")
            teacher.ask([labeling()])
            spent.append(teacher.journal.spent())
    for name in ("prompt_tokens", "completion_tokens"):
        assert spent[0][name] < spent[1][name] < 2 * spent[0][name]  # characters / 4 and bytes / 3


def test_remembered_capabilities_are_used_without_probing(model: RehearsalModel, teacher_at) -> None:
    log: list[dict[str, Any]] = []
    with serve(model, log=log) as url:
        remember(f"openai:rehearsal at {url}", Capabilities(("json_mode",), logprobs=False, seed=False))
        teacher_at(url).ask([labeling()])
        teacher_at(url, structured="function_calling", journal="other.sqlite").ask([labeling()])
    assert [sent_as(body) for body in log] == [("json_object", False, False), ("tools", False, False)]


def test_an_unreadable_capability_cache_is_ignored(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remembered("openai:m") is None
    remember("openai:m", Capabilities(("text",)))
    found = remembered("openai:m")
    assert found
    assert (found.modes, found.logprobs, len(found.probed)) == (("text",), True, 10)
    [path] = tmp_path.rglob("endpoints.json")
    for broken in ("", "[]", '{"openai:m": {"modes": ["shouting"]}}', '{"openai:m": 3}'):
        path.write_text(broken)
        assert remembered("openai:m") is None
    remember("openai:n", Capabilities())
    assert remembered("openai:n")


GOOD = json.dumps({"labels": [{"id": "1", "reason": "", "label": "order_status", "confidence": 1}]})


def refusal(status: int, message: str, code: str | None = None) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": "error", "param": None, "code": code}}


def test_a_call_that_is_too_long_does_not_change_how_others_are_sent(scripted, teacher_at) -> None:
    words = "maximum context length is 8 tokens, you asked for 9: 5 in messages, 4 in functions"
    url, log = scripted(GOOD, refusal(400, words), GOOD)
    teacher_at(url, limits=Limits(concurrency=1)).ask([labeling(seed) for seed in range(3)])
    assert [sent_as(body)[0] for body in log] == ["json_schema"] * 3


def test_forbidden_log_probabilities_are_no_longer_requested(scripted, teacher_at) -> None:
    """OpenAI answers like this for its reasoning models."""
    forbidden = refusal(403, "You are not allowed to request logprobs from this model")
    url, log = scripted(forbidden, GOOD, GOOD)
    replies = teacher_at(url).ask([labeling(seed) for seed in range(2)])
    assert [len(reply.items) for reply in replies] == [1, 1]
    assert [sent_as(body) for body in log] == [
        ("json_schema", True, True),
        *[("json_schema", False, True)] * 2,
    ]


@pytest.mark.parametrize(
    "logprobs", [[], {"content": None}, {"content": [{"logprob": -1}]}, {"content": [1]}]
)
def test_malformed_log_probabilities_are_ignored(scripted, teacher_at, logprobs: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": GOOD}, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    url, _ = scripted((200, {**body, "choices": [{**choice, "logprobs": logprobs}]}))
    [reply] = teacher_at(url).ask([labeling()])
    assert reply.parsed[0].probability is None
