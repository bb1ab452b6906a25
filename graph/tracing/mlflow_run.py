"""Log a run folder to MLflow: parameters, metrics per round, and files."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError

_SECTIONS = ("student", "teacher", "budget")  # of a task; its texts, labels and paths are left out
_PLAIN = ("kind", "metric", "seed", "encoder")
_ADDRESSES = ("base_url", "api_key_env", "corpus", "prices")
_BATCH = 100  # parameters, MLflow's limit for one request
_LONGEST = 500  # characters of a parameter, MLflow's limit in older servers
_ROUND = ("metric", "gate", "teacher_calls", "prompt_tokens", "completion_tokens", "cost", "samples_kept",
          "samples_rejected", "trained_on", "seconds")  # fmt: skip


def log_to_mlflow(
    run: Path | str, *, experiment: str | None = None, report: bool = True, student: bool = False
) -> str:
    """Log a run to MLflow, as a new MLflow run, and return the id of this run.

    It goes to MLflow's tracking URI (`mlflow.set_tracking_uri` or MLFLOW_TRACKING_URI). Inside an active
    MLflow run it becomes a child of it.

    Args:
        run: a run folder; the run may be unfinished.
        experiment: the name of the experiment; by default MLFLOW_EXPERIMENT_NAME or "tutelage".
        report: also log report.html, which holds texts of yours and of the teacher.
        student: also log the folder of the student.

    Raises:
        InputError: this is not a run folder, or the extra `mlflow` is not installed.
    """
    folder = RunFolder(run)
    about, mlflow = folder.about(), _mlflow()
    client = mlflow.MlflowClient()
    name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tutelage"
    found = client.get_experiment_by_name(name)
    place = found.experiment_id if found else client.create_experiment(name)
    parent = mlflow.active_run()
    tags = {"mlflow.parentRunId": parent.info.run_id} if parent else {}
    tags |= {"tutelage.task": about["task"]["name"], "tutelage.stop": about.get("stop") or "unfinished"}
    tags |= {f"tutelage.version.{what}": version for what, version in about["versions"].items()}
    key = str(client.create_run(place, tags=tags, run_name=folder.path.absolute().name).info.run_id)
    try:
        _log(mlflow, client, key, folder, report=report, student=student)
    except BaseException:
        client.set_terminated(key, "FAILED")
        raise
    client.set_terminated(key, "FINISHED" if about.get("stop") else "KILLED")
    return key


def _log(mlflow: Any, client: Any, key: str, folder: RunFolder, *, report: bool, student: bool) -> None:
    """Log parameters, metrics and files to the MLflow run with this id."""
    about = folder.about()
    params = [mlflow.entities.Param(part, value) for part, value in _parameters(about).items()]
    for start in range(0, len(params), _BATCH):
        client.log_batch(key, params=params[start : start + _BATCH])
    client.log_batch(key, metrics=list(_metrics(mlflow, folder, about)))
    files = [folder.rounds, folder.training, folder.calibration, *([folder.report] if report else [])]
    for path in files:
        if path.exists():
            client.log_artifact(key, str(path))
    if student and folder.student.exists():
        client.log_artifacts(key, str(folder.student), "student")


def _mlflow() -> Any:
    """Import MLflow, without its reports to its makers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    except ImportError:
        raise InputError("MLflow is not installed; run: pip install 'tutelage[mlflow]'") from None
    return mlflow


def _parameters(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a run by dotted names, without texts, labels and addresses."""
    task = about["task"]
    nested = {name: task[name] for name in (*_PLAIN, *_SECTIONS)}
    nested |= {"strategy": about["strategy"], "rows": about["data"]}
    return {name: str(value)[:_LONGEST] for name, value in _leaves(nested)}


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None and name not in _ADDRESSES:
            yield f"{prefix}{name}", value


def _metrics(mlflow: Any, folder: RunFolder, about: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the metrics of each round, with the round as step, and those of the whole run."""
    now = int(1000 * time.time())
    rounds = folder.read_rounds()
    for line in rounds:
        values: Mapping[str, Any] = line
        for name in _ROUND:
            if values[name] is not None:
                yield mlflow.entities.Metric(name, float(values[name]), now, line["round"])
    last = rounds[-1]["round"] if rounds else 0
    figures = (about.get("test") or {}).get("figures", {})
    arms = (about.get("comparison") or {}).get("arms", ())
    whole = {f"test.{name}": value for name, value in figures.items()}
    whole |= {f"comparison.{arm['name']}": arm["score"] for arm in arms}
    whole |= {f"spent.{name}": value for name, value in about.get("spent", {}).items() if value is not None}
    for name, value in whole.items():
        yield mlflow.entities.Metric(name, float(value), now, last)
