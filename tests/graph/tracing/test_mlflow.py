"""MLflow: what a run logs to its store."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A process that logs a run by the function, and prints the hosts that it looked up and the MLflow run's id.
LOG = """
import json, sys

reached = []

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        reached.append(str(arguments[0 if event == "socket.getaddrinfo" else 1]))

sys.addaudithook(watch)
import tutelage

key = tutelage.log_to_mlflow(sys.argv[1], experiment="mine", report=False, student=True)
import mlflow

with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name("mine").experiment_id) as parent:
    child = tutelage.log_to_mlflow(sys.argv[1], experiment="mine", report=False)
print(json.dumps([reached, key, parent.info.run_id, child]))
"""


def logged(client: Any, experiment: str) -> list[Any]:
    place = client.get_experiment_by_name(experiment).experiment_id
    return list(client.search_runs([place]))


@pytest.fixture
def client(traced: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient((traced.folder.path.parent / "mlflow").as_uri())


def test_a_run_logs_parameters_metrics_per_round_and_files(client: Any, traced: Any, texts_in: Any) -> None:
    [run] = logged(client, "tutelage")
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    parameters = run.data.params
    assert parameters["teacher.model"] == "openai:rehearsal"
    assert (parameters["student.mode"], parameters["budget.rounds"]) == ("head", "1")
    assert parameters["strategy.samples"] == "12"
    lines = traced.folder.read_rounds()
    for name in ("metric", "teacher_calls", "samples_kept"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [(one.step, one.value) for one in history] == [(line["round"], line[name]) for line in lines]
    assert run.data.metrics["test.macro_f1"] == traced.folder.about()["test"]["figures"]["macro_f1"]
    files = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert files == {"rounds.jsonl", "calibration.json", "report.html"}
    said = json.dumps([parameters, run.data.tags])
    assert [text for text in texts_in(traced) if text in said] == []
    assert "sk-" not in said


def test_the_function_logs_below_an_active_run_and_reaches_no_other_host(
    client: Any, traced: Any, tmp_path: Path
) -> None:
    quiet = ("MLFLOW_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST", "CI", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", LOG, str(traced.folder.path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment | {"MLFLOW_TRACKING_URI": (traced.folder.path.parent / "mlflow").as_uri()},
    )
    assert done.returncode == 0, done.stderr
    reached, key, parent, child = json.loads(done.stdout.splitlines()[-1])
    assert reached == []
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == parent
    assert "mlflow.parentRunId" not in client.get_run(key).data.tags
    files = {one.path for one in client.list_artifacts(key)}
    assert files == {"rounds.jsonl", "calibration.json", "student"}
    assert "config.json" in {one.path.split("/")[-1] for one in client.list_artifacts(key, "student")}
