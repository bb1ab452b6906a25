"""Functions of the user's own, named in task.yaml: metrics, and filters of what a teacher wrote."""

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tutelage.student.errors import InputError

Judge = Callable[[str, str, str], float]  # (answer, target, text) -> 0 to 1


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
        InputError: there is none.
    """
    place, _, called = name.rpartition(":")
    try:
        found = getattr(_of_file(Path(place)) if place.endswith(".py") else _module(place), called)
    except Exception as error:  # the user's own code: whatever it raises is told
        raise InputError(f"no function at {name!r} ({error}); write file.py:function") from error
    if not callable(found):
        raise InputError(f"{name!r} is {type(found).__name__}, expected a function")
    return found  # type: ignore[no-any-return]


def judge(name: str) -> Judge:
    """A figure of (answer, target, text), checked at every call.

    Raises:
        InputError: there is no such function, or it fails, or gives no number from 0 to 1.
    """
    of = function(name)

    def bounded(answer: str, target: str, text: str) -> float:
        try:
            value = float(of(answer, target, text))
        except Exception as error:  # the user's own code: whatever it raises is told
            raise InputError(f"{name} failed on {answer[:60]!r}: {type(error).__name__}: {error}") from error
        if not 0 <= value <= 1:
            raise InputError(f"{name} gave {value} for {answer[:60]!r}; a figure lies between 0 and 1")
        return value

    return bounded


def filtered(name: str, row: Mapping[str, Any]) -> str:
    """What a filter finds wrong with a row in the form of samples.jsonl, "" if nothing. It is asked more than
    once, and has to say the same each time.

    Raises:
        InputError: there is no such function, or it fails, or gives no words.
    """
    try:
        found = function(name)(row)
    except InputError:
        raise
    except Exception as error:  # the user's own code: whatever it raises is told
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"the filter {name} failed on {str(row)[:100]}: {told}") from error
    if not isinstance(found, str | None):
        raise InputError(
            f"the filter {name} gave {found!r}; it gives what is wrong in words, and '' or None if nothing is"
        )
    return found or ""


def extractive(row: Mapping[str, str]) -> str:
    """A filter: the target has to stand in the text, an answer in its context (GOLD, arXiv 2403.19754)."""
    return "" if row["target"] in row["text"] else "its target does not stand in its text"


def _of_file(path: Path) -> Any:
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
