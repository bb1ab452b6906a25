"""Open the page: a server on a free port of this machine, in a thread beside the caller."""

import asyncio
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from aiohttp import web
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.page.server import PageServer
from tutelage.graph.review.page.session import Session

HOST = "127.0.0.1"
NEXT_STEP = (
    "The run goes on with your decisions: the student is being trained. If the run asks for more, this page"
    " shows the next texts."
)
CLOSING = "The terminal shows how the run went on."


class ReviewPage:
    """A page that is open.

    Attributes:
        url: its address, which has the secret token.
    """

    def __init__(self, url: str, session: Session):
        self.url, self._session = url, session

    def wait(self) -> None:
        """Show the texts of the queue, and return when all are decided or the person has finished; at once if
        none waits. Call it again when the run has chosen other texts: in between, the page says that the run
        is at work.
        """
        self._session.begin()
        while not self._session.finished.wait(0.2):  # without a limit, Windows would not notice Ctrl-C
            pass


@contextmanager
def review_page(
    review: OpenReview, next_step: str = NEXT_STEP, closing: str = CLOSING
) -> Iterator[ReviewPage]:
    """Open the page of a review, and close it at the end.

    Args:
        review: a review that waits for decisions. They are on disk before the browser gets its answer.
        next_step: what the page says when the person has finished.
        closing: what the page, still open in the browser, says when nothing serves it any more.

    Raises:
        InputError: the run has not asked for a review.
    """
    token, session = secrets.token_urlsafe(), Session(review, next_step, closing)
    session.state()  # raises its error here, and not only when a browser asks
    opened: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    server = threading.Thread(target=lambda: asyncio.run(_serve(PageServer(session, token), opened)))
    server.start()
    port, loop, ended = opened.result()
    try:
        yield ReviewPage(f"http://{HOST}:{port}/{token}/", session)
    finally:
        loop.call_soon_threadsafe(ended.set)
        server.join()


async def _serve(
    server: PageServer, opened: "Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]"
) -> None:
    """Serve until the event is set; `opened` gets the port, the loop and this event, or the error."""
    ended = asyncio.Event()
    runner = web.AppRunner(server.app(), access_log=None)
    try:
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        port = runner.addresses[0][1]
        server.allow(port)
        opened.set_result((port, asyncio.get_running_loop(), ended))
    except BaseException as error:
        opened.set_exception(error)
        raise
    await ended.wait()
    await runner.cleanup()
