"""Write the events of a run as JSON lines, for programs that follow it."""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from tutelage.agents.providers.redact import redact
from tutelage.graph.run_folder.trace import Event
from tutelage.student.errors import InputError, Interrupted


class EventLines:
    """A listener that writes each event as one line, to standard output (`-`) or to the end of a file. Use it
    as a context manager around a run.

    The last line is the event `end`; its `state` is `finished`, `waiting` (for a person), `interrupted` or
    `failed`, and its `message` says why. Events are lost rather than the run: if they cannot be written any
    more, because the program that reads them has ended or the disk is full, a note on stderr says so, and the
    run goes on without them.
    """

    def __init__(self, to: str):
        self._to = to
        self._file: TextIO = sys.stdout
        self._broken = self._paused = False

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            InputError: it cannot be written.
        """
        if self._to != "-":
            try:
                self._file = Path(self._to).open("a", encoding="utf-8")
            except OSError as error:
                raise InputError(
                    f"--events {self._to} cannot be written: {error.strerror}; choose another file"
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        ended = "waiting" if self._paused else "finished"
        state = "interrupted" if stopped else "failed" if error else ended
        message = redact(" ".join(str(error or "").split()))
        self({"event": "end", "at": float(f"{time.time():.3f}"), "state": state, "message": message})
        if self._file is not sys.stdout:
            with suppress(OSError):  # what could not be written before cannot be written now
                self._file.close()

    def __call__(self, event: Event) -> None:
        """Write one event, as ASCII, which every encoding of standard output can hold."""
        self._paused = event["event"] == "paused"
        if self._broken:
            return
        try:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
        except OSError as error:
            self._broken = True
            self._discard()
            print(f"note: no more events are written: {error.strerror or error}", file=sys.stderr)

    def _discard(self) -> None:
        """Discard what is in the buffer; Python would try to write it at the end and fail."""
        with suppress(OSError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), self._file.fileno())
