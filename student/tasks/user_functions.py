"""User functions, named in task.yaml: metrics, and filters of generated texts."""

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tutelage.student.errors import InputError

_ANYTHING = (Exception, SystemExit)  # a user function may raise anything; the error message quotes it
Metric = Callable[[str, str, str], float]  # (answer, target, text) -> 0 to 1


class UserFunctionError(InputError):
    """A user function is missing or fails."""


def is_user_function(name: str) -> bool:
    """Return whether a name refers to a user function."""
    return ":" in name


def title(name: str) -> str:
    """Return the name for reports: without the folder and the ending of a file."""
    place, _, function = name.rpartition(":")
    return f"{Path(place).stem}:{function}" if place.endswith(".py") else name


def resolve_path(name: str, folder: Path) -> str:
    """Return the name with its file's path taken from `folder`; other names are returned unchanged."""
    place, _, function = name.rpartition(":")
    return f"{folder / Path(place).expanduser()}:{function}" if place.endswith(".py") else name


def digest(names: Iterable[str]) -> str:
    """Return a hash of the files of user functions, to detect changes, or "" if there are none."""
    paths = {Path(name.rpartition(":")[0]) for name in names}
    source = b"".join(path.read_bytes() for path in sorted(paths) if path.suffix == ".py")
    return hashlib.sha256(source).hexdigest()[:16] if source else ""


def load_function(name: str) -> Callable[..., Any]:
    """Load `file.py:function`, or `module:function` from an installed module or the working folder.

    Raises:
        UserFunctionError: it cannot be loaded, or is not a function.
    """
    place, _, called = name.rpartition(":")
    load = _load_file if place.endswith(".py") else _load_module
    try:
        if not (place and called):
            raise ImportError("write file.py:function")
        module = _call(load, place)
    except _ANYTHING as error:
        raise UserFunctionError(f"no function at {name!r} ({_cause(error)})") from error
    if not hasattr(module, called):
        raise UserFunctionError(f"no function at {name!r} ({place} has no {called!r})")
    loaded = getattr(module, called)
    if not callable(loaded):
        raise UserFunctionError(f"{name!r} is {type(loaded).__name__}, expected a function")
    return loaded  # type: ignore[no-any-return]


def load_metric(name: str) -> Metric:
    """Load a metric of (answer, target, text) and check its value at every call.

    Raises:
        UserFunctionError: the function is missing, fails, or does not return a number from 0 to 1.
    """
    metric = load_function(name)

    def bounded(answer: str, target: str, text: str) -> float:
        try:
            value = float(_call(metric, answer, target, text))
        except _ANYTHING as error:
            raise UserFunctionError(f"{name} failed on {answer[:60]!r}: {_cause(error)}") from error
        if not 0 <= value <= 1:
            raise UserFunctionError(f"{name} returned {value} for {answer[:60]!r}; expected 0 to 1")
        return value

    return bounded


def run_filter(name: str, row: Mapping[str, Any]) -> str:
    """Return the problem that a filter finds in a labelled text, or "". A filter is called several times for
    a text, and has to return the same each time.

    Args:
        name: name of the filter.
        row: the task's fields and the label, as `to_record` in student/data/rows.py returns them.

    Raises:
        UserFunctionError: the function is missing, fails, or does not return a string.
    """
    filter_ = load_function(name)
    try:
        problem = _call(filter_, row)
    except _ANYTHING as error:
        raise UserFunctionError(f"the filter {name} failed on {str(row)[:100]}: {_cause(error)}") from error
    if not isinstance(problem, str | None):
        raise UserFunctionError(
            f"the filter {name} returned {problem!r}; expected a string with the problem, or '' or None"
        )
    return problem or ""


def extractive(row: Mapping[str, str]) -> str:
    """Reject a target that does not occur in the text, its context: a filter of GOLD (arXiv 2403.19754)."""
    return "" if row["target"] in row["text"] else "its target does not occur in its text"


def _load_file(place: str) -> Any:
    path = Path(place)
    if not path.is_file():
        raise ImportError(f"{path} is not a file")
    return _import_file(path.resolve(), path.stat().st_mtime_ns)


@cache
def _import_file(path: Path, changed: int) -> Any:
    """Import a file as a module; `changed`, its time of change, is part of the cache key."""
    _add_to_path(path.parent)
    name = f"_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look up their module there
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> Any:
    _add_to_path(Path.cwd())
    return import_module(name)


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _call(run: Callable[..., Any], *args: object) -> Any:
    """Run user code with its prints sent to standard error, since standard output is the command's."""
    with redirect_stdout(sys.stderr):
        return run(*args)


def _cause(error: BaseException) -> str:
    return str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
