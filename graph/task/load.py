"""Read and validate task.yaml, and apply command-line overrides to it."""

import shlex
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from tutelage.graph.task.schema import Task
from tutelage.graph.task.variants import did_you_mean
from tutelage.prompts import ROLES, render
from tutelage.student.errors import InputError
from tutelage.student.tasks.user_functions import resolve_path


def load_task(path: Path | str) -> Task:
    """Read and validate a task.yaml, or the one in a folder.

    Raises:
        InputError: in one line, the field, what is wrong with it, the value found, and what to do.
    """
    path = Path(path)
    if path.is_dir() and (path / "task.yaml").exists():
        path /= "task.yaml"  # of an exported run, or a task's own folder
    if path.is_dir() and (path / "run.json").exists():
        raise InputError(f"{path} is a run folder; continue it with `tutelage resume {path}`")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the file, such as {path / 'task.yaml'}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; `tutelage init` writes an example to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise InputError(
            f"{path} must contain fields such as `name:` and `labels:`; found a {type(raw).__name__}"
        )
    return parse_task(raw, str(path), path.parent.resolve())


def parse_task(raw: dict[str, Any], where: str, folder: Path) -> Task:
    """Validate the fields of a task. Relative paths are resolved against `folder`.

    Raises:
        InputError: as in `load_task`; the message begins with `where`, the source of the fields.
    """
    try:
        task = Task.model_validate(_locate_user_functions(raw, folder))
    except ValidationError as error:
        raise InputError(f"{where}: {_first_problem(error)}") from None
    task = Task.model_validate(_absolute(task.model_dump(exclude_none=True), folder))
    if task.prompts and not task.prompts.is_dir():
        raise InputError(f"{where}: `prompts`: {task.prompts} is not a folder")
    for role in ROLES:
        try:
            render(role, {**task.brief()}, task.prompts)
        except (ValueError, OSError) as error:
            raise InputError(f"{where}: `prompts`: {error}") from error
    return task


def override(task: Task, changes: dict[str, Any]) -> Task:
    """Return the task with some fields changed, nested as in task.yaml, e.g. `{"budget": {"rounds": 1}}`.

    Fields that are None change nothing. `{"strategy": {"base": name}}` replaces only the base strategy: the
    fields of a strategy that the task overrides stay overridden.

    Raises:
        InputError: a changed field is invalid or does not fit the task.
    """
    raw = task.model_dump(exclude_none=True)
    return parse_task(merged(raw, changes), "command line", Path())


def merged(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a task with the changes, section by section, leaving out changes to None."""
    result = dict(raw)
    for name, value in changes.items():
        if isinstance(value, dict):
            part = {key: each for key, each in value.items() if each is not None}
            if part:
                old = raw.get(name)
                result[name] = {**old, **part} if isinstance(old, dict) else part
        elif value is not None:
            result[name] = value
    return result


def _locate_user_functions(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the fields with absolute paths for user functions, since validation imports these."""
    located = dict(raw)
    if isinstance(metric := raw.get("metric"), str):
        located["metric"] = resolve_path(metric, folder)
    filters = raw.get("filters")
    if isinstance(filters, str | list):
        names = [filters] if isinstance(filters, str) else filters
        located["filters"] = [resolve_path(name, folder) if isinstance(name, str) else name for name in names]
    return located


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, dict):
        return {key: _placed(key, part, folder) for key, part in value.items()}
    return value


def _placed(key: str, value: Any, folder: Path) -> Any:
    """Return the value of a field. A model is a hub name, unless a folder of that name exists beside
    task.yaml; the program of a launcher is one of the machine, unless a file of that name exists there.
    """
    if key in ("base", "encoder") and isinstance(value, str) and (folder / value).is_dir():
        return str(folder / value)
    if key == "launcher" and value and (folder / shlex.split(value)[0]).is_file():
        program, *arguments = shlex.split(value)
        return shlex.join([str(folder / program), *arguments])
    return _absolute(value, folder)


def _first_problem(error: ValidationError) -> str:
    """Return the first problem as one sentence; for an unknown field it suggests the most similar name."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(problem["loc"][:-1])
        name = str(problem["loc"][-1])
        return f"unknown field `{place}`{did_you_mean(name, fields)} (known fields: {', '.join(fields)})"
    if problem["type"] == "missing":
        return f"the field `{place}` is missing; `tutelage init` writes an example with every field"
    message = problem["msg"].removeprefix("Value error, ")
    value = "" if problem["type"] == "value_error" else f", got {str(problem['input'])[:60]!r}"
    return f"{f'`{place}`: ' if place else ''}{message}{value}"


def _fields_at(place: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model at this location of task.yaml."""
    model: type[BaseModel] = Task
    for part in place:
        hint = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        types = [each for each in (hint, *get_args(hint)) if isinstance(each, type)]
        model = next((each for each in types if issubclass(each, BaseModel)), model)
    return list(model.model_fields)
