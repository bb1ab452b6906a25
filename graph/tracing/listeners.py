"""The listeners that the user has asked for by environment variables; without any, nothing leaves."""

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from tutelage.graph.run_folder.trace import Event, Listener
from tutelage.student.errors import InputError

OTEL, MLFLOW = "TUTELAGE_OTEL", "TUTELAGE_MLFLOW"
_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
_log = logging.getLogger(__name__)


def asked_listeners(folder: Path, about: Mapping[str, str], opened: ExitStack) -> list[Listener]:
    """Return a listener for each export that is switched on.

    Args:
        folder: the run folder.
        about: attributes of the run for its outermost span.
        opened: closes the listeners when the run has ended.

    Raises:
        InputError: a variable has another value than true or false, or an export cannot be set up.
    """
    asked = [_spans(about, opened)] if is_on(OTEL) else []
    return [*asked, _mlflow(folder)] if is_on(MLFLOW) else asked


def is_on(variable: str) -> bool:
    """Return whether an environment variable is set to true.

    Raises:
        InputError: its value is neither true nor false.
    """
    value = os.environ.get(variable, "").strip().lower()
    if value not in (*_ON, *_OFF):
        raise InputError(f"{variable}: expected true or false, got {value!r}")
    return value in _ON


def _spans(about: Mapping[str, str], opened: ExitStack) -> Listener:
    from tutelage import __version__
    from tutelage.graph.tracing.collector import open_tracer
    from tutelage.graph.tracing.spans import Spans

    tracer, flush, close = open_tracer(__version__)
    spans = Spans(tracer, about, flush)
    opened.callback(close)
    opened.callback(spans.close)  # first: the last callback is called first
    return spans


def _mlflow(folder: Path) -> Listener:
    """Return a listener that logs the run when it has ended. A server that fails costs one warning."""
    if not find_spec("mlflow"):
        raise InputError(f"{MLFLOW} needs an extra package; run: pip install 'tutelage[mlflow]'")
    # MLflow's own defaults would try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

    def log(event: Event) -> None:
        if (event["event"], event["node"]) != ("leave", "report"):
            return
        from tutelage.graph.tracing.mlflow_run import log_to_mlflow

        try:
            log_to_mlflow(folder)
        except Exception as error:  # MLflow's stores raise many types, and the run is done
            why = " ".join(str(error).split())[:200]
            _log.warning("note: MLflow did not take the run (%s); tutelage.log_to_mlflow logs it later", why)

    return log
