"""The rehearsal server: the rehearsal teacher behind the OpenAI chat protocol, on loopback.

`with serve(model) as url:` gives the `base_url` for `openai:rehearsal`; every agent then goes through
the real client.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.language_models import BaseChatModel


@contextmanager
def serve(model: BaseChatModel, *, port: int = 0, log: list[dict[str, Any]] | None = None) -> Iterator[str]:
    """Serve `model` until the block ends.

    Args:
        model: who answers.
        port: 0 takes a free one.
        log: gets every request body, in order of arrival.

    Yields:
        The base URL, e.g. `http://127.0.0.1:49152/v1`.
    """
    handler = _handler(model, [] if log is None else log)
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _handler(model: BaseChatModel, requests: list[dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "rehearsal", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body)
            try:
                reply, status = _completion(model, body), 200
            except (ValueError, KeyError) as error:
                reply, status = {"error": {"message": str(error), "type": "invalid_request_error"}}, 400
            with suppress(ConnectionError):  # the client may have gone
                self._send(reply, status)

        def _send(self, reply: dict[str, Any], status: int = 200) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _completion(model: BaseChatModel, body: dict[str, Any]) -> dict[str, Any]:
    roles = {"assistant": "ai", "user": "human", "system": "system", "developer": "system"}
    messages = [(roles[message["role"]], message["content"]) for message in body["messages"]]
    reply = model.invoke(messages, seed=body.get("seed") or 0)
    usage = reply.usage_metadata or {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    return {
        "id": "chatcmpl-rehearsal",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": reply.text}, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["total_tokens"],
        },
    }
