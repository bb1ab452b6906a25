"""The trace: one event per node and per teacher call, written to trace.jsonl and sent to a listener. The
listener also gets events that are not stored: the beginning of a run, and the steps of its trainings.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]
STEP_SECONDS = 0.2  # the least time between two `step` events
BEGINNING = ("prepare", "analyst", "final")  # the nodes that a round can begin with


class Trace:
    """Append events to trace.jsonl. Each event has its time, its round and its node."""

    def __init__(self, path: Path, *listeners: Listener):
        self.path, self._listeners = path, [*listeners]
        self._node, self._round = "", 0
        self._shown: Event = {}
        self._logged: Event = {}
        self._stepped = 0.0

    def write(self, event: str, **fields: object) -> None:
        """Write one event and send it to the listeners."""
        line = self._line(event, fields)
        whole = (json.dumps(line, ensure_ascii=False) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:
            if file.tell() and not self._ends_with_newline():
                whole = b"\n" + whole
            file.write(whole)
        self._send(line)

    def emit(self, event: str, **fields: object) -> None:
        """Send an event to the listeners without writing it to trace.jsonl."""
        self._send(self._line(event, fields))

    def step(self, number: int, of: int, **fields: object) -> None:
        """Send which step a training is at: the first one, and then a few in a second."""
        now = time.monotonic()
        if number == 1 or now - self._stepped >= STEP_SECONDS:
            self._stepped = now
            self.emit("step", step=number, of=of, **fields)

    def call(self, event: Event) -> None:
        """Write an event of agents/teacher/teacher.py: a call, a refused call or the status of a batch."""
        self.write(next(kind for kind in ("call", "refused", "batch") if kind in event), **event)

    def log(self, **fields: object) -> None:
        """Add fields to the `leave` event of the current node."""
        self._logged |= fields

    @contextmanager
    def also_to(self, listener: Listener) -> Iterator[None]:
        """Send events to another listener, too."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def node(self, name: str, round: int) -> Iterator[None]:
        """Write an `enter` event before the work of a node, and a `leave` or a `failed` event after it, or
        `paused` if the node waits for a person.
        """
        self._node, self._round, self._logged = name, round, {}
        self.write("enter")
        start = time.monotonic()
        try:
            yield
        except BaseException as error:
            if _pauses(error):
                self.write("paused", seconds=_seconds_since(start), **self._logged)
            else:
                self.write("failed", seconds=_seconds_since(start), error=type(error).__name__)
            raise
        self.write("leave", seconds=_seconds_since(start), **self._logged)

    @contextmanager
    def fold(self, fold: int | None) -> Iterator[None]:
        """Add the fold whose rows the teacher is shown to all events in this block; None adds nothing."""
        self._shown = {} if fold is None else {"fold": fold}
        try:
            yield
        finally:
            self._shown = {}

    def events(self) -> list[Event]:
        """Return all events so far, including those before a resume."""
        if not self.path.exists():
            return []
        return [event for line in self.path.read_text(encoding="utf-8").split("\n") if (event := _read(line))]

    def begun(self) -> float:
        """Return the time of the first event; 0 before there is one."""
        if not self.path.exists():
            return 0.0
        with self.path.open(encoding="utf-8") as file:
            return float(_read(file.readline()).get("at", 0.0))

    def seconds(self, number: int) -> float:
        """Return the seconds spent in finished nodes of a round since it last began, over all resumes."""
        total = 0.0
        for event in self.events():
            if event["round"] == number and event["event"] == "enter" and event["node"] in BEGINNING:
                total = 0.0
            elif event["round"] == number and event["event"] == "leave":
                total += event["seconds"]
        return total

    def minutes(self) -> float:
        """Return the minutes spent in all finished nodes, over all resumes."""
        return float(sum(e["seconds"] for e in self.events() if e["event"] == "leave")) / 60

    def teacher(self) -> dict[str, int]:
        """Return counts of the teacher's calls by result, over all resumes."""
        events = self.events()
        all_calls = [event for event in events if event["event"] == "call"]
        calls = {event["call"]: event for event in all_calls}.values()
        refused = [event for event in events if event["event"] == "refused"]
        return {
            "replies": len(calls),
            "incomplete replies": sum(bool(event["problems"]) for event in calls),
            "incomplete after all repairs": sum(event["incomplete"] for event in calls),
            "failed attempts": sum(event["tries"] - 1 for event in all_calls if not event["replayed"]),
            "refused by the provider": sum(not event["over_budget"] for event in refused),
        }

    def _send(self, line: Event) -> None:
        for listener in self._listeners:
            listener(line)

    def _line(self, event: str, fields: Event) -> Event:
        place = {"at": float(f"{time.time():.3f}"), "node": self._node, "round": self._round, **self._shown}
        return {"event": event, **place, **fields}

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read() == b"\n"


def _seconds_since(start: float) -> float:
    return float(f"{time.monotonic() - start:.3f}")


def _pauses(error: BaseException) -> bool:
    """Return whether a node was left by LangGraph's `interrupt`, to go on when a person has answered."""
    from langgraph.errors import GraphInterrupt

    return isinstance(error, GraphInterrupt)


def _read(line: str) -> Event:
    """Parse an event. Return {} for a line that a crash or a full disk cut off."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
