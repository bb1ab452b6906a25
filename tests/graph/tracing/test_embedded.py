"""Spans of a run inside an application that traces itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.outputs import ChatResult
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.graph.context import rehearsal_model
from tutelage.graph.runs.interactive import run
from tutelage.graph.task.schema import Task
from tutelage.student.encoder import Encoder


class UsersModel(RehearsalModel):
    """A chat model of the application, which traces its own work."""

    async def _agenerate(self, *arguments: Any, **options: Any) -> ChatResult:
        with trace.get_tracer("shop").start_as_current_span("forward pass"):
            return await super()._agenerate(*arguments, **options)


@pytest.mark.slow
def test_spans_join_those_of_the_application_and_those_of_its_model(
    folded: Callable[..., Task], encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # once for this process: OpenTelemetry cannot take it back
    monkeypatch.setenv("TUTELAGE_OTEL", "true")
    strategy = {"base": "auto", "samples": 12, "control": False}
    task = folded(strategy=strategy, budget={"rounds": 1}, teacher={"calibrate": 12})
    model = UsersModel(rehearsal=rehearsal_model(task, encoder=encoder).rehearsal)
    with trace.get_tracer("shop").start_as_current_span("request") as request:
        run(task, tmp_path / "run", teacher=model, encoder=encoder)
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}

    def parents(name: str) -> set[str]:
        return {names[span.parent.span_id] for span in spans if span.name == name and span.parent}

    assert parents("invoke_workflow tutelage") == {"request"}
    assert {"calibrate", "invoke_agent labeler"} <= parents("forward pass")
    assert {span.context.trace_id for span in spans} == {request.get_span_context().trace_id}
