"""Readers: rows from data files and from data sets of the hub."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tutelage.student.data.annotation_tools import UNANNOTATED, plain_record
from tutelage.student.data.files import Located, data_set_records, read_records
from tutelage.student.data.rows import Row, check_text, content_id
from tutelage.student.errors import InputError
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import ONE, Fields, join
from tutelage.student.tasks.task_type import TaskType


class Columns(NamedTuple):
    """The columns of a data file: the text (two for a pair), its label, and the reason for the label.

    Without `label` it is `TaskType.label_field`. Without `rationale` no reasons are read. `names` maps values
    of the label's column to labels, such as "0" to "negative"; its keys are as `value_name` writes them.
    """

    text: Fields = ONE
    label: str | None = None
    rationale: str | None = None
    names: Mapping[str, str] = MappingProxyType({})


class HubSplit(NamedTuple):
    """A split of a `datasets` hub name or local data set folder. `config` names one of its configurations,
    `revision` a commit, branch or tag.
    """

    name: str
    split: str = "train"
    config: str | None = None
    revision: str | None = None


_DEFAULT = Columns()


def read_rows(
    path: Path,
    labels: Sequence[str] | None,
    *,
    task_type: TaskType = CLASSIFICATION,
    columns: Columns = _DEFAULT,
    encoding: str | None = None,
    split: str = "train",
) -> list[Row]:
    """Read the rows of a file or data set folder in its order; see `read_records` for the forms. With
    `labels`, texts that nobody has labelled in an annotation tool are left out.

    Args:
        path: the file or folder.
        labels: the labels a row may have; with None only texts are read, and every label is "".
        task_type: the task type, which parses the labels.
        columns: the names of the columns.
        encoding: the encoding of a text file, if it is not UTF-8.
        split: the split of a data set folder that has several.

    Raises:
        InputError: a row is not usable. The message has the file, the line, what was found and what to do.
    """
    label = columns.label or task_type.label_field
    records = read_records(path, label, encoding=encoding, split=split)
    return _rows(records, labels, columns, task_type)


def read_hub(
    source: HubSplit,
    labels: Sequence[str] | None,
    *,
    task_type: TaskType = CLASSIFICATION,
    columns: Columns = _DEFAULT,
) -> list[Row]:
    """Read a split of a data set, like `read_rows`.

    Raises:
        InputError: the data set or split cannot be loaded, or a row does not fit the task.
    """
    import datasets

    name, split, config, revision = source
    try:
        data = datasets.load_dataset(name, config, split=split, revision=revision)
    except Exception as error:  # datasets raises a dozen unrelated types; the reason is in the text
        raise InputError(f"data set {name!r}, split {split!r} cannot be loaded: {error}") from error
    records = data_set_records(data, f"{name}[{split}]", columns.label or task_type.label_field)
    return _rows(records, labels, columns, task_type)


def _rows(records: Located, labels: Sequence[str] | None, columns: Columns, task_type: TaskType) -> list[Row]:
    """Make rows of records, also of those of annotation tools."""
    plain = ((where, plain_record(record)) for where, record in records)
    return [
        make_row(record, labels, where, columns, task_type)
        for where, record in plain
        if labels is None or UNANNOTATED not in record
    ]


def make_row(
    record: dict[str, object],
    labels: Sequence[str] | None,
    where: str,
    columns: Columns = _DEFAULT,
    task_type: TaskType = CLASSIFICATION,
) -> Row:
    """Check one record and return it as a row with its id.

    Raises:
        InputError: a field is missing or of the wrong type, a text is empty, too long or contains a NUL
            byte, or the label is not valid for the task.
    """
    label_field = columns.label or task_type.label_field
    text = text_of(record, where, columns.text, task_type)
    if labels is not None:
        _require(record, [label_field], where)
    row = Row(id=content_id(text, task_type), text=text, label="")
    if labels is not None:
        try:
            row["label"] = task_type.parse_label(_label_value(record, columns, task_type), text, labels)
        except ValueError as error:
            raise InputError(f"{where}: {label_field} {error}") from None
    if columns.rationale is not None and (reason := _rationale(record, columns.rationale, where)):
        row["rationale"] = reason
    return row


def text_of(record: Mapping[str, object], where: str, names: Fields, task_type: TaskType) -> str:
    """Return the checked text of a record; the parts of a pair are joined.

    Raises:
        InputError: as in `make_row`.
    """
    _require(record, names, where)
    parts = {name: _text(record[name], f"{where}: field {name!r}", task_type) for name in names}
    for name, part in parts.items():
        which = f"field {name!r} of the pair" if len(names) > 1 else "the text"
        check_text(part, f"{where}: {which}", of_pair=len(names) > 1)
    return join(parts, names)


def _require(record: Mapping[str, object], names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in record:
            raise InputError(
                f"{where}: no field {name!r}, got {', '.join(map(repr, record)) or 'nothing'};"
                " rename the column, or name it: `text`, `label` of the source in task.yaml, --text, --label"
            )


def _rationale(record: dict[str, object], field: str, where: str) -> str:
    """Return the reason for the label, "" if it is blank."""
    if not isinstance(reason := record.get(field), str):
        raise InputError(f"{where}: field {field!r} is {type(reason).__name__}, expected a string (a reason)")
    return reason.strip()


def _label_value(record: dict[str, object], columns: Columns, task_type: TaskType) -> object:
    """Return a record's raw label. An empty list of BIO tags must not pass as an empty list of entities.

    Raises:
        ValueError: a text given as tokens has an empty list of tags.
    """
    tokens, label_field = record[columns.text[0]], columns.label or task_type.label_field
    label = _renamed(record[label_field], columns.names)
    if (
        task_type.accepts_tokens
        and isinstance(tokens, list)
        and label in ([], "[]")
        and label_field != task_type.label_field
    ):
        raise ValueError(f"has 0 tags for {len(tokens)} tokens; give each token one tag, O outside")
    if task_type.single_label and isinstance(label, list) and len(label) == 1:
        return label[0]  # as doccano writes it
    return label


def _renamed(value: object, names: Mapping[str, str]) -> object:
    """Return a value of the label's column with labels in place of the values that `names` maps."""
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value_name(value), value) if names else value


def value_name(value: object) -> str:
    """Return a value of a data file as a string: 1, 1.0 and "1" are "1", and true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _text(value: object, which: str, task_type: TaskType) -> str:
    """Return a text; tokens, in .csv as JSON, are joined by spaces."""
    if task_type.accepts_tokens and isinstance(value, str) and value.startswith('["'):
        with suppress(ValueError, RecursionError):  # a text may begin like a JSON list
            value = json.loads(value)
    if (
        task_type.accepts_tokens
        and isinstance(value, list)
        and all(isinstance(token, str) for token in value)
    ):
        return " ".join(value)
    if not isinstance(value, str):
        expected = "a string or a list of strings" if task_type.accepts_tokens else "a string"
        actual = f"{value!r:.60}" if isinstance(value, list) else type(value).__name__
        raise InputError(f"{which} is {actual}, expected {expected}")
    return value
