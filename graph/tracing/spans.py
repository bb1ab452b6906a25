"""OpenTelemetry spans of a run, made from its trace events."""

from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from tutelage.graph.run_folder.trace import Event
from tutelage.graph.tracing.attributes import (
    Attributes,
    chat_attributes,
    node_attributes,
    reply_attributes,
    result_attributes,
    run_attributes,
)

_LAST = "report"  # the node that ends a run


class Spans:
    """A listener that makes a span of the run, of each round, each node and each teacher call.

    While a node works, its span is the current one, so that spans of the user's own code lie below it. The
    span of the run lies below the span that is current when the run begins.

    Args:
        tracer: makes the spans.
        about: further attributes of the run's span.
        flush: called when the span of the run has ended.
    """

    def __init__(self, tracer: Tracer, about: Mapping[str, str], flush: Callable[[], None]):
        self._tracer, self._about, self._flush = tracer, about, flush
        self._run: Span | None = None
        self._round: Span | None = None
        self._node: Span | None = None
        self._number = -1
        self._current: Token[context.Context] | None = None

    def __call__(self, event: Event) -> None:
        """Make or end the span that an event stands for."""
        match event["event"]:
            case "enter":
                self._enter(event)
            case "call":
                self._add_call(event)
            case "refused":
                self._add_refusal(event)
            case "leave":
                self._leave(event)
                if event["node"] == _LAST:
                    self._end(event, {"tutelage.finished": True})
            case "paused":  # for a person; the spans of a resumed run are a trace of their own
                self._leave(event)
                self._end(event, {"tutelage.finished": False, "tutelage.waiting": event["waiting"]})
            case "failed":
                failure = Status(StatusCode.ERROR, event["error"])
                for span in (self._node, self._round, self._run):
                    if span:
                        span.set_status(failure)
                        span.set_attribute("error.type", event["error"])
                self._leave(event)
                self._end(event, {"tutelage.finished": False})

    def close(self) -> None:
        """End the spans of a run that was stopped between two nodes."""
        self._end(None, {"tutelage.finished": False})

    def _enter(self, event: Event) -> None:
        number, start = event["round"], _nanoseconds(event["at"])
        if self._run is None:
            attributes = {**run_attributes(), **self._about}
            name = "invoke_workflow tutelage"
            self._run = self._tracer.start_span(name, attributes=attributes, start_time=start)
        if self._round is None or self._number != number:
            if self._round:
                self._round.end(start)
            attributes = {"tutelage.round": number}
            self._round, self._number = self._below(self._run, f"round {number}", attributes, start), number
        attributes = node_attributes(event["node"], number)
        operation = attributes.get("gen_ai.operation.name")
        name = f"{operation} {event['node']}" if operation else event["node"]
        self._node = self._below(self._round, name, attributes, start)
        self._current = context.attach(trace.set_span_in_context(self._node))

    def _leave(self, event: Event) -> None:
        if self._current is not None:
            context.detach(self._current)
            self._current = None
        if self._node:
            self._node.set_attributes(result_attributes(event))
            self._node.end(_nanoseconds(event["at"]))
            self._node = None

    def _add_call(self, event: Event) -> None:
        attributes = {**chat_attributes(event), **reply_attributes(event)}
        self._chat(attributes, _nanoseconds(event["began"])).end(_nanoseconds(event["at"]))

    def _add_refusal(self, event: Event) -> None:
        """Add a span for a call that the provider refused. One that the budget refused was never made."""
        if event["over_budget"]:
            return
        at = _nanoseconds(event["at"])
        span = self._chat({**chat_attributes(event), "error.type": "refused"}, at)
        span.set_status(Status(StatusCode.ERROR))
        span.end(at)

    def _chat(self, attributes: Attributes, start: int) -> Span:
        name = f"chat {attributes['gen_ai.request.model']}"
        kind = SpanKind.INTERNAL if attributes.get("tutelage.replayed") else SpanKind.CLIENT
        return self._below(self._node, name, attributes, start, kind)

    def _below(
        self,
        parent: Span | None,
        name: str,
        attributes: Attributes,
        start: int,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        place: Any = trace.set_span_in_context(parent) if parent else None
        return self._tracer.start_span(name, place, kind, attributes, start_time=start)

    def _end(self, event: Event | None, attributes: Attributes) -> None:
        """End the spans of the round and the run."""
        at = _nanoseconds(event["at"]) if event else None
        if self._run is None:
            return
        if self._round:
            self._round.end(at)
        self._run.set_attributes(attributes)
        self._run.end(at)
        self._run = self._round = None
        self._flush()


def _nanoseconds(seconds: float) -> int:
    """Return a time of an event, which has milliseconds, as OpenTelemetry counts it."""
    return round(1000 * seconds) * 1_000_000
