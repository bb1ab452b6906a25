"""Write the files of `tutelage init`: a commented task.yaml, and example data unless the user has data."""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import yaml
from tutelage.graph.task.examples import EXAMPLES, WHITE_BOX, Example
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import TaskTypeName
from tutelage.student.tasks.registry import TASK_TYPES


def scaffold(
    folder: Path,
    kind: TaskTypeName = "classification",
    *,
    task: str | None = None,
    data: str | None = None,
    contents: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write task.yaml and other files into a folder, and return their paths.

    Args:
        folder: the folder; it is created if it is missing.
        kind: the task type.
        task: the part of task.yaml with kind, instruction and labels; by default that of an example.
        data: the section `data` of task.yaml; by default it names example files.
        contents: the other files, by name; by default three files of example data.

    Raises:
        InputError: one of the files already exists (none is overwritten), or the folder cannot be written.
    """
    example = EXAMPLES[kind]
    metric, *others = TASK_TYPES[kind].metrics
    user_metric = ", file.py:function" if TASK_TYPES[kind].generates else ""
    metrics = f"{metric:<27}# or {', '.join(others)}{user_metric}"
    # LLKD and KSM need the probability of one label for each text.
    one_label = TASK_TYPES[kind].single_label
    name = folder.resolve().name
    valid = re.fullmatch(r"[A-Za-z0-9._-]+", name) and name == yaml.safe_load(name)  # not `123`, nor `no`
    text = _template("template").substitute(
        name=f"{name if valid else 'my-task':<28}",
        task=task or example.task,
        data=data or _template("template_data").substitute(column=example.column, answer=example.answer),
        metric=metrics,
        student=example.student,
        pool="llkd, entropy" if one_label else "entropy, least_confidence",
        white_box=WHITE_BOX if one_label else "",
    )
    beside = _example_files(example) if contents is None else contents
    return _write_new(folder, {"task.yaml": text, **beside})


def _template(name: str) -> Template:
    return Template((files("tutelage.graph") / "sample" / f"{name}.yaml").read_text(encoding="utf-8"))


def _example_files(example: Example) -> dict[str, str]:
    contents = {}
    columns = [*example.fields, example.key]
    for part, rows in example.stubs.items():
        keys = example.fields if part == "unlabelled" else columns
        lines = [json.dumps(dict(zip(keys, map(_file_value, row), strict=True))) for row in rows]
        contents[f"{part}.jsonl"] = "".join(f"{line}\n" for line in lines)
    return contents


def _write_new(folder: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write files of a folder and return their paths; no file is overwritten."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; give a folder, which is created if it is missing")
    if existing := [file for file in contents if (folder / file).exists()]:
        raise InputError(f"{folder / existing[0]} exists already; choose another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            (folder / file).write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    return [folder / file for file in contents]


def _file_value(value: Any) -> Any:
    """Return a text or label in the format of a data file; `EXAMPLES` has entities as (type, text) pairs."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return [{"text": text, "type": kind} for kind, text in value]
    return value
