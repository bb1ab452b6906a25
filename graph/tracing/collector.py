"""Send spans to a collector by OTLP over HTTP. A collector that does not answer must not hold a run up."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_TIMEOUT = 3.0  # seconds for a batch of spans; the SDK's default of 10 would delay the end of a run
_PAUSE = 60.0  # seconds without another try after one that failed
_LONGEST_END = 5.0  # seconds that the last spans may take
_log = logging.getLogger(__name__)


def open_tracer(version: str) -> "tuple[Tracer, Callable[[], None], Callable[[], None]]":
    """Return a tracer, a function that sends the spans so far, and one that closes the tracer.

    The tracer is that of the application's tracer provider, if it has set one, which then does the sending.

    Raises:
        InputError: there is neither a provider nor an endpoint, or the extra `otel` is not installed.
    """
    provider = trace.get_tracer_provider()
    if not isinstance(provider, trace.ProxyTracerProvider):
        return provider.get_tracer("tutelage", version), _nothing, _nothing
    own = _own_provider()
    return own.get_tracer("tutelage", version), lambda: _soon(own.force_flush), lambda: _soon(own.shutdown)


def _own_provider() -> TracerProvider:
    """Return a provider that sends to the endpoint of the standard variables. It is not made the global one:
    nothing else in this process is traced.
    """
    address = _first(ENDPOINTS)
    if not address:
        raise InputError(
            "TUTELAGE_OTEL is set, but no endpoint; set OTEL_EXPORTER_OTLP_ENDPOINT, e.g. to"
            " http://localhost:4318, or unset TUTELAGE_OTEL"
        )
    if (protocol := _first(_PROTOCOLS) or "http/protobuf") != "http/protobuf":
        raise InputError(
            f"spans are sent by http/protobuf only, got the protocol {protocol}; set {_PROTOCOLS[1]} to"
            " http/protobuf, and the endpoint to the collector's HTTP port, often 4318"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InputError("TUTELAGE_OTEL needs an extra package; run: pip install 'tutelage[otel]'") from None
    exporter = OTLPSpanExporter(timeout=None if _first(_TIMEOUTS) else _TIMEOUT)
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(PatientExporter(exporter, address)))
    return provider


class PatientExporter(SpanExporter):
    """Pass spans on; after a failure log one warning, and drop spans for a minute instead of waiting again.

    Args:
        exporter: sends the spans, and logs why it could not.
        address: of the collector, for the warning.
    """

    def __init__(self, exporter: SpanExporter, address: str):
        self._exporter, self._address = exporter, address
        self._paused_until, self._warned, self._reason = 0.0, False, ""
        self._logger = logging.getLogger(type(exporter).__module__)
        self._logger.addFilter(self._keep_reason)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, unless an earlier try has just failed."""
        if time.monotonic() < self._paused_until:
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._paused_until = time.monotonic() + _PAUSE
            if not self._warned:
                self._warned, place = True, urlsplit(self._address)
                shown = f"{place.hostname}:{place.port}" if place.hostname else self._address
                _log.warning("note: no spans reach %s (%s); the run goes on", shown, self._reason)
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()
        self._logger.removeFilter(self._keep_reason)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether no spans wait."""
        return self._exporter.force_flush(timeout_millis)

    def _keep_reason(self, record: logging.LogRecord) -> bool:
        """Keep the exporter's message for our warning, and do not print it."""
        self._reason = record.getMessage().rstrip(".")
        return False


def _resource() -> Resource:
    """Return the resource of the standard variables, with a service name if they have none."""
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {"service.name": "tutelage"})


def _soon(work: Callable[[], object]) -> None:
    """Do something, but wait only some seconds for it."""
    worker = threading.Thread(target=work, name="spans", daemon=True)
    worker.start()
    worker.join(_LONGEST_END)


def _first(variables: Sequence[str]) -> str:
    """Return the value of the first environment variable that has one, or ""."""
    return next((value for name in variables if (value := os.environ.get(name, ""))), "")


def _nothing() -> None:
    pass
