"""Test which features the rehearsal server offers and refuses, with the real OpenAI clients."""

import http.client
import json
import math
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from langchain_openai import ChatOpenAI
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.prompts import render
from tutelage.student.data.rows import Row, content_id

TEXTS = {"l'été\u2028à la plage ☀️": "été", "la neige tombe ❄": "hiver 🎿"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "Labels", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "Labels", "parameters": {"type": "object"}}}
FORCED = {"type": "function", "function": {"name": "Labels"}}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def model(encoder) -> RehearsalModel:
    rows = [Row(id=content_id(text), text=text, label=label) for text, label in TEXTS.items()]
    return RehearsalModel(rehearsal=Rehearsal(rows, encoder.encode, behaviour=Behaviour(label_noise=0.0)))


def question(*texts: str, **options: Any) -> dict[str, Any]:
    """Return a chat request to label texts."""
    shown = [{"id": str(i), "text": text} for i, text in enumerate(texts or TEXTS, 1)]
    payload = {"task": "", "labels": dict.fromkeys(TEXTS.values(), ""), "texts": shown}
    system, user = render("labeler", payload)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": "rehearsal", "messages": messages, **options}


def ask(url: str, **options: Any) -> Any:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        return client.chat.completions.create(**question(**options))


def labels_in(text: str) -> list[str]:
    return [entry["label"] for entry in json.loads(text)["labels"]]


@pytest.mark.parametrize(
    ("lacking", "options", "field"),
    [
        ("json_schema", {"response_format": SCHEMA}, "response_format"),
        ("json_object", {"response_format": {"type": "json_object"}}, "response_format"),
        ("tools", {"tools": [TOOL]}, "tools"),
        ("logprobs", {"logprobs": True}, "logprobs"),
        ("seed", {"seed": 0}, "seed"),
    ],
)
def test_an_unsupported_feature_is_refused_by_name_and_other_requests_answered(
    model, lacking, options, field
) -> None:
    with serve(model, offers=Offers(**{lacking: False})) as url:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(url, **options)
        assert labels_in(ask(url).choices[0].message.content) == [*TEXTS.values()]
    assert (caught.value.param, caught.value.code) == (field, "unsupported_parameter")
    assert f"'{field}'" in caught.value.message
    with serve(model) as url:
        assert ask(url, **options).choices


def test_usage_is_reported_only_where_it_is_offered(model) -> None:
    with serve(model) as url:
        usage = ask(url).usage
    assert usage.prompt_tokens > usage.completion_tokens > 0
    assert usage.prompt_tokens_details.cached_tokens == 0
    with serve(model, offers=Offers(usage=False)) as url:
        assert ask(url).usage is None


@pytest.mark.parametrize(
    ("choice", "finish"), [(FORCED, "stop"), ("required", "tool_calls"), ("auto", "tool_calls")]
)
def test_a_tool_call_contains_the_reply(model, choice, finish: str) -> None:
    with serve(model) as url:
        reply = ask(url, tools=[TOOL], tool_choice=choice, logprobs=True).choices[0]
    [call] = reply.message.tool_calls
    assert (call.type, call.function.name) == ("function", "Labels")
    assert labels_in(call.function.arguments) == [*TEXTS.values()]
    assert (reply.message.content, reply.finish_reason, reply.logprobs) == (None, finish, None)


def test_tool_choice_none_gives_no_tool_call(model) -> None:
    with serve(model) as url:
        reply = ask(url, tools=[TOOL], tool_choice="none").choices[0]
    assert reply.message.tool_calls is None
    assert labels_in(reply.message.content) == [*TEXTS.values()]


def test_token_bytes_add_up_to_the_reply(model) -> None:
    with serve(model) as url:
        reply = ask(url, logprobs=True, top_logprobs=0).choices[0]
        assert ask(url).choices[0].logprobs is None
    tokens = reply.logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens) == reply.message.content.encode()
    assert "".join(token.token for token in tokens) != reply.message.content, "a character is split"
    assert min(token.logprob for token in tokens) < 0 == max(token.logprob for token in tokens)


def test_langchain_reads_the_tool_call_and_the_logprobs(model) -> None:
    messages = [(message["role"], message["content"]) for message in question()["messages"]]
    with serve(model) as url:
        client = ChatOpenAI(model="rehearsal", base_url=url, api_key="none", max_retries=0)
        called = client.invoke(messages, tools=[TOOL], tool_choice=FORCED)
        measured = client.invoke(messages, logprobs=True)
    assert [entry["label"] for entry in called.tool_calls[0]["args"]["labels"]] == [*TEXTS.values()]
    logprobs = [token["logprob"] for token in measured.response_metadata["logprobs"]["content"]]
    stated = [entry["confidence"] for entry in json.loads(measured.text)["labels"]]
    assert sum(logprobs) == pytest.approx(sum(math.log(c) / 2 for c in stated))


def test_a_connection_stays_open_for_the_next_request(model) -> None:
    with serve(model) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        opened = set()
        for _ in range(3):
            connection.request("POST", CHAT, json.dumps(question()))
            assert connection.getresponse().read()
            opened.add(connection.sock.getsockname())
        connection.close()
    assert len(opened) == 1


def test_an_unknown_path_returns_404(model) -> None:
    with serve(model) as url, openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match=r"POST /v1/embeddings"):
            client.embeddings.create(model="rehearsal", input="x")
        with pytest.raises(openai.NotFoundError, match=r"GET /v1/fine_tuning/jobs"):
            client.fine_tuning.jobs.list()
