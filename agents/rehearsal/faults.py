"""Simulate faults between a model and its caller; they depend on the request, never on the clock."""

import hashlib
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tutelage.agents.rehearsal.rehearsal_model import token_logprobs

_Status = Literal["429", "429 retry-after", "500", "502"]
_Wire = Literal["hang", "slow drip", "connection reset", "torn body"]
_Content = Literal[
    "truncated json",
    "wrong label",
    "extra prose",
    "empty list",
    "duplicated samples",
    "refusal",
    "changed order",
    "missing ids",
    "content filter",
]
FaultKind = Literal[_Status, _Wire, _Content]
STATUS_KINDS: tuple[_Status, ...] = get_args(_Status)
WIRE_KINDS: tuple[_Wire, ...] = get_args(_Wire)
CONTENT_KINDS: tuple[_Content, ...] = get_args(_Content)
ALL_KINDS: tuple[FaultKind, ...] = (*STATUS_KINDS, *WIRE_KINDS, *CONTENT_KINDS)

_CLOSED = {"labels": "label", "verdicts": "verdict", "drafts": "label"}  # fields with a fixed set of values
_REFUSAL = "I'm sorry, I can't help with that."
_PAUSE = 0.02  # seconds between the chunks of a slow drip: below every read time-out


@dataclass
class Faults:
    """Spoil a share of the rehearsal teacher's replies; a repeated request gets a good reply in the end.

    The fault of a reply depends on `seed`, the request, and the number of its earlier arrivals. After
    `max_per_request` arrivals a request gets no more faults. A repair counts as an arrival of the request
    that it repairs. `injected` counts the faults by kind.

    Args:
        share: share of replies to spoil, from 0 to 1.
        kinds: the possible faults; one that fits the reply is drawn from them.
        seed: seed of the draw.
        max_per_request: maximum number of faults of one request.
        retry_after: seconds in the Retry-After header.
        hang: maximum seconds without an answer.
        drip: seconds that a slowly dripping reply takes.
    """

    share: float = 0.2
    kinds: Sequence[FaultKind] = ALL_KINDS
    seed: int = 0
    max_per_request: int = 3
    retry_after: float = 0.2
    hang: float = 30.0
    drip: float = 30.0
    injected: Counter[FaultKind] = field(default_factory=Counter)
    _arrivals: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def inject(
        self, body: dict[str, Any], choice: dict[str, Any], among: Sequence[FaultKind] = ALL_KINDS
    ) -> FaultKind | None:
        """Decide which fault the reply to a request gets; a content fault is applied to `choice` in place.

        Args:
            body: the request.
            choice: the reply: the only choice of a chat completion.
            among: the faults that this transport can have.

        Returns:
            The kind of fault, or None for no fault.
        """
        request = _request_hash(body)
        with self._lock:
            arrival = self._arrivals[request]
            self._arrivals[request] += 1
            rng = random.Random(f"{self.seed} {request} {arrival}")
            if arrival >= self.max_per_request or rng.random() >= self.share:
                return None
            name, items = _items_of(choice)
            fitting = [kind for kind in self.kinds if kind in among and _fits(kind, name, items)]
            if not fitting:
                return None
            kind = rng.choice(fitting)
            self.injected[kind] += 1
        if kind in CONTENT_KINDS:
            _spoil(kind, choice, rng)
        return kind

    def deliver(self, kind: _Wire, wire: socket.socket, message: bytes) -> None:
        """Send an HTTP message with a fault of this kind; the connection is unusable afterwards."""
        if kind == "hang":
            wire.settimeout(self.hang)
            wire.recv(1)  # returns when the client gives up
        elif kind == "slow drip":
            chunks = max(1, int(self.drip / _PAUSE))
            size = -(-len(message) // chunks)
            for place in range(0, len(message), size):
                wire.sendall(message[place : place + size])
                time.sleep(self.drip * size / len(message))
        elif kind == "connection reset":
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(wire.detach())  # close() would wait for open files on the socket
        else:
            wire.sendall(message[: -len(message) // 4])


def error_reply(kind: _Status) -> tuple[int, dict[str, Any] | bytes]:
    """Return the HTTP status and the body of an error reply."""
    if kind == "502":
        return 502, b"<html><body><h1>502 Bad Gateway</h1></body></html>"  # as from a proxy
    if kind == "500":
        about = {"message": "The server had an error while processing your request", "type": "server_error"}
        return 500, {"error": {**about, "param": None, "code": None}}
    about = {"message": "Rate limit reached for requests", "type": "requests"}
    return 429, {"error": {**about, "param": None, "code": "rate_limit_exceeded"}}


def _request_hash(body: dict[str, Any]) -> str:
    """Return a hash of a request up to its first user message; a repair adds messages after that one."""
    messages = body["messages"]
    end = next((i for i, message in enumerate(messages, 1) if message["role"] == "user"), len(messages))
    text = json.dumps({**body, "messages": messages[:end]}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _slot(choice: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the dict and the key that hold the reply's text: in the message or in its tool call."""
    message = choice["message"]
    if calls := message.get("tool_calls"):
        return calls[0]["function"], "arguments"
    return message, "content"


def _items_of(choice: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Return the field name and the items of the only list in a reply."""
    holder, slot = _slot(choice)
    [(name, items)] = json.loads(holder[slot]).items()
    return name, items


def _fits(kind: FaultKind, name: str, items: Sequence[object]) -> bool:
    if kind in ("changed order", "duplicated samples", "missing ids"):
        # A diagnosis with fewer weaknesses, or in another order, is valid and would not be repaired.
        return len(items) > 1 and name != "weaknesses"
    if kind == "wrong label":
        return bool(items) and name in _CLOSED
    return bool(items) or kind != "empty list"


def _spoil(kind: FaultKind, choice: dict[str, Any], rng: random.Random) -> None:
    holder, slot = _slot(choice)
    text = holder[slot]
    if kind == "refusal":
        refusal = rng.choice([{"content": None, "refusal": _REFUSAL}, {"content": _REFUSAL, "refusal": None}])
        choice["message"], choice["finish_reason"] = {"role": "assistant", **refusal}, "stop"
        text = refusal["content"]
    elif kind == "truncated json":
        choice["finish_reason"] = "length"
        text = holder[slot] = text[: rng.randrange(1, len(text))]
    elif kind == "content filter":
        choice["finish_reason"] = "content_filter"
        text = holder[slot] = text[: rng.randrange(len(text))]
    elif kind == "extra prose":
        text = holder[slot] = f"Sure, here is what you asked for:\n\n```json\n{text}\n```\nAnything else?"
    else:
        name, items = _items_of(choice)
        text = holder[slot] = json.dumps({name: _changed(kind, name, items, rng)}, ensure_ascii=False)
    if choice["logprobs"]:
        choice["logprobs"] = {"content": token_logprobs(text or ""), "refusal": None}


def _changed(
    kind: FaultKind, name: str, items: list[dict[str, Any]], rng: random.Random
) -> list[dict[str, Any]]:
    """Return the items of a reply with one fault applied."""
    if kind == "empty list":
        return []
    if kind == "wrong label":
        i = rng.randrange(len(items))
        items[i][_CLOSED[name]] = f"not {items[i][_CLOSED[name]]}"
        return items
    if kind == "changed order":
        start = rng.randrange(1, len(items))
        return items[start:] + items[:start]
    kept = sorted(rng.sample(range(len(items)), rng.randrange(1, len(items))))
    if kind == "missing ids":
        return [items[i] for i in kept]
    return [items[i if i in kept else rng.choice(kept)] for i in range(len(items))]
