"""Print the progress of a long prediction on stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

EVERY = 30  # seconds between two lines where there is no terminal


class RowProgress:
    """A listener that shows how many rows are done: a bar in a terminal, else a line every 30 seconds."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        columns = BarColumn(), MofNCompleteColumn(), "rows", TimeRemainingColumn()
        self._bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("", total=None)
        self._started, self._printed, self._first = 0.0, 0.0, 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int, rows: int) -> None:
        """Show that so many rows of all are done."""
        self._bar.update(self._task, completed=done, total=rows)
        now = time.monotonic()
        if not self._started:  # earlier rows were done by a process that was stopped
            self._started = self._printed = now
            self._first = done
        elif not self.console.is_terminal and now - self._printed >= EVERY:
            self._printed = now
            speed = (done - self._first) / (now - self._started)
            self.console.print(f"{done:,} of {rows:,} rows, {speed:,.0f} a second", soft_wrap=True)
