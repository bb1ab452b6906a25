"""Test a teacher of another provider: Anthropic's client against a server that speaks its protocol."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.reply_cap import reply_cap
from tutelage.agents.teacher.settings import TeacherSettings
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.errors import InputError

KEY = "sk-ant-very-secret-1234567890"
SCHEMA = labels_schema(("refund", "status"))
ITEM = {"id": "1", "reason": "möchte Geld zurück", "label": "refund", "confidence": 0.9}
GOOD = json.dumps({"labels": [ITEM]}, ensure_ascii=False)
BUSY = (429, "rate_limit_error", "slow down", {"retry-after": "0.4"})
OVERLOADED = (529, "overloaded_error", "Overloaded", {})

PLAIN = ModelSpec(model="anthropic:claude-x")

ScriptedReply = (
    str | tuple[int, str, str, dict[str, str]]
)  # what the model says, or status, type, words, headers


class Claude(ThreadingHTTPServer):
    """A server that sends the given replies in turn and refuses what is not in Anthropic's protocol."""

    def __init__(self, replies: list[ScriptedReply], *, output_format: bool = True):
        self.replies, self.output_format = replies, output_format
        self.log: list[dict[str, Any]] = []
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wrong(self, headers: Any, body: dict[str, Any]) -> ScriptedReply | None:
        if KEY not in (headers["x-api-key"], headers["authorization"].removeprefix("Bearer ")):
            return 401, "authentication_error", "invalid x-api-key", {}
        if not headers["anthropic-version"]:
            return 400, "invalid_request_error", "anthropic-version: header is required", {}
        known = {"model", "messages", "max_tokens", "system", "temperature", "tools", "tool_choice"}
        known |= {"output_config"} if self.output_format else set()
        for name in body.keys() - known:
            return 400, "invalid_request_error", f"{name}: Extra inputs are not permitted", {}
        if "max_tokens" not in body:
            return 400, "invalid_request_error", "max_tokens: Field required", {}
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        if schema and '"minimum"' in json.dumps(schema):
            return 400, "invalid_request_error", "For 'number' type, 'minimum' is not supported", {}
        return None


class _Handler(BaseHTTPRequestHandler):
    server: Claude

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.log.append({**body, "at": time.monotonic(), "path": self.path})
        reply = self.server.wrong(self.headers, body) or self.server.replies.pop(0)
        if reply == "hang":
            self.server.over.wait(10)
        elif isinstance(reply, tuple):
            status, kind, words, headers = reply
            error = {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}
            self._send(status, error, headers)
        else:
            self._send(200, _message(body, reply), {})

    def _send(self, status: int, reply: dict[str, Any], headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _message(body: dict[str, Any], text: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    stop = "end_turn" if text.endswith(("}", ".")) else "max_tokens" if text else "refusal"
    if (choice := body.get("tool_choice")) and stop == "end_turn":
        content, stop = (
            [{"type": "tool_use", "id": "toolu_1", "name": choice["name"], "input": json.loads(text)}],
            "tool_use",
        )
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]}
    usage = {"input_tokens": 60, "cache_read_input_tokens": 40, "output_tokens": 20}
    return {**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}


@pytest.fixture
def claude(tmp_path: Path, monkeypatch) -> Iterator[Callable[..., tuple[Claude, Teacher]]]:
    """Return a function that starts a server, and a teacher that calls it."""
    monkeypatch.setenv("CLAUDE_KEY", KEY)
    with ExitStack() as stack:

        def start(
            *replies: ScriptedReply, limits: Limits | None = None, output_format: bool = True, **fields: Any
        ) -> tuple[Claude, Teacher]:
            server = stack.enter_context(Claude(list(replies), output_format=output_format))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
            fields = {"base_url": server.url, "api_key_env": "CLAUDE_KEY", **fields}
            spec = ModelSpec(model="anthropic:claude-x", **fields)
            journal = Journal(tmp_path / "j.sqlite")
            teacher = Teacher(
                {"labeler": spec}, make_model, journal, TeacherSettings(limits=limits or Limits())
            )
            stack.callback(teacher.close)
            stack.callback(server.over.set)
            return server, teacher

        yield start


def labeling(seed: int = 0) -> Request:
    labels = {"refund": "", "status": ""}
    return Request(
        "labeler", {"task": "", "labels": labels, "texts": [{"id": "1", "text": "money"}]}, SCHEMA, seed
    )


def test_a_call_sends_the_schema_and_model_settings_and_is_charged_by_tokens(claude) -> None:
    prices = {"price_prompt": 3.0, "price_completion": 15.0}
    server, teacher = claude(GOOD, temperature=0.5, max_tokens=77, **prices)
    [reply] = teacher.ask([labeling()])
    assert [item.model_dump() for item in reply.items] == [ITEM]
    assert reply.problems == []
    [body] = server.log
    assert body["path"] == "/v1/messages"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("claude-x", 0.5, 77)
    assert body["output_config"]["format"]["schema"]["title"] == "Labels"
    assert body["system"].startswith("You label texts.")
    assert [message["role"] for message in body["messages"]] == ["user"]
    spent = teacher.journal.spent()
    assert (spent["calls"], spent["prompt_tokens"], spent["completion_tokens"]) == (1, 100, 20)
    assert 0 < spent["cost"] <= (100 * 3 + 20 * 15) / 1e6


