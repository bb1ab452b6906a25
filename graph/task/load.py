"""task.yaml: read, checked and changed; what is wrong with it is told in one line."""

from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from tutelage.graph.task.schema import Task, near
from tutelage.prompts import ROLES, render
from tutelage.student.errors import InputError
from tutelage.student.tasks.user_functions import placed


def load_task(path: Path | str) -> Task:
    """Read and check a task.yaml.

    Raises:
        InputError: one line: the field, what was wrong with it, what was got, what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the file, such as {path / 'task.yaml'}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; `tutelage init` writes one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds {type(raw).__name__}, expected fields such as `name:` and `labels:`")
    return parse_task(raw, str(path), path.parent.resolve())


def parse_task(raw: dict[str, Any], where: str, folder: Path) -> Task:
    """Check the fields of a task; relative paths are taken from `folder`.

    Raises:
        InputError: as `load_task`.
    """
    try:
        task = Task.model_validate(_with_own(raw, folder))
    except ValidationError as error:
        raise InputError(f"{where}: {_told(error)}") from None
    made = Task.model_validate(_absolute(task.model_dump(exclude_none=True), folder))
    if made.prompts and not made.prompts.is_dir():
        raise InputError(f"{where}: `prompts`: {made.prompts} is no folder")
    for role in ROLES:
        try:
            render(role, {**made.brief()}, made.prompts)
        except (ValueError, OSError) as error:
            raise InputError(f"{where}: `prompts`: {error}") from error
    return made


def override(
    task: Task,
    *,
    strategy: str | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    batch: bool | None = None,
    student: str | None = None,
    force: bool = False,
) -> Task:
    """The task with what the command line says instead; a strategy keeps the task's own overrides.

    Raises:
        InputError: the strategy is unknown, or what is said does not fit the task.
    """
    raw = task.model_dump(exclude_none=True)
    if strategy is not None:
        own = raw["strategy"] if isinstance(raw["strategy"], dict) else {}
        raw["strategy"] = {**own, "base": strategy}
    if seed is not None:
        raw["seed"] = seed
    if rounds is not None:
        raw["budget"]["rounds"] = rounds
    if batch is not None:
        raw["teacher"]["batch"] = batch
    if force:
        raw["teacher"]["force"] = True
    if student is not None:
        raw["student"]["mode"] = student
    return parse_task(raw, "command line", Path())


def _with_own(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The fields with the user's own functions at their whole paths: checking them imports them."""
    made = dict(raw)
    if isinstance(metric := raw.get("metric"), str):
        made["metric"] = placed(metric, folder)
    filters = raw.get("filters")
    if isinstance(filters, str | list):
        given = [filters] if isinstance(filters, str) else filters
        made["filters"] = [placed(one, folder) if isinstance(one, str) else one for one in given]
    return made


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, dict):
        # A model is a name of the hub, unless a folder of that name is there.
        return {
            key: str(folder / part)
            if key in ("base", "encoder") and isinstance(part, str) and (folder / part).is_dir()
            else _absolute(part, folder)
            for key, part in value.items()
        }
    return value


def _told(error: ValidationError) -> str:
    """The first problem, as one sentence with the nearest field where one is unknown."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(problem["loc"][:-1])
        name = str(problem["loc"][-1])
        return f"unknown field `{place}`{near(name, fields)} (known here: {', '.join(fields)})"
    if problem["type"] == "missing":
        return f"the field `{place}` is missing; `tutelage init` writes an example with every field"
    message = problem["msg"].removeprefix("Value error, ")
    got = problem["input"]
    shown = "" if problem["type"] == "value_error" else f", got {str(got)[:60]!r}"
    return f"{f'`{place}`: ' if place else ''}{message}{shown}"


def _fields_at(place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Task
    for part in place:
        hint = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        inner = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
        model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
