"""Show the events of a run on stderr: a line for each finished node and, in a terminal, where the run is."""

import textwrap
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text
from tutelage.graph.run_folder.live_state import LiveState
from tutelage.graph.run_folder.live_view import live_lines
from tutelage.graph.run_folder.node_summaries import summary, waiting
from tutelage.graph.run_folder.trace import Event, Listener


class Progress:
    """A listener that prints trace events. Use it as a context manager around a run.

    Args:
        title: is printed first.
        console: where to print; default stderr.
        also: another listener, which gets every event too.
        live: whether to show in a terminal where the run is, below the lines of finished nodes.

    Attributes:
        events: the number of events so far.
    """

    def __init__(
        self,
        title: str = "",
        console: Console | None = None,
        *,
        also: Listener | None = None,
        live: bool = True,
    ):
        self.console, self.events = console or Console(stderr=True, highlight=False), 0
        self._title, self._also = title, also
        self._calls = Counter[bool]()  # calls of the current node by `replayed`
        self._state, self._changing = LiveState(), threading.Lock()
        self._spinner = Spinner("line" if self.console.options.ascii_only else "dots", style="green")
        self._live: Live | None = None
        if live and self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._rendered, console=self.console, transient=True, refresh_per_second=6
            )

    def __enter__(self) -> Self:
        if self._title:
            self.console.print(f"[bold]{self._title}[/bold]")
        if self._live:
            try:
                self._live.start(refresh=True)
            except BaseException:  # Ctrl-C: without `__enter__` there is no `__exit__`
                self._live.stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self.events += 1
        if self._also:
            self._also(event)
        with self._changing:  # not while printing: the display's thread renders under its own lock
            self._state.see(event)
        node, round = event["node"], event["round"]
        if event["event"] == "enter":
            self._calls.clear()
        elif event["event"] == "call":
            self._calls[event["replayed"]] += 1
        elif event["event"] == "paused":
            self._print_line(f"round {round}  {node:<9} {event['seconds']:>6.1f} s  ", waiting(event))
        elif event["event"] == "leave":
            line = f"round {round}  {node:<9} {event['seconds']:>6.1f} s  {self._called():<9}  "
            self._print_line(line, summary(node, event, asked=bool(self._calls)))
            for note in event.get("notes", []):
                self._print(f"note: {note}")

    def _rendered(self) -> Constrain:
        """Return the lines to show. Two columns stay free: a terminal writes `^C` after the last line, and a
        full line would be broken by it.
        """
        options, now = self.console.options, time.monotonic()
        width = options.max_width - 2
        with self._changing:
            first, *rest = live_lines(self._state, now, width, ascii_only=options.ascii_only)
        assert isinstance(first, Text)
        self._spinner.update(text=first)
        headline = self._spinner.render(self.console.get_time())
        if isinstance(headline, Text):
            headline.no_wrap, headline.overflow = True, "ellipsis"
        shown = Group(headline, *rest[: max(0, options.max_height - 3)])
        return Constrain(shown, width)

    def _print_line(self, start: str, text: str) -> None:
        """Print the line of a node: in a terminal wrapped between words, in a pipe on one line."""
        line = f"{start} {text}"
        if self.console.is_terminal:
            width = self.console.width - 1
            indent = " " * min(len(start) + 1, max(width - 30, 0))
            line = textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)
        self._print(line)

    def _print(self, line: str) -> None:
        # Not wrapped: a command in a note can then be copied from a terminal, and a piped line is one line.
        self.console.print(line, style="default", markup=False, soft_wrap=True)

    def _called(self) -> str:
        """Return the numbers of calls in words; replayed ones were answered from the journal, at no cost."""
        if not self._calls:
            return ""
        calls, replayed = self._calls[False], self._calls[True]
        return f"{calls:>3} call{'s' * (calls != 1)}" + (f", {replayed} replayed" if replayed else "")
