"""Run all calls of a process on one event loop, in a thread of its own.

langchain-openai shares HTTP clients between models, these clients break on a second event loop, and the
caller may already be inside one.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def submit(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start a coroutine on the loop and return its future; the future's `result()` waits for it."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="teacher", daemon=True).start()
    return loop
