"""Stop a run by Ctrl-C so that it can be resumed."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.graph.context import RunContext


@contextmanager
def stop_on_interrupt(ctx: RunContext) -> Iterator[Any]:
    """Stop a run soon at the first Ctrl-C, and immediately at the second.

    Soon means: a training stops between two steps, no further teacher calls are sent, and any other node ends
    first. Yield the `RunControl` to invoke the graph with. In other threads than the main one, signals are
    left alone.
    """
    from langgraph.runtime import RunControl

    control = RunControl()
    if threading.current_thread() is not threading.main_thread():
        yield control
        return

    def stop(number: int, frame: object) -> None:
        control.request_drain("interrupt")
        ctx.ask_to_stop()
        # A signal may arrive while this thread is writing to the same stream, which cannot be entered twice.
        threading.Thread(target=_say, args=(str(ctx.folder.path),)).start()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield control
    finally:
        signal.signal(signal.SIGINT, before)


def _say(path: str) -> None:
    print(
        f"stopping; continue later with `tutelage resume {path}` (press Ctrl-C again to stop immediately)",
        file=sys.stderr,
        flush=True,
    )
