"""The rehearsal server offers the rehearsal teacher through the OpenAI protocol on loopback.

`with serve(model) as url:` yields the `base_url` for `openai:rehearsal`; every agent then uses the real
client.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.language_models import BaseChatModel
from tutelage.agents.rehearsal.batch_server import Batches
from tutelage.agents.rehearsal.faults import (
    ALL_KINDS,
    CONTENT_KINDS,
    STATUS_KINDS,
    WIRE_KINDS,
    FaultKind,
    Faults,
    error_reply,
)


@dataclass(frozen=True)
class Offers:
    """The features that the server supports. A request with any other feature gets status 400, as from
    OpenAI. Without `usage`, replies contain no token counts.
    """

    json_schema: bool = True
    tools: bool = True
    json_object: bool = True
    logprobs: bool = True
    usage: bool = True
    seed: bool = True

    def refused(self, body: dict[str, Any]) -> str | None:
        """Return the name of a request field that is not supported, or None."""
        formats = {"text": True, "json_schema": self.json_schema, "json_object": self.json_object}
        accepted = {
            "response_format": formats.get((body.get("response_format") or {"type": "text"})["type"], False),
            "tools": self.tools or not body.get("tools"),
            "logprobs": self.logprobs or not body.get("logprobs"),
            "seed": self.seed or body.get("seed") is None,
        }
        return next((name for name in accepted if not accepted[name]), None)


ALL_OFFERS = Offers()


@contextmanager
def serve(
    model: BaseChatModel,
    *,
    port: int = 0,
    log: list[dict[str, Any]] | None = None,
    offers: Offers = ALL_OFFERS,
    faults: Faults | None = None,
    batch_polls: int = 1,
) -> Iterator[str]:
    """Serve `model` until the block ends.

    Args:
        model: the chat model that answers.
        port: port to listen on; 0 takes a free one.
        log: receives the body of every chat request in order of arrival, for a batch when it is processed.
        offers: the features that requests may use.
        faults: the faults to simulate; none by default.
        batch_polls: number of status requests that report a batch as in progress before it is completed.

    Yields:
        The base URL, e.g. `http://127.0.0.1:49152/v1`.
    """
    server = _Server(port, _Responder(model, [] if log is None else log, offers, faults), batch_polls)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class _Responder:
    """Answer chat requests, both single ones and lines of a batch."""

    model: BaseChatModel
    log: list[dict[str, Any]]
    offers: Offers
    faults: Faults | None

    def answer(
        self, body: dict[str, Any], among: Sequence[FaultKind] = ALL_KINDS
    ) -> tuple[int, dict[str, Any] | bytes, FaultKind | None]:
        """Return the HTTP status, the body, and the fault to apply when the body is sent."""
        self.log.append(body)
        if field := self.offers.refused(body):
            return _refusal(f"Unsupported parameter: {field!r} is not supported with this model.", field)
        try:
            reply = _completion(self.model, body)
        except (ValueError, KeyError) as error:
            return _refusal(str(error))
        if not self.offers.usage:
            del reply["usage"]
        kind = self.faults.inject(body, reply["choices"][0], among) if self.faults else None
        if kind in STATUS_KINDS:
            return *error_reply(kind), kind
        return 200, reply, kind

    def line(self, body: dict[str, Any]) -> tuple[int, dict[str, Any] | bytes]:
        """Return the HTTP status and the body for a line of a batch, without network or proxy faults."""
        return self.answer(body, (*CONTENT_KINDS, "429", "500"))[:2]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, a burst of connections waits a second

    def __init__(self, port: int, responder: _Responder, batch_polls: int):
        self.responder, self.batches = responder, Batches(responder.line, batch_polls)
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": "rehearsal", "object": "model"}]})
        else:
            self._send(*self.server.batches.route("GET", self.path))

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/v1/chat/completions":
            self._send(*self.server.responder.answer(json.loads(data)))
        else:
            self._send(*self.server.batches.route("POST", self.path, data, self.headers["Content-Type"]))

    def _send(self, status: int, reply: dict[str, Any] | bytes, kind: FaultKind | None = None) -> None:
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        head = [f"{self.protocol_version} {status} {HTTPStatus(status).phrase}"]
        head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        faults = self.server.responder.faults
        if faults and kind == "429 retry-after":
            head.append(f"Retry-After: {faults.retry_after:g}")
        message = "\r\n".join([*head, "", ""]).encode() + data
        with suppress(OSError):  # the client may have disconnected
            if faults and kind in WIRE_KINDS:
                self.close_connection = True
                faults.deliver(kind, self.connection, message)
            else:
                self.connection.sendall(message)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _refusal(words: str, field: str | None = None) -> tuple[int, dict[str, Any], None]:
    code = "unsupported_parameter" if field else None
    error = {"message": words, "type": "invalid_request_error", "param": field, "code": code}
    return 400, {"error": error}, None


def _completion(model: BaseChatModel, body: dict[str, Any]) -> dict[str, Any]:
    roles = {"assistant": "ai", "user": "human", "system": "system", "developer": "system"}
    messages = [(roles[message["role"]], message["content"]) for message in body["messages"]]
    options: dict[str, Any] = {"logprobs": True} if body.get("logprobs") else {}
    reply = model.invoke(messages, seed=body.get("seed") or 0, **options)
    about: dict[str, Any] = {"logprobs": reply.response_metadata.get("logprobs"), "finish_reason": "stop"}
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if (tools := body.get("tools")) and (choice := body.get("tool_choice", "auto")) != "none":
        named = choice if isinstance(choice, dict) else tools[0]
        call = {"name": named["function"]["name"], "arguments": reply.text}
        calls = [{"id": "call_rehearsal", "type": "function", "function": call}]
        message |= {"content": None, "tool_calls": calls}
        # As at OpenAI: a call that was forced by name ends with an ordinary stop.
        about = {"logprobs": None, "finish_reason": "stop" if named is choice else "tool_calls"}
    usage = reply.usage_metadata or {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    return {
        "id": "chatcmpl-rehearsal",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, **about}],
        "usage": {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
