"""The process that serves: it loads the student, opens the port, and ends when it is told to."""

import asyncio
import ipaddress
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from tutelage.graph.serving.limits import Limits
from tutelage.graph.serving.metrics import Metrics
from tutelage.graph.serving.served_model import ServedModel
from tutelage.graph.serving.server import Server
from tutelage.student.errors import InputError
from tutelage.student.models.onnx_student import Engine

TOKEN = "TUTELAGE_SERVE_TOKEN"
_BACKLOG = 1024  # connections that may wait to be accepted; beyond it clients wait a second and try again

_log = logging.getLogger(__name__)
# Anybody who can connect can send what is not HTTP; aiohttp would log a traceback of each.
_log.addFilter(lambda line: not (line.exc_info and isinstance(line.exc_info[1], HttpProcessingError)))


def serve(
    path: Path,
    limits: Limits,
    *,
    engine: Engine = "auto",
    host: str = "127.0.0.1",
    port: int = 8000,
    announce: Callable[[str], None] = print,
) -> signal.Signals:
    """Serve a student until SIGTERM or Ctrl-C; requests that were accepted are then still answered, for up to
    a minute. A second signal ends the process at once.

    Args:
        path: a run folder, a student folder or an exported folder.
        limits: of requests, clients and the queue.
        engine: what runs the student (see `load_predictor`).
        host: the address to listen on.
        port: 0 takes any free port.
        announce: is called with a line for the user, with the address, when the port is open.

    Returns:
        The signal that ended it.

    Raises:
        InputError: the student cannot be loaded, the port cannot be opened, a package is missing, or others
            than this machine could use the server without a token.
    """
    limits.check()
    metrics, token = Metrics(), _token(host)
    server = Server(ServedModel(path, engine), limits, metrics, token)
    return asyncio.run(_until_ended(server, host, port, announce))


@asynccontextmanager
async def listening(server: Server, host: str, port: int) -> AsyncIterator[list[str]]:
    """Open a port for a server. At the end the port is closed, and what was accepted is answered.

    Yields:
        The addresses, as `http://127.0.0.1:8000`; a name such as localhost can have several.

    Raises:
        InputError: the port cannot be opened.
    """
    # A request whose client has gone is cancelled, so that its texts leave the queue.
    runner = web.AppRunner(server.app(), access_log=None, logger=_log, handler_cancellation=True)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        except OSError as error:
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else error.strerror  # negative: the name is unknown
            raise InputError(
                f"cannot listen on {host}:{port}: {why}; choose another --port or --host"
            ) from error
        hosts = [(f"[{one[0]}]" if ":" in one[0] else one[0], one[1]) for one in runner.addresses]
        yield [f"http://{name}:{number}" for name, number in hosts]
    finally:
        await runner.cleanup()


async def _until_ended(
    server: Server, host: str, port: int, announce: Callable[[str], None]
) -> signal.Signals:
    with _signals() as ended:
        async with listening(server, host, port) as addresses:
            for address in addresses:
                announce(f"serving at {address} (Ctrl-C ends it)")
            return await ended


@contextmanager
def _signals() -> Iterator[asyncio.Future[signal.Signals]]:
    """Yield a future that gets the first SIGTERM or SIGINT; a second one ends the process."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[signal.Signals] = loop.create_future()
    both = (signal.SIGTERM, signal.SIGINT)

    def end(number: int, frame: FrameType | None) -> None:
        for one in both:
            signal.signal(one, signal.SIG_DFL)
        loop.call_soon_threadsafe(ended.set_result, signal.Signals(number))

    before = {one: signal.signal(one, end) for one in both}
    try:
        yield ended
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _token(host: str) -> str | None:
    """Return the token that requests must bring, or None if none is set.

    Raises:
        InputError: it is blank, or the host is reachable from other machines and there is none.
    """
    token = os.environ.get(TOKEN)
    if token is not None and not token.strip():
        raise InputError(f"{TOKEN} is set but blank; give it a value, or unset it")
    if token is None and not _loopback(host):
        raise InputError(
            f"--host {host} is reachable from other machines and {TOKEN} is not set; set it to a secret that"
            " clients send, or serve on 127.0.0.1"
        )
    return token and token.strip()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
