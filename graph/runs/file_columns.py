"""The columns of a file that a student is used on: by default those of the run's own files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from tutelage.graph.run_folder.folder import RunFolder, run_of
from tutelage.student.data.files import read_records
from tutelage.student.data.readers import Columns
from tutelage.student.models.base import Predictor
from tutelage.student.models.prediction_inputs import text_columns
from tutelage.student.tasks.registry import TASK_TYPES


class FileColumns(NamedTuple):
    """What a user says about a file: the columns of its texts and labels, and its encoding."""

    text: Sequence[str] | None = None
    label: str | None = None
    encoding: str | None = None


GUESSED = FileColumns()  # every column is found by `columns_of`


def task_fields(path: Path) -> dict[str, Any] | None:
    """Return the task of a run folder, of a student in one, or of an exported folder; None if it has none."""
    run = run_of(path)
    if (run / "run.json").exists():
        return dict(RunFolder(run).about()["task"])
    if (path / "task.yaml").exists():
        return dict(yaml.safe_load((path / "task.yaml").read_text(encoding="utf-8")))
    return None


def columns_of(file: Path, given: FileColumns, student: Predictor, path: Path) -> Columns:
    """Return the columns of a file.

    Those that are not given have the names that the task type uses. If the file lacks these, and the run's
    own files have others, it is read like them.
    """
    task_type = TASK_TYPES[student.kind]
    text, label = text_columns(given.text, student.fields), given.label or task_type.label_field
    _, first = next(read_records(file, label, encoding=given.encoding), ("", {}))
    for source in _sources(task_fields(path)):
        own, named = source.get("text"), source.get("label")
        if not given.text and own and not set(text) <= set(first) and set(own) <= set(first):
            text = tuple(own)
        if not given.label and named and label not in first and named in first:
            return Columns(text, str(named), names=source.get("label_names") or {})
    return Columns(text, label)


def _sources(task: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    data = (task or {}).get("data") or {}
    return [one for one in data.values() if isinstance(one, dict)]
