"""Rows: ids and equality of texts, and readers for data files and hub data sets."""

import csv
import gzip
import hashlib
import io
import json
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tutelage.student.errors import InputError
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import MARK, ONE, Fields, join, split
from tutelage.student.tasks.task_type import TaskType

LONGEST = 20_000  # characters; a longer text is usually a pasted file, and exceeds what students can read


class Row(TypedDict):
    """A text and its label; `id` is its `content_id`.

    `confidence` is the teacher's confidence in a label it assigned; the user's own labels have none.
    `rationale` is the reason for the label, if known. `weight` is the row's relative weight in the loss, 1 by
    default. `target` replaces the label in training: a distribution over the task's labels, in their order,
    or for multi-label tasks a probability for each label. Its most likely label is `label`.
    """

    id: str
    text: str
    label: str
    confidence: NotRequired[float]
    rationale: NotRequired[str]
    weight: NotRequired[float]
    target: NotRequired[list[float]]


def filed(text: str, label: str, *, task_type: TaskType, fields: Fields) -> dict[str, Any]:
    """Return a labelled text as data files contain it: its fields, and the label under `label_field`."""
    return {**split(text, fields), task_type.label_field: task_type.to_file(label, text)}


def normal(text: str) -> str:
    """Return the normal form of a text, without case, punctuation and spacing; equal forms are the same text.

    Embeddings cannot replace it: a capital letter and a final dot alone can lower the cosine to 0.93.
    """
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(folded.translate(_SPACED).split()) or text.strip()


class _Spaced(dict[int, int | str]):
    """Map letters, marks (vowel signs), digits and symbols (emoji) to themselves, the rest to a space."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMNS" else " "
        return self[code]


_SPACED = _Spaced()


def content_id(text: str, task_type: TaskType = CLASSIFICATION) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the normal form, so that equal texts have equal ids. For
    case-sensitive task types only spacing is ignored (`12 / 3`, and `us` differs from `US`).
    """
    form = " ".join(unicodedata.normalize("NFC", text).split()) if task_type.case_sensitive else normal(text)
    return hashlib.sha256(form.encode()).hexdigest()[:16]


def read_rows(
    path: Path,
    labels: Sequence[str] | None,
    *,
    task_type: TaskType = CLASSIFICATION,
    fields: Fields = ONE,
    label_field: str | None = None,
    rationale_field: str | None = None,
) -> list[Row]:
    """Read the rows of a `.jsonl`, `.json` (one object per line) or `.csv` file, also `.gz`, in file order.

    Args:
        path: the file.
        labels: the labels a row may have; with None only texts are read, and every label is "".
        task_type: the task type, which parses the labels.
        fields: the column of the text, or the two of a pair.
        label_field: the column of the label, by default `task_type.label_field`.
        rationale_field: the column of the reason for the label, if there is one.

    Raises:
        InputError: a row is not usable. The message has the file, the line, what was found and what to do.
    """
    column = label_field or task_type.label_field
    return [
        reasoned(make_row(record, labels, where, fields, column, task_type), record, rationale_field, where)
        for where, record in _records(path)
    ]


