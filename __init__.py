"""tutelage: distil a large language model into a small trainable one by active learning.

Public names load on first use, so that importing the package costs milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.graph.build import build_graph as build_graph
    from tutelage.graph.distilled.runnable import distilled as distilled
    from tutelage.graph.open_runs import GraphContext as GraphContext
    from tutelage.graph.runs.interactive import resume as resume
    from tutelage.graph.runs.interactive import run as run
    from tutelage.graph.strategies import STRATEGIES as STRATEGIES
    from tutelage.graph.strategies import Strategy as Strategy
    from tutelage.graph.task.load import load_task as load_task
    from tutelage.graph.task.schema import Task as Task
    from tutelage.graph.tool.toolkit import distill_tool as distill_tool
    from tutelage.graph.tracing.mlflow_run import log_to_mlflow as log_to_mlflow
    from tutelage.student.errors import InputError as InputError
    from tutelage.student.models.base import Student as Student
    from tutelage.student.models.load import load_student as load_student

__version__ = "0.1.0"

_HOME = {
    "build_graph": "tutelage.graph.build",
    "GraphContext": "tutelage.graph.open_runs",
    "Task": "tutelage.graph.task.schema",
    "load_task": "tutelage.graph.task.load",
    "run": "tutelage.graph.runs.interactive",
    "distilled": "tutelage.graph.distilled.runnable",
    "distill_tool": "tutelage.graph.tool.toolkit",
    "resume": "tutelage.graph.runs.interactive",
    "log_to_mlflow": "tutelage.graph.tracing.mlflow_run",
    "STRATEGIES": "tutelage.graph.strategies",
    "Strategy": "tutelage.graph.strategies",
    "InputError": "tutelage.student.errors",
    "Student": "tutelage.student.models.base",
    "load_student": "tutelage.student.models.load",
}
__all__ = [*_HOME, "__version__"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
