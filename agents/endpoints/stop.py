"""The request to stop, which every wait before a call heeds."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from tutelage.student.errors import Interrupted

T = TypeVar("T")
_NOTICED = 0.1  # seconds until a wait ends after the request


class Stop:
    """Whether the user asked to stop.

    It is a plain flag that waits look at, without locks and without the event loop, so that a signal handler
    can set it at any moment.
    """

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Ask to stop, from a signal handler or any thread. This cannot be taken back."""
        self._asked = True

    def check(self) -> None:
        """Raise Interrupted if the user asked to stop."""
        if self._asked:
            raise Interrupted("stopped before all calls were answered")

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Return the result of `work`; if the user asks to stop, cancel it and raise Interrupted."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                self.check()
                await asyncio.wait({task}, timeout=_NOTICED)
        finally:
            task.cancel()  # it does nothing to a task that is done
        return task.result()

    async def sleep(self, seconds: float) -> None:
        """Wait, or raise Interrupted as soon as the user asks to stop."""
        await self.wait_for(asyncio.sleep(seconds))
