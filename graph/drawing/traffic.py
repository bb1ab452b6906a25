"""What a run did in the graph: how often each node ran and each edge was taken, from its trace."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.graph.drawing.layout import END, START, Edge
from tutelage.graph.run_folder.folder import RunFolder, rounds_over
from tutelage.graph.run_folder.trace import Event, Trace


@dataclass
class Traffic:
    """The counts of a run, over all resumes.

    Attributes:
        runs: how often each node finished its work.
        seconds: the seconds that each node worked in all.
        taken: how often each edge was taken.
        current: the node that was entered and not left; "" if there is none.
        running: whether a process is at work on the run.
        title: the name of the task, the state of the run, its rounds and steps.
    """

    runs: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    taken: Counter[Edge] = field(default_factory=Counter)
    current: str = ""
    running: bool = False
    title: str = ""

    def words(self, node: str) -> str:
        """Return how often a node ran and how long, or what it is doing; "" if it never ran."""
        count = f"{self.runs[node]}×, " if self.runs[node] else ""
        if node == self.current:
            return count + ("at work" if self.running else "unfinished")
        return count and count + _duration(self.seconds[node])

    def reached(self, node: str) -> bool:
        """Return whether the run came to a node."""
        return bool(self.runs[node]) or node in (START, self.current) or bool(self.taken["report", node])


def read_traffic(folder: Path | str) -> Traffic:
    """Return the traffic of a run.

    Raises:
        InputError: `folder` is not a run folder, or its version cannot be read.
    """
    run = RunFolder(folder)
    about = run.about()
    traffic = count(Trace(run.trace).events())
    traffic.running = _in_use(run.lock)
    state = "running" if traffic.running else "finished" if about.get("stop") else "unfinished"
    counts = (rounds_over(run.read_rounds()), "round"), (traffic.runs.total(), "step")
    rounds, steps = (f"{count} {name}{'s' * (count != 1)}" for count, name in counts)
    took = _duration(traffic.seconds.total())
    traffic.title = f"{about['task']['name']}: {state}, {rounds}, {steps} in {took}"
    return traffic


def count(events: Iterable[Event]) -> Traffic:
    """Count the traffic of trace events.

    An edge is taken when its target is entered after its source was left. A node that a killed process did
    not finish is entered again on resuming; this takes no edge. A run that is extended after its end goes
    back to a node before it: such a jump is counted under a pair of nodes that has no edge, and not drawn.
    """
    traffic, before, left = Traffic(), START, True
    for event in events:
        node = event["node"]
        if event["event"] == "enter":
            source = START if node == "prepare" and before != node else before
            traffic.taken[source, node] += left or source == START
            before, left = node, False
        elif event["event"] == "leave":
            traffic.runs[node] += 1
            traffic.seconds[node] += event["seconds"]
            traffic.taken[node, END] += node == "report"
            left = True
    traffic.current = "" if left else before
    return traffic


def _in_use(lock: Path) -> bool:
    """Return whether a process holds the lock of a run folder."""
    if not lock.exists():
        return False
    with closing(sqlite3.connect(f"{lock.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
        try:
            connection.execute("SELECT * FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
    return False


def _duration(seconds: float) -> str:
    """Return a duration in the two units that matter, as `0.4 s`, `12 s`, `3 min 5 s` or `2 h 10 min`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
