"""The routes of the server, and the one place where requests are admitted and counted, and errors worded."""

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from tutelage import __version__
from tutelage.graph.serving.batching import Batcher
from tutelage.graph.serving.limits import Limits, RateLimiter
from tutelage.graph.serving.metrics import Metrics
from tutelage.graph.serving.payload import read_request, write_reply
from tutelage.graph.serving.refused import Refused
from tutelage.graph.serving.served_model import Answer, ServedModel

_GONE = 499  # in the metrics: the client closed the connection before its reply, as nginx counts it
_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A student behind HTTP; `app` is what aiohttp runs."""

    def __init__(self, model: ServedModel, limits: Limits, metrics: Metrics, token: str | None = None):
        """Prepare the routes. With a `token`, every request but `GET /health` must bring it."""
        self._model, self._limits, self._metrics, self._token = model, limits, metrics, token
        self._rates = RateLimiter(limits.rate) if limits.rate else None
        self._batcher = Batcher[Answer](
            model.predict, size=limits.batch, queue=limits.queue, watch=metrics.count_batch
        )
        metrics.watch_queue(lambda: self._batcher.waiting)

    def app(self) -> web.Application:
        """Return the application; its queue is worked on while it runs."""
        app = web.Application(middlewares=[self._guard], client_max_size=self._limits.body)
        app.add_routes(
            [
                web.get("/", self._describe),
                web.get("/health", self._health),
                web.get("/metrics", self._show_metrics),
                web.post("/predict", self._predict),
            ]
        )
        app.cleanup_ctx.append(self._working)
        return app

    async def _working(self, app: web.Application) -> AsyncIterator[None]:
        self._batcher.start()
        yield
        await self._batcher.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Admit a request, answer it, and count it; every error becomes a sentence in JSON."""
        start, status = time.perf_counter(), _GONE
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "other"
        try:
            try:
                if path != "/health":
                    self._admit(request)
                response = await handler(request)
            except Exception as error:
                response = self._error(request, error)
            status = response.status
            return response
        finally:
            self._metrics.count_request(path, status, time.perf_counter() - start)

    def _admit(self, request: web.Request) -> None:
        """Check the rate of the client, then its token."""
        if self._rates:
            self._rates.take(request.remote or "")
        if self._token is None:
            return
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            found = "was wrong" if given else "is missing"
            raise Refused(401, f"the token {found}; send it in the header `Authorization: Bearer …`")

    async def _predict(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(self._limits.patience):
                body = await request.read()
        except TimeoutError as error:
            raise Refused(
                408, f"the body did not arrive within {self._limits.patience:g} s; send it again"
            ) from error
        wanted = read_request(body, self._model, self._limits.texts)
        answers = await self._batcher.results(wanted.texts)
        self._metrics.count_texts(len(answers))
        return web.json_response(write_reply(answers, wanted, self._model.labels))

    async def _describe(self, request: web.Request) -> web.Response:
        model = self._model
        about = {"tutelage": __version__, "kind": model.kind, "labels": model.labels, "fields": model.fields}
        offers = {"probabilities": model.gives_probabilities, "precision": model.reliability is not None}
        return web.json_response(about | offers)

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": self._metrics.content_type})

    def _error(self, request: web.Request, error: Exception) -> web.Response:
        """Return the reply to a request that failed; an unexpected error is logged."""
        headers, where = {}, request.rel_url.raw_path[:60]
        match error:
            case Refused():
                status, sentence = error.status, str(error)
                if error.retry_after is not None:
                    headers["Retry-After"] = str(error.retry_after)
                if status == 401:
                    headers["WWW-Authenticate"] = "Bearer"
            case web.HTTPRequestEntityTooLarge():
                status = error.status
                sentence = f"the body has more than {self._limits.body:,} bytes; send several requests"
            case web.HTTPMethodNotAllowed():
                status, headers["Allow"] = error.status, ", ".join(sorted(error.allowed_methods))
                sentence = f"{where} does not take {request.method}; use {headers['Allow']}"
            case web.HTTPNotFound():
                status = error.status
                sentence = f"there is nothing at {where}; the paths are /predict, /, /health and /metrics"
            case web.HTTPException():
                status, sentence = error.status, f"the request was refused: {error.reason}"
            case web.RequestPayloadError() | ConnectionError():
                status, sentence = 400, f"the body cannot be read ({error}); send it again"
            case _:
                _log.error("a request to %s failed", where, exc_info=error)
                status = 500
                sentence = (
                    "the server failed on this request; its log says why, and other requests still work"
                )
        return web.json_response({"error": sentence}, status=status, headers=headers)
