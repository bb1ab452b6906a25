"""Faults: what goes wrong between a model and its caller, decided by the request and never by the clock."""

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
Kind = Literal[_Status, _Wire, _Content]
STATUS_KINDS: tuple[_Status, ...] = get_args(_Status)
WIRE_KINDS: tuple[_Wire, ...] = get_args(_Wire)
CONTENT_KINDS: tuple[_Content, ...] = get_args(_Content)
ALL_KINDS: tuple[Kind, ...] = (*STATUS_KINDS, *WIRE_KINDS, *CONTENT_KINDS)

_CLOSED = {"labels": "label", "verdicts": "verdict", "drafts": "label"}  # fields that take listed values
_SORRY = "I'm sorry, I can't help with that."
_PAUSE = 0.02  # seconds between the drops of a slow drip: below every read time-out


@dataclass
class Faults:
    """Spoils a share of the rehearsal teacher's answers; a request that comes again is answered in the end.

    Which fault an answer gets follows from `seed`, the request, and how often that has come before; from
    its `stubborn`-th return on it gets none. A repair counts as a return of the request that it repairs.
    `injected` counts what was done.

    Args:
        share: of the answers, from 0 to 1.
        kinds: what may go wrong; of them, a kind that fits the answer is drawn.
        seed: of the draw.
        stubborn: faults that one request may get.
        retry_after: seconds told in the header of that name.
        hang: seconds, at most, without an answer.
        drip: seconds that a dripping answer takes.
    """

    share: float = 0.2
    kinds: Sequence[Kind] = ALL_KINDS
    seed: int = 0
    stubborn: int = 3
    retry_after: float = 0.2
    hang: float = 30.0
    drip: float = 30.0
    injected: Counter[Kind] = field(default_factory=Counter)
    _arrivals: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def strike(
        self, body: dict[str, Any], choice: dict[str, Any], among: Sequence[Kind] = ALL_KINDS
    ) -> Kind | None:
        """Decide what goes wrong with the answer to a request; faults of content are done to it here.

        Args:
            body: the request.
            choice: the answer: the one choice of a chat completion.
            among: what can go wrong on this way.

        Returns:
            The kind, or None when all goes well.
        """
        request = _request(body)
        with self._lock:
            arrival = self._arrivals[request]
            self._arrivals[request] += 1
            chance = random.Random(f"{self.seed} {request} {arrival}")
            if arrival >= self.stubborn or chance.random() >= self.share:
                return None
            name, items = _list_in(choice)
            fitting = [kind for kind in self.kinds if kind in among and _fits(kind, name, items)]
            if not fitting:
                return None
            kind = chance.choice(fitting)
            self.injected[kind] += 1
        if kind in CONTENT_KINDS:
            _spoil(kind, choice, chance)
        return kind

    def deliver(self, kind: _Wire, wire: socket.socket, message: bytes) -> None:
        """Send an HTTP message as badly as the kind says; the connection is of no use afterwards."""
        if kind == "hang":
            wire.settimeout(self.hang)
            wire.recv(1)  # returns when the client gives up
        elif kind == "slow drip":
            drops = max(1, int(self.drip / _PAUSE))
            size = -(-len(message) // drops)
            for place in range(0, len(message), size):
                wire.sendall(message[place : place + size])
                time.sleep(self.drip * size / len(message))
        elif kind == "connection reset":
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(wire.detach())  # close() would wait for the files that are open on the socket
        else:
            wire.sendall(message[: -len(message) // 4])


def error_reply(kind: _Status) -> tuple[int, dict[str, Any] | bytes]:
    """Status and body of an answer that says the server failed."""
    if kind == "502":
        return 502, b"<html><body><h1>502 Bad Gateway</h1></body></html>"  # from a proxy, that is
    if kind == "500":
        about = {"message": "The server had an error while processing your request", "type": "server_error"}
        return 500, {"error": {**about, "param": None, "code": None}}
    about = {"message": "Rate limit reached for requests", "type": "requests"}
    return 429, {"error": {**about, "param": None, "code": "rate_limit_exceeded"}}


def _request(body: dict[str, Any]) -> str:
    """A name for a request, without what follows the first user message: a reply and why it was no good."""
    messages = body["messages"]
    end = next((i for i, message in enumerate(messages, 1) if message["role"] == "user"), len(messages))
    text = json.dumps({**body, "messages": messages[:end]}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _slot(choice: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Where the reply's text stands: in the message or in its tool call."""
    message = choice["message"]
    if calls := message.get("tool_calls"):
        return calls[0]["function"], "arguments"
    return message, "content"


def _list_in(choice: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Name and items of the one list that a reply is."""
    holder, slot = _slot(choice)
    [(name, items)] = json.loads(holder[slot]).items()
    return name, items


def _fits(kind: Kind, name: str, items: Sequence[object]) -> bool:
    if kind in ("changed order", "duplicated samples", "missing ids"):
        # Weaknesses come in the order of their weight.
        return len(items) > 1 and (kind, name) != ("changed order", "weaknesses")
    if kind == "wrong label":
        return bool(items) and name in _CLOSED
    return bool(items) or kind != "empty list"


def _spoil(kind: Kind, choice: dict[str, Any], chance: random.Random) -> None:
    holder, slot = _slot(choice)
    text = holder[slot]
    if kind == "refusal":
        said = chance.choice([{"content": None, "refusal": _SORRY}, {"content": _SORRY, "refusal": None}])
        choice["message"], choice["finish_reason"] = {"role": "assistant", **said}, "stop"
        text = said["content"]
    elif kind == "truncated json":
        choice["finish_reason"] = "length"
        text = holder[slot] = text[: chance.randrange(1, len(text))]
    elif kind == "content filter":
        choice["finish_reason"] = "content_filter"
        text = holder[slot] = text[: chance.randrange(len(text))]
    elif kind == "extra prose":
        text = holder[slot] = f"Sure, here is what you asked for:\n\n```json\n{text}\n```\nAnything else?"
    else:
        name, items = _list_in(choice)
        text = holder[slot] = json.dumps({name: _changed(kind, name, items, chance)}, ensure_ascii=False)
    if choice["logprobs"]:
        choice["logprobs"] = {"content": token_logprobs(text or ""), "refusal": None}


def _changed(
    kind: Kind, name: str, items: list[dict[str, Any]], chance: random.Random
) -> list[dict[str, Any]]:
    """The items of a reply with one thing wrong."""
    if kind == "empty list":
        return []
    if kind == "wrong label":
        i = chance.randrange(len(items))
        items[i][_CLOSED[name]] = f"not {items[i][_CLOSED[name]]}"
        return items
    if kind == "changed order":
        start = chance.randrange(1, len(items))
        return items[start:] + items[:start]
    left = sorted(chance.sample(range(len(items)), chance.randrange(1, len(items))))
    if kind == "missing ids":
        return [items[i] for i in left]
    return [items[i if i in left else chance.choice(left)] for i in range(len(items))]
