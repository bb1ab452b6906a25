"""Dynamic batching: the texts of all waiting requests are predicted together, in a thread of their own."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from tutelage.graph.serving.refused import Refused

Result = TypeVar("Result")


class Batcher(Generic[Result]):
    """A bounded queue of texts, and the worker that predicts them. While one batch is predicted the next one
    gathers, so that batches grow with the load and a single request never waits for company.
    """

    def __init__(
        self,
        predict: Callable[[list[str]], Sequence[Result]],
        *,
        size: int,
        queue: int,
        watch: Callable[[int], None] = lambda _: None,
    ):
        """Prepare the queue; `start` starts the worker.

        Args:
            predict: returns a result for each text; it is called in one thread.
            size: the most texts of a batch.
            queue: the most texts that wait.
            watch: is called with the number of texts of each batch, in the thread of the event loop.
        """
        self._predict, self._size, self._queue, self._watch = predict, size, queue, watch
        self._waiting: deque[tuple[str, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Return how many texts wait, without those that are being predicted."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the worker in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop the worker and its thread. Requests still waiting are left unanswered: end them first."""
        if self._worker:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker
        self._thread.shutdown(cancel_futures=True)

    async def results(self, texts: Sequence[str]) -> list[Result]:
        """Return the result for each text of a request, in their order. If the caller is cancelled, its texts
        leave the queue.

        Raises:
            Refused: with status 503, the queue has no room for these texts.
            Exception: what `predict` raises for one of them.
        """
        if self.waiting + len(texts) > self._queue:
            raise Refused(
                503,
                f"{self.waiting} texts wait already, and {self._queue} may; try again in a second",
                retry_after=1,
            )
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in texts]
        self._waiting.extend(zip(texts, futures, strict=True))
        self._arrived.set()
        try:
            return list(await asyncio.gather(*futures))
        except BaseException:
            for future in futures:
                future.cancel()
            self._waiting = deque(one for one in self._waiting if not one[1].done())
            raise

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            if not batch:  # the requests left the queue
                continue
            self._watch(len(batch))
            texts = [text for text, _ in batch]
            outcomes = await loop.run_in_executor(self._thread, self._outcomes, texts)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if future.done():  # the client has gone
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _outcomes(self, texts: list[str]) -> list[Result | Exception]:
        """Return a result or an error for each text. If a batch fails, each of its texts is tried alone, so
        that one text cannot make the others fail.
        """
        try:
            return self._checked(texts)
        except BaseException as error:  # a panic in a Rust library is no Exception
            if len(texts) > 1:
                return [self._outcomes([text])[0] for text in texts]
            return [error if isinstance(error, Exception) else RuntimeError(repr(error))]

    def _checked(self, texts: list[str]) -> list[Result | Exception]:
        found = list[Result | Exception](self._predict(texts))
        if len(found) != len(texts):
            raise RuntimeError(f"{len(found)} predictions for {len(texts)} texts")
        return found
