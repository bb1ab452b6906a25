"""The state of a run, gathered from its events, for the live view."""

import time
from collections import deque
from dataclasses import dataclass, field

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Event, Trace

RATE_SECONDS = 20  # calls a second are counted over at most this time
_FEWEST_STEPS = 3  # before the time left is estimated


@dataclass
class Steps:
    """Where a training is. `fold` counts from 0; it is None if the student is not one of several."""

    number: int
    of: int
    fold: int | None
    folds: int
    began: float = field(default_factory=time.monotonic)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that this student and those of the later folds still need, if all steps take as
        long as those so far; None as long as there are too few steps to tell.
        """
        done = self.number - 1
        if done < _FEWEST_STEPS or now <= self.began:
            return None
        later = 0 if self.fold is None else self.folds - self.fold - 1
        return (self.of - done + later * self.of) * (now - self.began) / done


@dataclass
class LiveState:
    """The state of a run. `see` takes one event after the other.

    Attributes:
        node, round, entered: the node at work, its round, and the time at which it began (monotonic).
        detail: what the node is doing at the moment, "" if it does not say.
        rounds: the number of rounds to go through; None before the run begins.
        limits: the limits of the budget that are set, by name.
        spent: calls, tokens and money so far; money is None if a price is unknown.
        samples: the status of every sample that was kept or refused, by id.
        scores: score and acceptance of each round.
        weaknesses: the names of the weaknesses that are being served.
    """

    node: str = ""
    round: int = 0
    entered: float = field(default_factory=time.monotonic)
    detail: str = ""
    rounds: int | None = None
    limits: dict[str, float] = field(default_factory=dict)
    spent: dict[str, float | None] = field(default_factory=lambda: {"calls": 0, "tokens": 0, "money": 0.0})
    steps: Steps | None = None
    samples: dict[str, str] = field(default_factory=dict)
    scores: dict[int, tuple[float, bool]] = field(default_factory=dict)
    weaknesses: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _minutes_before: float = 0.0
    _calls: deque[float] = field(default_factory=deque)

    def see(self, event: Event) -> None:
        """Update the state by one event of the run."""
        match event["event"]:
            case "begin":
                self._begin(event)
            case "enter":
                self.node, self.round, self.entered = event["node"], event["round"], time.monotonic()
                self.detail, self.steps = "", None
                self._calls.clear()
            case "call" if not event["replayed"]:
                self._spend(event)
            case "training":
                self.detail = f"configuration {event['configuration']}, {event['number']} of {event['of']}"
            case "arm":
                self.detail = f"{event['name'].replace('_', ' ')}, {event['rows']} rows"
            case "batch":
                state = f"{event['status']}, {event['done']} of {event['of']} answered"
                self.detail = f"batch {event['batch']}: {state}"
            case "step":
                self._step(event)
            case "leave":
                self._leave(event)

    def minutes(self, now: float) -> float:
        """Return the minutes that the run has taken, over all resumes."""
        return self._minutes_before + (now - self.began) / 60

    def calls_a_second(self, now: float) -> float:
        """Return the rate of the calls of the node at work; 0 if there was none lately."""
        self._forget_calls(now)
        return len(self._calls) / max(min(now - self.entered, RATE_SECONDS), 1.0)

    def _begin(self, event: Event) -> None:
        """Take over the limits, and what happened before the run was resumed."""
        for earlier in Trace(RunFolder(event["folder"]).trace).events():
            if earlier["event"] == "leave":
                self._leave(earlier)
        self.rounds, self.limits = event["rounds"], event["limits"]
        self.spent = {**event["spent"]}  # a copy: other listeners hold the event, too
        self.began, self._minutes_before = time.monotonic(), event["minutes"]

    def _spend(self, event: Event) -> None:
        now = time.monotonic()
        self._calls.append(now)
        self._forget_calls(now)  # here, too: without a terminal nobody asks for the rate
        spent, cost = self.spent, event.get("cost")
        spent["calls"] = (spent["calls"] or 0) + 1
        tokens = event.get("prompt_tokens", 0) + event.get("completion_tokens", 0)
        spent["tokens"] = (spent["tokens"] or 0) + tokens
        spent["money"] = None if cost is None or spent["money"] is None else spent["money"] + cost

    def _forget_calls(self, now: float) -> None:
        """Drop the calls that are too long ago to count in the rate."""
        while self._calls and now - self._calls[0] > RATE_SECONDS:
            self._calls.popleft()

    def _step(self, event: Event) -> None:
        fresh = self.steps is None or event["step"] < self.steps.number or event["fold"] != self.steps.fold
        if fresh:
            self.steps = Steps(event["step"], event["of"], event["fold"], event["folds"])
        elif self.steps:
            self.steps.number = event["step"]

    def _leave(self, event: Event) -> None:
        self.steps, self.detail = None, ""
        for status, ids in event.get("samples", {}).items():
            # A kept text that is written again is a duplicate, but stays kept.
            self.samples |= {one: status for one in ids if self.samples.get(one) != "kept"}
        if event["node"] == "evaluate":
            self.scores[event["round"]] = event["metric"], event["accepted"]
            self.weaknesses = []
        elif event["node"] == "analyst":
            self.weaknesses = [*event.get("weaknesses", {}).values()]
