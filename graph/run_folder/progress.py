"""Print the events of a run as readable lines on stderr, with a spinner in a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from tutelage.graph.run_folder.trace import Event

_DOING = {
    "prepare": "reading the data, encoding the held-out texts",
    "first_labels": "labelling a first set of texts",
    "calibrate": "measuring the accuracy of the teacher",
    "train": "training the students",
    "final": "training the final student from scratch on all kept samples",
    "examine": "evaluating the students",
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
    """A listener that prints trace events. Use it as a context manager around a run."""

    def __init__(self, title: str = "", console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self._title, self._calls = title, 0
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
        node, round = event["node"], event["round"]
        if event["event"] == "enter":
            self._calls = 0
            self._status.update(f"round {round}: {_DOING[node]}")
        elif event["event"] == "call":
            self._calls += 1
            self._status.update(f"round {round}: {_DOING[node]} ({self._calls} calls)")
        elif event["event"] == "training":
            which = f"configuration {event['configuration']}, {event['number']} of {event['of']}"
            self._status.update(f"round {round}: {_DOING[node]} ({which})")
        elif event["event"] == "arm":
            self._status.update(f"{_DOING[node]} ({event['name'].replace('_', ' ')}, {event['rows']} rows)")
        elif event["event"] == "batch":
            state = f"{event['status']}, {event['done']} of {event['of']} answered"
            self._status.update(f"round {round}: {_DOING[node]} (batch {event['batch']}: {state})")
        elif event["event"] == "leave":
            calls = f"{self._calls:>3} calls" if self._calls else " " * 9
            # soft_wrap keeps a piped line on one line
            line = f"round {round}  {node:<9} {event['seconds']:>6.1f} s  {calls}  "
            self.console.print(line, _summary(node, event), style="default", markup=False, soft_wrap=True)


def _summary(node: str, event: Event) -> str:
    """Summarize in a few words what a node did."""
    match node:
        case "prepare":
            sets = ("labelled", "seed", "diagnose", "gate", "test", "unlabelled")
            return ", ".join(f"{event[name]} {name}" for name in sets if name in event)
        case "first_labels":
            return f"{len(event['labelled'])} texts labelled by the teacher"
        case "calibrate":
            return _calibration(event)
        case "train" | "final":
            share = f", {event['unique']:.0%} of the teacher's samples used" if "unique" in event else ""
            count = event.get("restarted")
            restarts = f"; restarted {count}x because the loss did not fall" if count is not None else ""
            return f"on {event['rows']} texts{share}{_configurations(event)}{restarts}"
        case "refit":
            return ", ".join(f"{arm['name'].replace('_', ' ')} ({arm['rows']} rows)" for arm in event["arms"])
        case "examine":
            outcome = "accepted" if event["accepted"] else f"rolled back (p = {event['chance']:.3f})"
            if event.get("folded"):
                return f"out of fold {event['metric']:.3f}: {outcome}"
            gate = "" if event["gate"] is None else f", gate {event['gate']:.3f}"
            return f"diagnose {event['metric']:.3f}{gate}: {outcome}"
        case "analyst":
            names = list(event.get("weaknesses", {}).values())
            if "weaknesses" not in event:
                return "no weaknesses asked for"
            return f"{len(names)} weaknesses: {'; '.join(names)}" if names else "no weakness found"
        case "generator":
            return f"{len(event['written'])} texts written, attempt {event['attempt']}"
        case "pool":
            return f"{len(event['drawn'])} texts drawn, {event['left']} left"
        case "screen" | "keep":
            counts = {status: len(ids) for status, ids in event["samples"].items()}
            return ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing refused"
        case "labeler":
            return f"{len(event['labelled'])} labelled{' a second time' if event['again'] else ''}"
        case "critic":
            verdicts = event.get("verdicts")
            return "not asked" if verdicts is None else ", ".join(f"{n} {v}" for v, n in verdicts.items())
        case _:
            return str(event.get("stop", ""))


def _configurations(event: Event) -> str:
    """Return the chosen training configuration and the scores of all."""
    if "configurations" not in event:
        return ""
    scores = ", ".join(f"{one['configuration']} {one['score']:.3f}" for one in event["configurations"])
    return f"; training {event['chosen']} (out of fold: {scores})"


def _calibration(event: Event) -> str:
    """Return the accuracy of the teacher and the calibration of its confidence."""
    if "rows" not in event:
        return "not asked for"
    if not event["rows"]:
        return str(event["note"])
    ece = f"ECE {event['ece_before']:.3f} -> {event['ece_after']:.3f}"
    kind = f"confidence ({event['source']}) T {event['temperature']:.2f}"
    summary = f"right on {event['right']} of {event['rows']} of your texts{_student(event)}; {kind}, {ece}"
    return f"{summary}; {event['note']}" if event["note"] else summary


def _student(event: Event) -> str:
    """Return the score of a student trained on the user's labels alone, on the same rows."""
    if "rivals" not in event:
        return ""
    score, low, high = event["rivals"]["student"]
    return f" (a student trained on your labels alone: {score:.2f}, {low:.2f}-{high:.2f})"
