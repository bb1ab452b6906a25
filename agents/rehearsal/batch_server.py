"""Simulate the files and batches of the OpenAI API for the rehearsal server."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any] | bytes]]
_Object = dict[str, Any]
_CHAT = "/v1/chat/completions"
_DAY = 24 * 60 * 60  # seconds


class _RefusedError(Exception):
    def __init__(self, status: int, words: str):
        self.status, self.words = status, words


class Batches:
    """Store files and batches, and process a batch after a number of status requests.

    A new batch has the status `validating`. The next `polls` status requests return `in_progress`, the one
    after them `completed`. Files and batches are kept until the server ends.

    Args:
        answer: returns the HTTP status and the body for a chat request.
        polls: number of status requests that return `in_progress`.
    """

    def __init__(self, answer: Answer, polls: int):
        self._answer, self._polls = answer, polls
        self._files: dict[str, tuple[_Object, bytes]] = {}
        self._batches: dict[str, _Object] = {}
        self._status_requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def route(
        self, method: str, target: str, data: bytes = b"", content_type: str | None = None
    ) -> tuple[int, _Object | bytes]:
        """Return the HTTP status and the body for a request to a path below /v1."""
        url = urlsplit(target)
        with self._lock:
            try:
                return 200, self._routed((method, *url.path.split("/")[2:]), url.query, data, content_type)
            except _RefusedError as refused:
                error = {"message": refused.words, "type": "invalid_request_error"}
                return refused.status, {"error": {**error, "param": None, "code": None}}

    def _routed(
        self, parts: tuple[str, ...], query: str, data: bytes, content_type: str | None
    ) -> _Object | bytes:
        match parts:
            case ("POST", "files"):
                fields = _form(data, content_type or "")
                return self._store(fields["file"], fields["purpose"].decode())
            case ("GET", "files", key):
                return self._file(key)[0]
            case ("GET", "files", key, "content"):
                return self._file(key)[1]
            case ("POST", "batches"):
                return self._create(json.loads(data))
            case ("GET", "batches"):
                return self._listed({name: values[0] for name, values in parse_qs(query).items()})
            case ("GET", "batches", key):
                return self._advanced(self._batch(key))
            case ("POST", "batches", key, "cancel"):
                return self._cancelled(self._batch(key))
        raise _RefusedError(404, f"Invalid URL ({parts[0]} /v1/{'/'.join(parts[1:])})")

    def _file(self, key: str) -> tuple[_Object, bytes]:
        if key not in self._files:
            raise _RefusedError(404, f"No such File object: {key}")
        return self._files[key]

    def _batch(self, key: str) -> _Object:
        if key not in self._batches:
            raise _RefusedError(404, f"No batch found with id '{key}'.")
        return self._batches[key]

    def _store(self, content: bytes, purpose: str) -> _Object:
        key = f"file-{len(self._files) + 1}"
        about = {"id": key, "object": "file", "bytes": len(content), "created_at": int(time.time())}
        about |= {"filename": f"{key}.jsonl", "purpose": purpose, "status": "processed"}
        self._files[key] = about, content
        return about

    def _create(self, parameters: _Object) -> _Object:
        self._file(parameters["input_file_id"])
        if parameters["endpoint"] != _CHAT:
            raise _RefusedError(400, f"endpoint {parameters['endpoint']!r}: only {_CHAT} is served")
        key, now = f"batch_{len(self._batches) + 1}", int(time.time())
        self._batches[key] = {
            "id": key,
            "object": "batch",
            "endpoint": parameters["endpoint"],
            "input_file_id": parameters["input_file_id"],
            "completion_window": parameters["completion_window"],
            "metadata": parameters.get("metadata"),
            "status": "validating",
            "created_at": now,
            "expires_at": now + _DAY,
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }
        return self._batches[key]

    def _listed(self, query: Mapping[str, str]) -> _Object:
        """Return one page of the batches, the newest first."""
        keys = list(self._batches)[::-1]
        if "after" in query:
            keys = keys[keys.index(self._batch(query["after"])["id"]) + 1 :]
        page = keys[: int(query.get("limit", 20))]
        ends = {"first_id": page[0], "last_id": page[-1]} if page else {"first_id": None, "last_id": None}
        more = len(keys) > len(page)
        return {"object": "list", "data": [self._batches[key] for key in page], **ends, "has_more": more}

    def _advanced(self, batch: _Object) -> _Object:
        """Advance a batch by one step and return it."""
        if batch["status"] == "validating":
            self._validate(batch)
        if batch["status"] == "in_progress":
            self._status_requests[batch["id"]] += 1
            if self._status_requests[batch["id"]] > self._polls:
                self._process(batch)
        elif batch["status"] == "cancelling":
            batch |= {"status": "cancelled", "cancelled_at": int(time.time())}
        return batch

    def _cancelled(self, batch: _Object) -> _Object:
        if batch["status"] not in ("validating", "in_progress"):
            raise _RefusedError(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch |= {"status": "cancelling", "cancelling_at": int(time.time())}
        return batch

    def _validate(self, batch: _Object) -> None:
        now = int(time.time())
        try:
            lines = _lines(self._file(batch["input_file_id"])[1])
        except ValueError as error:
            about = {"code": "invalid_request", "message": str(error), "param": None, "line": None}
            batch |= {"status": "failed", "failed_at": now, "errors": {"object": "list", "data": [about]}}
        else:
            batch |= {"status": "in_progress", "in_progress_at": now}
            batch["request_counts"]["total"] = len(lines)

    def _process(self, batch: _Object) -> None:
        good: list[_Object] = []
        bad: list[_Object] = []
        for number, line in enumerate(_lines(self._file(batch["input_file_id"])[1]), 1):
            status, body = self._answer(line["body"])
            response = {"status_code": status, "request_id": f"req_{number}", "body": body}
            entry = {"id": f"batch_req_{number}", "custom_id": line["custom_id"], "response": response}
            (good if status == 200 else bad).append({**entry, "error": None})
        batch |= {"status": "completed", "completed_at": int(time.time())}
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        batch |= {"output_file_id": self._written(good), "error_file_id": self._written(bad)}

    def _written(self, entries: Sequence[_Object]) -> str | None:
        """Store the entries in a new file and return its id; None if there are no entries."""
        if not entries:
            return None
        # Reversed, because OpenAI guarantees no order and clients must not rely on one.
        text = "".join(f"{json.dumps(entry)}\n" for entry in reversed(entries))
        return str(self._store(text.encode(), "batch_output")["id"])


def _lines(content: bytes) -> list[_Object]:
    """Return the requests of an input file.

    Raises:
        ValueError: a line is not a chat request, two share a `custom_id`, or there are none.
    """
    lines: list[_Object] = []
    for number, text in enumerate(content.splitlines(), 1):
        line = json.loads(text)
        if not {"custom_id", "method", "url", "body"} <= line.keys() or line["url"] != _CHAT:
            raise ValueError(f"line {number} is not a chat request: {text[:200]!r}")
        lines.append(line)
    if len({line["custom_id"] for line in lines}) < len(lines) or not lines:
        raise ValueError(f"got {len(lines)} lines, expected one or more, each with a unique custom_id")
    return lines


def _form(data: bytes, content_type: str) -> dict[str, bytes]:
    """Return the fields of a multipart form."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    fields = {}
    for part in data.split(b"--" + boundary[1].encode())[1:-1] if boundary else ():
        head, _, content = part.partition(b"\r\n\r\n")
        if name := re.search(rb'[; ]name="([^"]*)"', head):
            fields[name[1].decode()] = content.removesuffix(b"\r\n")
    if not {"file", "purpose"} <= fields.keys():
        raise _RefusedError(400, f"expected a form with `file` and `purpose`, got {sorted(fields)}")
    return fields
