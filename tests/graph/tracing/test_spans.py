"""OpenTelemetry spans of a run, as they arrive at a local collector."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from tutelage.graph.run_folder.trace import Trace
from tutelage.graph.tracing.spans import Spans

CLIENT = 3  # the number of this kind of span in OTLP
# A process that runs three nodes and prints how many seconds its end took.
NODES = """
import tempfile
from contextlib import ExitStack
from pathlib import Path
from tutelage.graph.run_folder.trace import Trace
from tutelage.graph.tracing.listeners import asked_listeners

with ExitStack() as opened:
    folder = Path(tempfile.mkdtemp())
    trace = Trace(folder / "trace.jsonl", *asked_listeners(folder, {}, opened))
    for node in ("prepare", "train", "report"):
        with trace.node(node, 0):
            pass
print("done")
"""


@pytest.fixture
def recorded() -> tuple[Spans, InMemorySpanExporter]:
    """Return a listener and the exporter that its spans go to."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider.get_tracer("test"), {"tutelage.run": "first"}, lambda: None), exporter


def test_spans_form_one_tree_of_run_rounds_nodes_and_calls(traced: Any, spans_of: Any) -> None:
    spans = spans_of(traced.otel)
    by_id = {span.id: span for span in spans}
    [run] = [span for span in spans if span.id and not span.parent]
    assert run.name == "invoke_workflow tutelage"
    assert run.about["gen_ai.operation.name"] == "invoke_workflow"
    assert (run.about["tutelage.run"], run.about["tutelage.finished"]) == ("run", True)
    assert len({span.trace for span in spans}) == 1
    rounds = [span for span in spans if span.parent == run.id]
    assert [span.name for span in sorted(rounds, key=lambda span: span.begin)] == ["round 0", "round 1"]
    entered = [(e["node"], e["round"]) for e in traced.events if e["event"] == "enter"]
    nodes = sorted((s for s in spans if by_id.get(s.parent) in rounds), key=lambda span: span.begin)
    assert [(s.about["tutelage.node"], s.about["tutelage.round"]) for s in nodes] == entered
    assert {s.about["gen_ai.agent.name"] for s in nodes if "gen_ai.agent.name" in s.about} == {
        *("analyst", "generator", "labeler", "critic")
    }
    for span in spans:
        if span.parent:
            parent = by_id[span.parent]
            assert parent.begin <= span.begin <= span.end <= parent.end, (parent.name, span.name)


def test_every_teacher_call_is_a_span_with_the_attributes_of_the_conventions(
    traced: Any, spans_of: Any
) -> None:
    spans = spans_of(traced.otel)
    names = {span.id: span.about.get("tutelage.node") for span in spans}
    chats = {s.about["tutelage.call"]: s for s in spans if s.about.get("gen_ai.operation.name") == "chat"}
    calls = {event["call"]: event for event in traced.events if event["event"] == "call"}
    assert chats.keys() == calls.keys()
    for key, event in calls.items():
        span = chats[key]
        assert (span.name, span.kind) == ("chat rehearsal", CLIENT)
        assert names[span.parent] == event["node"]
        expected = {
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "rehearsal",
            "gen_ai.usage.input_tokens": event["prompt_tokens"],
            "gen_ai.usage.output_tokens": event["completion_tokens"],
            "gen_ai.response.finish_reasons": ["stop"],
            "tutelage.role": event["role"],
            "tutelage.round": event["round"],
            "tutelage.replayed": False,
        }
        assert expected.items() <= span.about.items()
    by_role = {event["role"]: chats[key].about for key, event in calls.items()}
    assert set(by_role) == {"analyst", "generator", "labeler", "critic"}
    assert by_role["generator"]["tutelage.fold"] in range(5)
    assert any(span.about.get("tutelage.weaknesses") for span in chats.values())


