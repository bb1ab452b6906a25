"""Readers: rows from data files and from data sets of the hub."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tutelage.student.data.rows import Row, check_text, content_id
from tutelage.student.errors import InputError
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import ONE, Fields, join
from tutelage.student.tasks.task_type import TaskType


class Columns(NamedTuple):
    """The columns of a data file: the text (two for a pair), its label, and the reason for the label.

    Without `label` it is `TaskType.label_field`. Without `rationale` no reasons are read.
    """

    text: Fields = ONE
    label: str | None = None
    rationale: str | None = None


_DEFAULT = Columns()


def read_rows(
    path: Path,
    labels: Sequence[str] | None,
    *,
    task_type: TaskType = CLASSIFICATION,
    columns: Columns = _DEFAULT,
) -> list[Row]:
    """Read the rows of a `.jsonl`, `.json` (one object per line) or `.csv` file, also `.gz`, in file order.

    Args:
        path: the file.
        labels: the labels a row may have; with None only texts are read, and every label is "".
        task_type: the task type, which parses the labels.
        columns: the names of the columns.

    Raises:
        InputError: a row is not usable. The message has the file, the line, what was found and what to do.
    """
    return [make_row(record, labels, where, columns, task_type) for where, record in _records(path)]


def read_hub(
    name: str,
    split: str,
    labels: Sequence[str] | None,
    *,
    task_type: TaskType = CLASSIFICATION,
    columns: Columns = _DEFAULT,
) -> list[Row]:
    """Read a split of a `datasets` hub name or local data set folder, like `read_rows`. Class numbers, also
    in lists, are replaced by the names of the classes.

    Raises:
        InputError: the data set or split cannot be loaded, or a row does not fit the task.
    """
    import datasets

    try:
        data = datasets.load_dataset(name, split=split)
    except Exception as error:  # datasets raises a dozen unrelated types; the reason is in the text
        raise InputError(f"data set {name!r}, split {split!r} cannot be loaded: {error}") from error
    column = columns.label or task_type.label_field
    feature = data.features.get(column)
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    rows = []
    for number, record in enumerate(data, 1):
        where = f"{name}[{split}] row {number}"
        if names and column in record:
            record = {**record, column: _named_classes(record[column], names, where)}
        rows.append(make_row(record, labels, where, columns, task_type))
    return rows


def _named_classes(value: object, names: Sequence[str], where: str) -> object:
    if isinstance(value, list):
        return [_named_classes(one, names, where) for one in value]
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise InputError(f"{where}: label {value} is not a class of the data set; use a labelled split")
    return names[value]


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
    fields, label_field = columns.text, columns.label or task_type.label_field
    for field in fields if labels is None else (*fields, label_field):
        if field not in record:
            raise InputError(
                f"{where}: no field {field!r}, got {', '.join(map(repr, record)) or 'nothing'};"
                " rename the column, or name it: `text`, `label` of the source in task.yaml, --text, --label"
            )
    parts = {field: _text(record[field], f"{where}: field {field!r}", task_type) for field in fields}
    for field, part in parts.items():
        name = f"field {field!r} of the pair" if len(fields) > 1 else "the text"
        check_text(part, f"{where}: {name}", of_pair=len(fields) > 1)
    text = join(parts, fields)
    row = Row(id=content_id(text, task_type), text=text, label="")
    if labels is not None:
        try:
            row["label"] = task_type.parse_label(_label_value(record, columns, task_type), text, labels)
        except ValueError as error:
            raise InputError(f"{where}: {label_field} {error}") from None
    if columns.rationale is not None and (reason := _rationale(record, columns.rationale, where)):
        row["rationale"] = reason
    return row


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
    label = record[label_field]
    if (
        task_type.accepts_tokens
        and isinstance(tokens, list)
        and label in ([], "[]")
        and label_field != task_type.label_field
    ):
        raise ValueError(f"has 0 tags for {len(tokens)} tokens; give each token one tag, O outside")
    return label


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


def _records(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield (location, record) of every line; the location is for error messages."""
    text = _read_text(path)
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    if kind == "csv":
        try:
            # The limit is global to the process. `check_text` refuses long texts with a better message.
            csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            for record in reader:
                where = f"{path} line {reader.line_num}"
                if surplus := record.pop(None, None):
                    raise InputError(
                        f"{where}: more fields than columns, e.g. {surplus[0]!r}; quote the text"
                    )
                yield where, dict(record)
        except csv.Error as error:
            raise InputError(f"{path} is not well-formed CSV: {error}") from error
        return
    if kind not in ("jsonl", "json"):
        raise InputError(
            f"{path}: unknown ending .{kind}; data files are .jsonl or .csv, optionally with .gz"
        )
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON: {error}; write one JSON object per line") from error
        if not isinstance(record, dict):
            raise InputError(f"{where} is a JSON {type(record).__name__}, expected an object")
        yield where, record


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        raw = raw.removeprefix(b"\xef\xbb\xbf")
        return raw.decode()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; paths in task.yaml are relative to its folder") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        got = f"byte 0x{raw[error.start]:02x}"
        raise InputError(f"{path} line {line} is not UTF-8 ({got}); save the file as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
