"""Print the events of a run as readable lines on stderr, with a spinner in a terminal."""

from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from tutelage.graph.run_folder.trace import Event

# What each node does, in words.
DOING = {
    "prepare": "reading the data, encoding the held-out texts",
    "first_labels": "labelling a first set of texts",
    "calibrate": "measuring the accuracy of the teacher",
    "train": "training the students",
    "final": "training the final student from scratch on all kept samples",
    "evaluate": "evaluating the students",
    "analyst": "looking for weaknesses",
    "generator": "writing texts",
    "pool": "selecting unlabelled texts of yours",
    "screen": "removing near-duplicates",
    "labeler": "labelling",
    "critic": "judging labels",
    "keep": "storing accepted samples",
    "refit": "training the final student and the students it is compared with",
    "report": "evaluating on the test set, writing the report",
}


class Progress:
    """A listener that prints trace events. Use it as a context manager around a run.

    Attributes:
        events: the number of events so far.
    """

    def __init__(self, title: str = "", console: Console | None = None):
        self.console, self.events = console or Console(stderr=True, highlight=False), 0
        self._title, self._calls = title, Counter[bool]()  # calls of the current node by `replayed`
        self._status = self.console.status("starting: loading libraries")

    def __enter__(self) -> Self:
        if self._title:
            self.console.print(f"[bold]{self._title}[/bold]")
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self.events += 1
        node, round = event["node"], event["round"]
        if event["event"] == "enter":
            self._calls.clear()
            self._status.update(f"round {round}: {DOING[node]}")
        elif event["event"] == "call":
            self._calls[event["replayed"]] += 1
            self._status.update(f"round {round}: {DOING[node]} ({self._called().strip()})")
        elif event["event"] == "training":
            which = f"configuration {event['configuration']}, {event['number']} of {event['of']}"
            self._status.update(f"round {round}: {DOING[node]} ({which})")
        elif event["event"] == "arm":
            self._status.update(f"{DOING[node]} ({event['name'].replace('_', ' ')}, {event['rows']} rows)")
        elif event["event"] == "batch":
            state = f"{event['status']}, {event['done']} of {event['of']} answered"
            self._status.update(f"round {round}: {DOING[node]} (batch {event['batch']}: {state})")
        elif event["event"] == "leave":
            # soft_wrap keeps a piped line on one line
            line = f"round {round}  {node:<9} {event['seconds']:>6.1f} s  {self._called():<9}  "
            summary = _summary(node, event, asked=bool(self._calls))
            self._print(line, summary)
            for note in event.get("notes", []):
                self._print(f"note: {note}")

    def _print(self, *parts: str) -> None:
        self.console.print(*parts, style="default", markup=False, soft_wrap=True)

    def _called(self) -> str:
        """Return the numbers of calls in words; replayed ones were answered from the journal, at no cost."""
        if not self._calls:
            return ""
        calls, replayed = self._calls[False], self._calls[True]
        return f"{calls:>3} call{'s' * (calls != 1)}" + (f", {replayed} replayed" if replayed else "")


def _summary(node: str, event: Event, *, asked: bool) -> str:
    """Summarize in a few words what a node did; `asked` is whether it called the teacher."""
    match node:
        case "prepare":
            sets = ("labelled", "seed", "diagnose", "gate", "test", "unlabelled")
            return ", ".join(f"{event[name]} {name}" for name in sets if name in event)
        case "first_labels":
            return f"{len(event['labelled'])} texts labelled by the teacher"
        case "calibrate":
            return _calibration(event)
        case "train" | "final":
            return _training(event)
        case "evaluate":
            return _evaluation(event)
        case "refit":
            return ", ".join(f"{arm['name'].replace('_', ' ')} ({arm['rows']} rows)" for arm in event["arms"])
        case "analyst":
            names = list(event.get("weaknesses", {}).values())
            if names:
                return f"{len(names)} weakness{'es' * (len(names) != 1)}: {'; '.join(names)}"
            return "no weakness found" if asked else "not called"
        case "generator":
            return f"{len(event['written'])} texts written, attempt {event['attempt']}"
        case "pool":
            return f"{len(event['drawn'])} texts drawn, {event['left']} left"
        case "screen" | "critic" | "keep":
            statuses = {status: len(ids) for status, ids in event["samples"].items()}
            counts = {**event.get("verdicts", {}), **statuses}
            none = "not called" if node == "critic" and not asked else "nothing refused"
            return ", ".join(f"{count} {status}" for status, count in counts.items()) or none
        case "labeler":
            return f"{len(event['labelled'])} labelled{' a second time' if event['again'] else ''}"
        case _:
            return str(event.get("stop", ""))


def _evaluation(event: Event) -> str:
    """Return the scores of a round's student, and whether the round was accepted."""
    outcome = "accepted" if event["accepted"] else f"rolled back (p = {event['p_value']:.3f})"
    if event.get("folded"):
        return f"out of fold {event['metric']:.3f}: {outcome}"
    gate = "" if event["gate"] is None else f", gate {event['gate']:.3f}"
    return f"diagnose {event['metric']:.3f}{gate}: {outcome}"


def _training(event: Event) -> str:
    """Return the number of texts, the share of samples used, and the training configurations compared."""
    share = f", {event['unique']:.0%} of the teacher's samples used" if "unique" in event else ""
    count = event.get("restarted")
    restarts = f"; restarted {count}x because the loss did not fall" if count is not None else ""
    return f"on {event['rows']} texts{share}{_configurations(event)}{restarts}"


def _configurations(event: Event) -> str:
    """Return the chosen training configuration and the scores of all."""
    if "configurations" not in event:
        return ""
    scores = ", ".join(f"{one['configuration']} {one['score']:.3f}" for one in event["configurations"])
    return f"; training {event['chosen']} (out of fold: {scores})"


def _calibration(event: Event) -> str:
    """Return the accuracy of the teacher and the calibration of its confidence."""
    if "rows" not in event:
        return "skipped"
    if not event["rows"]:
        return str(event["note"])
    ece = f"ECE {event['ece_before']:.3f} -> {event['ece_after']:.3f}"
    kind = f"confidence ({event['source']}) T {event['temperature']:.2f}"
    summary = f"right on {event['right']} of {event['rows']} of your texts{_student(event)}; {kind}, {ece}"
    return f"{summary}; {event['note']}" if event["note"] else summary


def _student(event: Event) -> str:
    """Return the score of a student trained on the user's labels alone, on the same rows."""
    if "baselines" not in event:
        return ""
    score, low, high = event["baselines"]["student"]
    return f" (a student trained on your labels alone: {score:.2f}, {low:.2f}-{high:.2f})"