def test_results_of_a_node_are_attributes_of_its_span(traced: Any, spans_of: Any) -> None:
    [first, second] = [s for s in spans_of(traced.otel) if s.about.get("tutelage.node") == "evaluate"]
    scores = [line["metric"] for line in traced.folder.read_rounds()]
    assert [first.about["tutelage.metric"], second.about["tutelage.metric"]] == scores
    kept = [span.about["tutelage.samples.kept"] for span in spans_of(traced.otel) if span.name == "keep"]
    assert sum(kept) == traced.folder.read_rounds()[1]["samples_kept"]


def test_no_text_and_no_key_leaves_with_the_spans(traced: Any, texts_in: Callable[..., list[str]]) -> None:
    assert [one.path for one in traced.otel] == ["/v1/traces"] * len(traced.otel)
    assert all(one.headers["x-tenant"] == "shop" for one in traced.otel)
    sent = b"".join(one.body for one in traced.otel)
    assert b"labeler" in sent, "the test can find words"
    texts = texts_in(traced)
    assert len(texts) > 300
    assert [text for text in texts if text.encode() in sent] == []
    assert b"sk-" not in sent


def test_a_replayed_call_has_no_usage(traced: Any, recorded: Any) -> None:
    listener, exporter = recorded
    for event in traced.events:
        listener({**event, "replayed": True} if event["event"] == "call" else event)
    chats = [span for span in exporter.get_finished_spans() if span.name == "chat rehearsal"]
    assert chats
    for span in chats:
        assert span.attributes["tutelage.replayed"] is True
        assert not [name for name in span.attributes if name.startswith("gen_ai.usage")]
        assert span.kind is SpanKind.INTERNAL


def test_a_failed_node_marks_its_span_and_ends_the_others(recorded: Any, tmp_path: Path) -> None:
    listener, exporter = recorded
    trace = Trace(tmp_path / "trace.jsonl", listener)

    def fail() -> None:
        with trace.node("labeler", 1):
            assert get_current_span().name == "invoke_agent labeler"
            refusal = {"role": "labeler", "model": "anthropic:claude", "refused": "a text of the user"}
            trace.call({**refusal, "over_budget": False})
            trace.call({**refusal, "over_budget": True})
            raise ValueError("a text of the user")

    with pytest.raises(ValueError, match="a text"):
        fail()
    assert not get_current_span().get_span_context().is_valid
    chat, node, round, run = exporter.get_finished_spans()
    assert (chat.name, chat.attributes["error.type"]) == ("chat claude", "refused")
    assert [s.attributes.get("error.type") for s in (node, round, run)] == ["ValueError"] * 3
    assert all(s.status.status_code is StatusCode.ERROR for s in (chat, node, round, run))
    assert "a text" not in "".join(span.to_json() for span in exporter.get_finished_spans())
    assert [event["event"] for event in trace.events()][-1] == "failed"


def test_a_run_stopped_between_nodes_ends_its_spans_when_it_is_closed(recorded: Any, tmp_path: Path) -> None:
    listener, exporter = recorded
    with Trace(tmp_path / "trace.jsonl", listener).node("prepare", 0):
        pass
    assert [span.name for span in exporter.get_finished_spans()] == ["prepare"]
    listener.close()
    [_, round, run] = exporter.get_finished_spans()
    assert (round.name, run.attributes["tutelage.finished"]) == ("round 0", False)


def nodes_in_a_process(**environment: str) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-c", NODES]
    clean = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    return subprocess.run(
        arguments, capture_output=True, text=True, check=False, env={**clean, **environment}, timeout=60
    )


def test_a_dead_collector_costs_one_note() -> None:
    done = nodes_in_a_process(TUTELAGE_OTEL="true", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (0, "done\n")
    [note] = done.stderr.splitlines()
    assert note.startswith("note: no spans reach 127.0.0.1:9 (")
    assert note.endswith("; the run goes on")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TUTELAGE_OTEL": "maybe"}, "TUTELAGE_OTEL: expected true or false, got 'maybe'"),
        ({"TUTELAGE_OTEL": "true"}, "set OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            {
                "TUTELAGE_OTEL": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_what_to_do(environment: dict[str, str], message: str) -> None:
    done = nodes_in_a_process(**environment)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
