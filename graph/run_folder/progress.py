"""Progress: a run's events as lines for people, on stderr, with a spinner in a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from tutelage.graph.run_folder.trace import Event

_DOING = {
    "prepare": "reading the sets, encoding what is sealed",
    "first_labels": "having a first set of texts labelled",
    "calibrate": "measuring how often the teacher is right",
    "train": "training the students",
    "final": "training the final student, afresh on all that is kept",
    "examine": "measuring the students",
    "analyst": "looking for weaknesses",
    "generator": "writing texts",
    "pool": "choosing texts of your own",
    "screen": "refusing near-duplicates",
    "labeler": "labelling blind",
    "critic": "judging",
    "keep": "keeping what was accepted",
    "refit": "training the student that is left, and those it is compared with",
    "report": "opening the test set, writing the report",
}


class Progress:
    """A listener for trace events; use as a context manager around a run."""

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
            told = f"configuration {event['configuration']}, {event['number']} of {event['of']}"
            self._status.update(f"round {round}: {_DOING[node]} ({told})")
        elif event["event"] == "arm":
            self._status.update(f"{_DOING[node]} ({event['name'].replace('_', ' ')}, {event['rows']} rows)")
        elif event["event"] == "batch":
            told = f"{event['status']}, {event['done']} of {event['of']} answered"
            self._status.update(f"round {round}: {_DOING[node]} (batch {event['batch']}: {told})")
        elif event["event"] == "leave":
            calls = f"{self._calls:>3} calls" if self._calls else " " * 9
            # soft_wrap: a piped line is one line
            line = f"round {round}  {node:<9} {event['seconds']:>6.1f} s  {calls}  "
            self.console.print(line, _summary(node, event), style="default", markup=False, soft_wrap=True)


def _summary(node: str, event: Event) -> str:
    """What a node did, in a few words."""
    match node:
        case "prepare":
            sets = ("labelled", "seed", "diagnose", "gate", "test", "unlabelled")
            return ", ".join(f"{event[name]} {name}" for name in sets if name in event)
        case "first_labels":
            return f"{len(event['labelled'])} texts labelled by the teacher"
        case "calibrate":
            return _trust(event)
        case "train" | "final":
            share = f", of the teacher's {event['unique']:.0%}" if "unique" in event else ""
            again = (
                f"; started again {event['restarted']}x, its loss did not fall"
                if "restarted" in event
                else ""
            )
            return f"on {event['rows']} texts{share}{_configurations(event)}{again}"
        case "refit":
            return ", ".join(f"{arm['name'].replace('_', ' ')} ({arm['rows']} rows)" for arm in event["arms"])
        case "examine":
            fate = "accepted" if event["accepted"] else f"rolled back (p = {event['chance']:.3f})"
            if event.get("folded"):
                return f"out of fold {event['metric']:.3f}: {fate}"
            gate = "" if event["gate"] is None else f", gate {event['gate']:.3f}"
            return f"diagnose {event['metric']:.3f}{gate}: {fate}"
        case "analyst":
            names = list(event.get("weaknesses", {}).values())
            if "weaknesses" not in event:
                return "no feedback asked for"
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
    """Which training configuration was chosen, with the scores of all."""
    if "configurations" not in event:
        return ""
    scores = ", ".join(f"{one['configuration']} {one['score']:.3f}" for one in event["configurations"])
    return f"; training {event['chosen']} (out of fold: {scores})"


def _trust(event: Event) -> str:
    """How far the teacher is right, and its confidence to be trusted."""
    if "rows" not in event:
        return "not asked for"
    if not event["rows"]:
        return str(event["note"])
    ece = f"ECE {event['ece_before']:.3f} -> {event['ece_after']:.3f}"
    kind = f"confidence ({event['source']}) T {event['temperature']:.2f}"
    told = f"right on {event['right']} of {event['rows']} of your texts{_student(event)}; {kind}, {ece}"
    return f"{told}; {event['note']}" if event["note"] else told


def _student(event: Event) -> str:
    """What a student of the user's labels alone scores on the same rows."""
    if "rivals" not in event:
        return ""
    score, low, high = event["rivals"]["student"]
    return f" (a student of your labels alone: {score:.2f}, {low:.2f}-{high:.2f})"
