"""The page docs/tracing.md: its commands and its Python run, and its events are those of a run."""

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tutelage.graph.task.schema import Task

PAGE = Path(__file__).parents[3] / "docs" / "tracing.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the wheel has no pages")


def blocks() -> list[tuple[str, str]]:
    """Return (language, content) of each block of the page."""
    return re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_events_on_the_page_have_the_fields_of_real_ones(traced: Any) -> None:
    real: dict[str, set[str]] = {}
    for event in traced.events:
        if event["node"] == "generator":
            real.setdefault(event["event"], set()).update(event)
    [text] = [text for language, text in blocks() if language == "json"]
    shown = [json.loads(line) for line in text.splitlines()]
    assert {event["event"]: set(event) for event in shown} == real


@pytest.mark.slow
def test_every_command_on_the_page_runs_and_exports_what_it_says(
    folded: Callable[..., Task],
    command: Callable[..., Any],
    collecting: Any,
    spans_of: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = {"base": "auto", "samples": 12, "control": False}
    task = folded(strategy=strategy, budget={"rounds": 1}, teacher={"calibrate": 12})
    text = yaml.safe_dump(json.loads(task.model_dump_json(exclude_none=True)))
    (tmp_path / "task.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with collecting() as (spans_url, spans), collecting() as (langsmith_url, langsmith):
        environment = {**os.environ, "LANGSMITH_ENDPOINT": langsmith_url, "MLFLOW_DISABLE_TELEMETRY": "true"}
        sent = []
        for language, content in blocks():
            for line in content.splitlines() if language == "sh" else ():
                words = shlex.split(line.replace("http://localhost:4318", spans_url))
                if words[0] == "export":
                    environment |= dict(word.split("=", 1) for word in words[1:])
                    continue
                assert words[0] == "tutelage"
                before = len(langsmith)
                done = command(*words[1:], cwd=tmp_path, env=environment)
                assert done.returncode == 0, done.stderr
                assert "note: " not in done.stderr
                sent.append(b"".join(one.body for one in langsmith[before:]))
            if language == "python":
                monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
                run_id = {}
                exec(content, run_id)
    assert {span.about["tutelage.run"] for span in spans_of(spans) if not span.parent} == {
        *("first", "second", "hidden", "third")
    }
    first, second, hidden, _ = sent
    assert first == b""
    assert task.instruction.encode() in second
    assert task.instruction.encode() not in hidden
    assert b"labeler" in hidden
    from mlflow import MlflowClient

    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    assert client.get_run(run_id["run_id"]).info.run_name == "first"
    [third] = client.search_runs([client.get_experiment_by_name("tutelage").experiment_id])
    assert third.info.run_name == "third"
