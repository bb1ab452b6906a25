"""HTTP routes of the page. Only who knows its address, on this machine, can read or decide anything.

It uses aiohttp, which is installed in any case, for the transport of the OpenAI client. All handlers run in
one thread and none of them waits in the middle, so two windows of a browser cannot come between each other.
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web
from tutelage.graph.review.page.session import ConflictError, Session
from tutelage.student.errors import InputError

BODY = 1_000_000  # bytes of a request; a target text has at most 20,000 characters
_SCRIPTS = ("view.js", "editors.js", "page.js")
_FILES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    **{name: (name, "text/javascript") for name in _SCRIPTS},
}
_HEADERS = {
    # Texts are written by strangers and by language models: nothing in them may run or load anything.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address has the token
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """The page of a session; `app` is what aiohttp runs."""

    def __init__(self, session: Session, token: str):
        """Prepare the routes, which all begin with the token."""
        self._session, self._token = session, token
        self._hosts: set[str] = set()

    def allow(self, port: int) -> None:
        """Name the port that is listened on. Requests for other hosts are refused: a stranger's web page
        could reach this server under its own name (DNS rebinding).
        """
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY)
        start = f"/{self._token}/"
        app.add_routes([web.get(start + name, self._file) for name in _FILES])
        app.add_routes([web.get(start + "task", self._task), web.get(start + "state", self._state)])
        app.add_routes([web.post(start + name, self._change) for name in ("decide", "undo", "finish")])
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what does not come from the page; every error becomes a sentence in JSON."""
        try:
            self._admit(request)
            response = await handler(request)
        except ConflictError as error:
            state = self._session.state()
            response = web.json_response({"error": str(error), "state": state}, status=409)
        except (InputError, web.HTTPException) as error:
            response = _refusal(error)
        except OSError as error:  # a full disk, for example
            response = web.json_response({"error": f"the decision was not kept: {error}"}, status=507)
        except Exception as error:
            _log.error("a request of the review page failed", exc_info=error)
            response = web.json_response(
                {"error": f"the decision was not kept: {type(error).__name__}: {error}"}, status=500
            )
        response.headers.update(_HEADERS)
        return response

    def _admit(self, request: web.Request) -> None:
        given = request.rel_url.raw_path.lstrip("/").split("/")[0].encode("utf-8", "surrogateescape")
        if request.headers.get("Host", "").lower() not in self._hosts:
            raise web.HTTPForbidden(reason="this is not the address of the page")
        if not hmac.compare_digest(given, self._token.encode()):
            raise web.HTTPForbidden(reason="the address lacks the token; copy it whole from the terminal")
        if request.method == "POST" and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(reason="decisions are sent as application/json")

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = _FILES[request.path.rsplit("/", 1)[1]]
        content = (files("tutelage.graph.review.page") / name).read_bytes()
        return web.Response(body=content, content_type=kind, charset="utf-8")

    async def _task(self, request: web.Request) -> web.Response:
        return web.json_response(self._session.task())

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self._session.state())

    async def _change(self, request: web.Request) -> web.Response:
        wanted = _body(await request.read())
        match request.path.rsplit("/", 1)[1]:
            case "decide":
                state = self._session.decide(wanted)
            case "undo":
                state = self._session.undo()
            case _:
                state = self._session.stop()
        return web.json_response(state)


def _body(body: bytes) -> dict[str, Any]:
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is not JSON: {error}") from error
    if not isinstance(wanted, dict):
        raise InputError(f"the request is a JSON {type(wanted).__name__}, expected an object")
    return wanted


def _refusal(error: InputError | web.HTTPException) -> web.Response:
    if isinstance(error, InputError):
        return web.json_response({"error": str(error)}, status=400)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return web.json_response({"error": f"the request has more than {BODY:,} bytes"}, status=413)
    return web.json_response({"error": error.reason}, status=error.status)
