"""The listeners that the user has asked for by environment variables; without any, nothing leaves."""

import os
from collections.abc import Mapping
from contextlib import ExitStack

from tutelage.graph.run_folder.trace import Listener
from tutelage.student.errors import InputError

OTEL = "TUTELAGE_OTEL"
_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


def asked_listeners(about: Mapping[str, str], opened: ExitStack) -> list[Listener]:
    """Return a listener for each export that is switched on.

    Args:
        about: attributes of the run for its outermost span.
        opened: closes the listeners when the run has ended.

    Raises:
        InputError: a variable has another value than true or false, or an export cannot be set up.
    """
    if not is_on(OTEL):
        return []
    from tutelage import __version__
    from tutelage.graph.tracing.collector import open_tracer
    from tutelage.graph.tracing.spans import Spans

    tracer, flush, close = open_tracer(__version__)
    spans = Spans(tracer, about, flush)
    opened.callback(close)
    opened.callback(spans.close)  # first: the last callback is called first
    return [spans]


def is_on(variable: str) -> bool:
    """Return whether an environment variable is set to true.

    Raises:
        InputError: its value is neither true nor false.
    """
    value = os.environ.get(variable, "").strip().lower()
    if value not in (*_ON, *_OFF):
        raise InputError(f"{variable}: expected true or false, got {value!r}")
    return value in _ON
