"""The trace: one line per node and per teacher call, in trace.jsonl and to whoever listens."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]
BEGINNING = ("prepare", "analyst", "final")  # a round's first node


class Trace:
    """Appends events; every line is whole, and carries the time, the round and the node it belongs to."""

    def __init__(self, path: Path, listener: Listener | None = None):
        self.path, self._listener = path, listener
        self._node, self._round = "", 0
        self._told: Event = {}

    def write(self, event: str, **fields: object) -> None:
        """Write one event and pass it on."""
        place = {"at": float(f"{time.time():.3f}"), "node": self._node, "round": self._round}
        line = {"event": event, **place, **fields}
        whole = (json.dumps(line, ensure_ascii=False) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:
            if file.tell() and not self._ends_well():
                whole = b"\n" + whole
            file.write(whole)
        if self._listener:
            self._listener(line)

    def call(self, event: Event) -> None:
        """A teacher's call, one that was refused, or news of a batch, as agents/teacher/teacher.py tells
        it.
        """
        self.write(next(kind for kind in ("call", "refused", "batch") if kind in event), **event)

    def tell(self, **fields: object) -> None:
        """Put something into the closing line of the node at work."""
        self._told |= fields

    @contextmanager
    def node(self, name: str, round: int) -> Iterator[None]:
        """Frame a node's work between an `enter` and a `leave` line."""
        self._node, self._round, self._told = name, round, {}
        self.write("enter")
        start = time.monotonic()
        yield
        self.write("leave", seconds=float(f"{time.monotonic() - start:.3f}"), **self._told)

    def events(self) -> list[Event]:
        """Everything written so far, over all resumes."""
        if not self.path.exists():
            return []
        return [event for line in self.path.read_text(encoding="utf-8").split("\n") if (event := _read(line))]

    def seconds(self, number: int) -> float:
        """Seconds that finished nodes of a round took, over all resumes, since it was last begun."""
        total = 0.0
        for event in self.events():
            if event["round"] == number and event["event"] == "enter" and event["node"] in BEGINNING:
                total = 0.0
            elif event["round"] == number and event["event"] == "leave":
                total += event["seconds"]
        return total

    def minutes(self) -> float:
        """Minutes that all finished nodes took, over all resumes."""
        return float(sum(e["seconds"] for e in self.events() if e["event"] == "leave")) / 60

    def teacher(self) -> dict[str, int]:
        """What became of the teacher's calls, over all resumes."""
        events = self.events()
        told = [event for event in events if event["event"] == "call"]
        calls = {event["call"]: event for event in told}.values()
        refused = [event for event in events if event["event"] == "refused"]
        return {
            "replies": len(calls),
            "not whole at first": sum(bool(event["problems"]) for event in calls),
            "set aside": sum(event["set_aside"] for event in calls),
            "tries that failed": sum(event["tries"] - 1 for event in told if not event["replayed"]),
            "refused by the provider": sum(not event["over_budget"] for event in refused),
        }

    def _ends_well(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read() == b"\n"


def _read(line: str) -> Event:
    """An event; {} for a line that a crash or a full disk cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
