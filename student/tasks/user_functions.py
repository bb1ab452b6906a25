"""Functions of the user's own, named in task.yaml: metrics, and filters of what a teacher wrote."""

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

_ANYTHING = (Exception, SystemExit)  # whatever the user's own code raises is told
Judge = Callable[[str, str, str], float]  # (answer, target, text) -> 0 to 1


class OwnError(InputError):
    """A function of the user's own is not there, or fails."""


def is_own(name: str) -> bool:
    """Whether a name means a function of the user's own."""
    return ":" in name


def title(name: str) -> str:
    """What reports call it: of a file its name without the folder."""
    place, _, function = name.rpartition(":")
    return f"{Path(place).stem}:{function}" if place.endswith(".py") else name


def placed(name: str, folder: Path) -> str:
    """A function of a file by the file's whole path, taken from `folder`; any other name as it is."""
    place, _, function = name.rpartition(":")
    return f"{folder / Path(place).expanduser()}:{function}" if place.endswith(".py") else name


def digest(names: Iterable[str]) -> str:
    """What tells whether the files of the user's own functions have changed; "" where there are none."""
    paths = {Path(name.rpartition(":")[0]) for name in names}
    found = b"".join(path.read_bytes() for path in sorted(paths) if path.suffix == ".py")
    return hashlib.sha256(found).hexdigest()[:16] if found else ""


def function(name: str) -> Callable[..., Any]:
    """`file.py:function`, or `module:function` of an installed module or of one in the working folder.

    Raises:
        OwnError: there is none.
    """
    place, _, called = name.rpartition(":")
    of = _of_file if place.endswith(".py") else _module
    try:
        if not (place and called):
            raise ImportError("write file.py:function")
        module = _quiet(of, place)
    except _ANYTHING as error:
        raise OwnError(f"no function at {name!r} ({_told(error)})") from error
    if not hasattr(module, called):
        raise OwnError(f"no function at {name!r} ({place} has no {called!r})")
    found = getattr(module, called)
    if not callable(found):
        raise OwnError(f"{name!r} is {type(found).__name__}, expected a function")
    return found  # type: ignore[no-any-return]


def judge(name: str) -> Judge:
    """A figure of (answer, target, text), checked at every call.

    Raises:
        OwnError: there is no such function, or it fails, or gives no number from 0 to 1.
    """
    of = function(name)

    def bounded(answer: str, target: str, text: str) -> float:
        try:
            value = float(_quiet(of, answer, target, text))
        except _ANYTHING as error:
            raise OwnError(f"{name} failed on {answer[:60]!r}: {_told(error)}") from error
        if not 0 <= value <= 1:
            raise OwnError(f"{name} gave {value} for {answer[:60]!r}; a figure lies between 0 and 1")
        return value

    return bounded


def filtered(name: str, row: Mapping[str, Any]) -> str:
    """What a filter finds wrong with a labelled text, "" if nothing. It is asked more than once, and has to
    say the same each time.

    Args:
        name: of the filter.
        row: as `filed` in student/data/rows.py makes them: the task's fields, and the label.

    Raises:
        OwnError: there is no such function, or it fails, or gives no words.
    """
    of = function(name)
    try:
        found = _quiet(of, row)
    except _ANYTHING as error:
        raise OwnError(f"the filter {name} failed on {str(row)[:100]}: {_told(error)}") from error
    if not isinstance(found, str | None):
        raise OwnError(
            f"the filter {name} gave {found!r}; it gives what is wrong in words, and '' or None if nothing is"
        )
    return found or ""


def extractive(row: Mapping[str, str]) -> str:
    """A filter: the target has to stand in the text, an answer in its context (GOLD, arXiv 2403.19754)."""
    return "" if row["target"] in row["text"] else "its target does not stand in its text"


def _of_file(place: str) -> Any:
    path = Path(place)
    if not path.is_file():
        raise ImportError(f"{path} is no file")
    return _read(path.resolve(), path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed: int) -> Any:
    """The module of a file, read again once that has changed."""
    _search(path.parent)
    name = f"_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> Any:
    _search(Path.cwd())
    return import_module(name)


def _search(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _quiet(of: Callable[..., Any], *given: object) -> Any:
    """What it gives; what it prints goes to standard error, for standard output is the command's."""
    with redirect_stdout(sys.stderr):
        return of(*given)


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