def test_without_log_probabilities_the_stated_confidence_is_used(claude) -> None:
    [reply] = claude(GOOD, logprobs=True)[1].ask([labeling()])
    assert [(parsed.probability, parsed.item.confidence) for parsed in reply.parsed] == [(None, 0.9)]


def test_a_model_without_json_schema_support_is_asked_by_a_forced_tool_call(claude) -> None:
    server, teacher = claude(GOOD, GOOD, output_format=False)
    replies = [teacher.ask([labeling(seed)])[0] for seed in range(2)]
    assert [len(reply.items) for reply in replies] == [1, 1]
    refused, first, second = server.log
    assert "output_config" in refused
    assert first["tool_choice"] == second["tool_choice"] == {"type": "tool", "name": "Labels"}
    assert first["tools"][0]["input_schema"]["required"] == ["labels"]


@pytest.mark.parametrize("structured", ["json_schema", "function_calling", "text"])
def test_every_structured_mode_returns_the_item(claude, structured: str) -> None:
    server, teacher = claude(GOOD, structured=structured)
    assert teacher.ask([labeling()])[0].items[0].label == "refund"
    assert ("tools" in server.log[0]) == (structured == "function_calling")


@pytest.mark.parametrize("structured", ["json_schema", "function_calling"])
def test_a_refusal_is_requested_again_with_what_was_wrong(claude, structured: str) -> None:
    server, teacher = claude("", GOOD, structured=structured)
    [reply] = teacher.ask([labeling()])
    assert [item.label for item in reply.items] == ["refund"]
    assert "it ended with 'refusal'" in server.log[1]["messages"][-1]["content"]
    assert teacher.journal.spent()["calls"] == 2


@pytest.mark.parametrize("structured", ["json_schema", "function_calling", "text"])
def test_a_reply_cut_at_its_cap_is_requested_afresh_with_a_higher_cap(claude, structured: str) -> None:
    server, teacher = claude(GOOD[:30], GOOD, structured=structured)
    [reply] = teacher.ask([labeling()])
    assert [item.label for item in reply.items] == ["refund"]
    first, second = server.log
    assert second["max_tokens"] == 2 * first["max_tokens"] == 2 * reply_cap(labeling(), PLAIN)
    assert len(second["messages"]) == 1
    assert teacher.journal.spent()["calls"] == 2


def test_a_retry_after_header_is_respected(claude) -> None:
    server, teacher = claude(BUSY, GOOD)
    assert teacher.ask([labeling()])[0].items
    first, second = (body["at"] for body in server.log)
    assert 0.4 <= second - first < 5


def test_an_overloaded_server_is_retried(claude) -> None:
    server, teacher = claude(OVERLOADED, GOOD)
    assert teacher.ask([labeling()])[0].items
    assert len(server.log) == 2


def test_a_hanging_call_times_out_and_is_retried(claude) -> None:
    server, teacher = claude("hang", GOOD, timeout=0.5)
    assert teacher.ask([labeling()])[0].items
    assert len(server.log) == 2


def test_a_wrong_key_fails_at_once_and_is_not_shown(claude, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-ant-other-secret-1234567890")
    server, teacher = claude(GOOD, api_key_env="OTHER_KEY")
    with pytest.raises(TeacherDownError, match="invalid x-api-key") as caught:
        teacher.ask([labeling()])
    assert len(server.log) == 1
    assert "other-secret" not in str(caught.value)


def test_an_unreachable_server_is_reported_with_its_url(claude) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(TeacherDownError, match=f"anthropic:claude-x at {url} gave no answer") as caught:
        claude(base_url=url, limits=Limits(patience=0.2))[1].ask([labeling()])
    assert "Connect call failed" in str(caught.value)


def test_the_api_key_is_not_written_to_disk(claude, tmp_path: Path) -> None:
    _, teacher = claude(GOOD, (400, "invalid_request_error", f"bad key {KEY}", {}))
    teacher.ask([labeling(1)])
    [refused] = teacher.ask([labeling(2)])
    assert refused.problems[0].startswith("refused")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"claude-x" in written
    assert KEY.encode() not in written
    assert KEY not in refused.problems[0]


def test_a_provider_without_its_package_is_reported_with_the_package_name() -> None:
    with pytest.raises(InputError, match=r"'together:x' cannot be set up: .*langchain-together"):
        make_model(ModelSpec(model="together:x"))


def test_an_unknown_provider_is_reported() -> None:
    with pytest.raises(InputError, match=r"'elsewhere:x' cannot be set up: .*elsewhere"):
        make_model(ModelSpec(model="elsewhere:x"))


def test_a_missing_key_is_reported_with_its_environment_variable(monkeypatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(InputError, match="set the environment variable ANTHROPIC_API_KEY"):
        make_model(ModelSpec(model="anthropic:claude-x"))


def test_the_key_of_a_provider_is_not_sent_to_another_server(claude, monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    _, teacher = claude(GOOD, api_key_env=None)
    with pytest.raises(TeacherDownError, match="invalid x-api-key"):
        teacher.ask([labeling()])