def read_hub(
    name: str,
    split: str,
    labels: Sequence[str] | None,
    *,
    task_type: TaskType = CLASSIFICATION,
    fields: Fields,
    label_field: str | None,
    rationale_field: str | None = None,
) -> list[Row]:
    """Read a split of a `datasets` hub name or local data set folder. Class numbers, also in lists, are
    replaced by the names of the classes.

    Raises:
        InputError: the data set or split cannot be loaded, or a row does not fit the task.
    """
    import datasets

    try:
        data = datasets.load_dataset(name, split=split)
    except Exception as error:  # datasets raises a dozen unrelated types; the reason is in the text
        raise InputError(f"data set {name!r}, split {split!r} cannot be loaded: {error}") from error
    column = label_field or task_type.label_field
    feature = data.features.get(column)
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    rows = []
    for number, record in enumerate(data, 1):
        where = f"{name}[{split}] row {number}"
        if names and column in record:
            record = {**record, column: _named_classes(record[column], names, where)}
        row = make_row(record, labels, where, fields, column, task_type)
        rows.append(reasoned(row, record, rationale_field, where))
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
    fields: Fields,
    label_field: str,
    task_type: TaskType = CLASSIFICATION,
) -> Row:
    """Check one record and return it as a row with its id.

    Raises:
        InputError: a field is missing or of the wrong type, a text is empty, too long or contains a NUL
            byte, or the label is not valid for the task.
    """
    wanted = fields if labels is None else (*fields, label_field)
    for field in wanted:
        if field not in record:
            raise InputError(
                f"{where}: no field {field!r}, got {', '.join(map(repr, record)) or 'nothing'};"
                " rename the column, or name it: `text`, `label` of the source in task.yaml, --text, --label"
            )
    parts = {field: _text(record[field], f"{where}: field {field!r}", task_type) for field in fields}
    for field in fields:
        check_text(parts[field], f"{where}: {_named(field, fields)}", of_pair=len(fields) > 1)
    text = join(parts, fields)
    if labels is None:
        return Row(id=content_id(text, task_type), text=text, label="")
    try:
        label = task_type.parse_label(_label_value(record, fields, label_field, task_type), text, labels)
    except ValueError as error:
        raise InputError(f"{where}: {label_field} {error}") from None
    return Row(id=content_id(text, task_type), text=text, label=label)


def _label_value(record: dict[str, object], fields: Fields, label_field: str, task_type: TaskType) -> object:
    """Return a record's raw label. An empty list of BIO tags must not pass as an empty list of entities.

    Raises:
        ValueError: a text given as tokens has an empty list of tags.
    """
    tokens, label = record[fields[0]], record[label_field]
    if (
        task_type.accepts_tokens
        and isinstance(tokens, list)
        and label in ([], "[]")
        and label_field != task_type.label_field
    ):
        raise ValueError(f"has 0 tags for {len(tokens)} tokens; give each token one tag, O outside")
    return label


def reasoned(row: Row, record: dict[str, object], field: str | None, where: str) -> Row:
    """Add the reason for its label to a row, unless `field` is None or the reason is blank.

    Raises:
        InputError: the column is missing, or its value is not a string.
    """
    if field is None:
        return row
    if not isinstance(reason := record.get(field), str):
        raise InputError(f"{where}: field {field!r} is {type(reason).__name__}, expected a string (a reason)")
    if reason.strip():
        row["rationale"] = reason.strip()
    return row


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


def _named(field: str, fields: Fields) -> str:
    return "the text" if len(fields) == 1 else f"field {field!r} of the pair"


def check_text(text: str, which: str, *, of_pair: bool = False) -> None:
    """Check that a text, or one text of a pair, is usable.

    Raises:
        InputError: it is blank, too long or damaged, or contains the separator of the texts of a pair.
    """
    if not text.strip():
        raise InputError(f"{which} is empty; there is nothing to label in it: remove it")
    if len(text) > LONGEST:
        raise InputError(f"{which} has {len(text):,} characters, at most {LONGEST:,}; shorten it")
    if "\0" in text:
        raise InputError(f"{which} contains a NUL byte; the file is damaged or not text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{which} contains half of a surrogate pair; save the file as UTF-8 again")
    if of_pair and MARK in text:
        raise InputError(f"{which} contains {MARK!r}, which separates the texts of a pair; remove it")


def check_distinct(rows: Sequence[Row], where: str) -> None:
    """Check that no text occurs twice.

    Raises:
        InputError: a text occurs twice. The message quotes it, and its labels if they differ.
    """
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row["id"], row)
        if other is row:
            continue
        if other["label"] != row["label"]:
            raise InputError(
                f"{where}: {row['text'][:60]!r} occurs as {other['label']!r} and as {row['label']!r};"
                " keep the right one"
            )
        raise InputError(f"{where}: {row['text'][:60]!r} occurs twice; remove one")


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
