"""A local collector, and a run that sends its spans there."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.student.encoder import Encoder

KEY = "sk-0123456789-of-the-teacher"


class Received(NamedTuple):
    """One request that a collector got."""

    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def _collecting() -> Iterator[tuple[str, list[Received]]]:
    """Yield the URL of a server that takes everything, and the list of what it got."""
    log: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            log.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.do_GET()

        def do_GET(self) -> None:
            answer = b"{}" if self.path.startswith(("/info", "/runs")) else b""
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def collecting() -> Callable[[], Any]:
    """Return a function that starts a collector."""
    return _collecting


class TracedRun(NamedTuple):
    """A finished run, what a collector of spans and one of LangSmith got, and what the command printed."""

    folder: RunFolder
    task: Task
    otel: list[Received]
    langsmith: list[Received]
    printed: str

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = self.folder.trace.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def traced(
    folded: Callable[..., Task],
    command: Callable[..., Any],
    encoder: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TracedRun]:
    """A run of one round with every role, by a teacher behind HTTP with a key, traced by both tools."""
    place = tmp_path_factory.mktemp("traced")
    strategy = {"base": "auto", "samples": 12, "pool_share": 0.5, "critic": "all"}
    with (
        _collecting() as (spans_url, spans),
        _collecting() as (langsmith_url, langsmith),
        serve(rehearsal_model(sample_task(), encoder=encoder)) as url,
    ):
        teacher = {"model": "openai:rehearsal", "base_url": url, "api_key_env": "SHOP_KEY", "calibrate": 12}
        task = folded(strategy=strategy, teacher=teacher, budget={"rounds": 1})
        file = place / "task.yaml"
        file.write_text(yaml.safe_dump(json.loads(task.model_dump_json(exclude_none=True))))
        environment = {
            **os.environ,
            "SHOP_KEY": KEY,
            "TUTELAGE_OTEL": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans_url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=shop",
            "TUTELAGE_MLFLOW": "true",
            "MLFLOW_TRACKING_URI": (place / "mlflow").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_ENDPOINT": langsmith_url,
            "LANGSMITH_API_KEY": "of-the-tracer",
        }
        done = command("run", file, "--out", place / "run", env=environment)
        assert done.returncode == 0, done.stderr
        yield TracedRun(RunFolder(place / "run"), task, spans, langsmith, done.stderr)


class SpanLine(NamedTuple):
    """A span as it arrived."""

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    kind: int
    begin: int
    end: int
    about: dict[str, Any]


@pytest.fixture(scope="session")
def spans_of() -> Callable[[list[Received]], list[SpanLine]]:
    """Return a function that decodes the spans that a collector got."""
    return _spans_of


def _spans_of(received: list[Received]) -> list[SpanLine]:
    requests = [ExportTraceServiceRequest.FromString(one.body) for one in received]
    scopes = [scope for one in requests for part in one.resource_spans for scope in part.scope_spans]
    return [
        SpanLine(
            span.name,
            span.span_id,
            span.parent_span_id,
            span.trace_id,
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            {one.key: _value(one.value) for one in span.attributes},
        )
        for scope in scopes
        for span in scope.spans
    ]


def _value(value: AnyValue) -> Any:
    if value.HasField("array_value"):
        return [_value(one) for one in value.array_value.values]
    return getattr(value, str(value.WhichOneof("value")))


@pytest.fixture(scope="session")
def texts_in() -> Callable[[TracedRun], list[str]]:
    """Return a function that lists the texts of a run: those of the task and of its data, and the prompts."""
    return _texts_in


def _texts_in(run: TracedRun) -> list[str]:
    texts = [run.task.instruction, *run.task.labels.values()]
    assert run.task.data.labelled
    assert run.task.data.unlabelled
    for path in (run.task.data.labelled.path, run.task.data.unlabelled.path, run.folder.samples):
        texts += [json.loads(line)["text"] for line in Path(path).read_text().splitlines()]
    texts += [card["hypothesis"] for card in json.loads(run.folder.weaknesses.read_text())]
    return [text for text in texts if len(text) > 12]
