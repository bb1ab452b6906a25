"""Rows: what a text is called, when two are the same, and how files of them are read."""

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
from tutelage.student.tasks import Kind
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.fields import MARK, ONE, Fields, join, split

LONGEST = 20_000  # characters; a longer text is a file pasted by mistake, and no student reads that far


class Row(TypedDict):
    """A text and its label; `id` is its `content_id`.

    `confidence` is how sure the teacher is of a label it gave; the user's own labels have none. `rationale`
    is the reason for the label, where one is known. `weight` is the row's relative weight in the loss, 1 by
    default. `target` is used in training in place of the label, which is its most likely one: a distribution
    over the task's labels in their order, of multi-label tasks a probability for each label.
    """

    id: str
    text: str
    label: str
    confidence: NotRequired[float]
    rationale: NotRequired[str]
    weight: NotRequired[float]
    target: NotRequired[list[float]]


def filed(text: str, label: str, *, kind: Kind, fields: Fields) -> dict[str, Any]:
    """A labelled text as data files hold it: the task's fields, the label under its kind's own key."""
    return {**split(text, fields), kind.key: kind.filed(label, text)}


def normal(text: str) -> str:
    """The form under which two texts count as the same: no case, punctuation or spacing.

    Embeddings do not see to this: a capital and a final dot alone can move the cosine to 0.93.
    """
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(folded.translate(_SPACED).split()) or text.strip()


class _Spaced(dict[int, int | str]):
    """Letters, marks (vowel signs are), digits and symbols (emoji are) stay; the rest becomes a space."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMNS" else " "
        return self[code]


_SPACED = _Spaced()


def content_id(text: str, kind: Kind = CLASSIFICATION) -> str:
    """16 hexadecimal digits of the SHA-256 of the normal form: the same text, the same id. Where signs and
    case carry the answer (`12 / 3`, `us` and `US`), spacing alone makes no other text.
    """
    form = " ".join(unicodedata.normalize("NFC", text).split()) if kind.verbatim else normal(text)
    return hashlib.sha256(form.encode()).hexdigest()[:16]


def read_rows(
    path: Path,
    labels: Sequence[str] | None,
    *,
    kind: Kind = CLASSIFICATION,
    fields: Fields = ONE,
    label_field: str | None = None,
    rationale_field: str | None = None,
) -> list[Row]:
    """Read `.jsonl`, `.json` lines or `.csv` (each also `.gz`), in file order.

    Args:
        path: the file.
        labels: the labels a row may have; None reads texts alone, and every label is "".
        kind: what a label is.
        fields: the column of the text, or the two of a pair.
        label_field: the column of the label, by default the kind's `key`.
        rationale_field: the column of the reason for the label, if there is one.

    Raises:
        InputError: with the file, the line, what was found there and what to do.
    """
    column = label_field or kind.key
    return [
        reasoned(make_row(record, labels, where, fields, column, kind), record, rationale_field, where)
        for where, record in _records(path)
    ]


def read_hub(
    name: str,
    split: str,
    labels: Sequence[str] | None,
    *,
    kind: Kind = CLASSIFICATION,
    fields: Fields,
    label_field: str | None,
    rationale_field: str | None = None,
) -> list[Row]:
    """Read a split of a `datasets` hub name or local data set folder; class numbers, also in lists, become
    names.

    Raises:
        InputError: the data set or split cannot be loaded, or a row does not fit the task.
    """
    import datasets

    try:
        data = datasets.load_dataset(name, split=split)
    except Exception as error:  # datasets raises a dozen unrelated types; the reason is in the text
        raise InputError(f"data set {name!r}, split {split!r} cannot be loaded: {error}") from error
    column = label_field or kind.key
    feature = data.features.get(column)
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    rows = []
    for number, record in enumerate(data, 1):
        where = f"{name}[{split}] row {number}"
        if names and column in record:
            record = {**record, column: _named_classes(record[column], names, where)}
        row = make_row(record, labels, where, fields, column, kind)
        rows.append(reasoned(row, record, rationale_field, where))
    return rows


def _named_classes(value: object, names: Sequence[str], where: str) -> object:
    if isinstance(value, list):
        return [_named_classes(one, names, where) for one in value]
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise InputError(f"{where}: label {value} names no class; take a split that is labelled")
    return names[value]


def make_row(
    record: dict[str, object],
    labels: Sequence[str] | None,
    where: str,
    fields: Fields,
    label_field: str,
    kind: Kind = CLASSIFICATION,
) -> Row:
    """Check one record and give it its id.

    Raises:
        InputError: a field is missing or of the wrong type, a text is empty, too long or holds a NUL
            byte, or the label is none that the kind knows.
    """
    wanted = fields if labels is None else (*fields, label_field)
    for field in wanted:
        if field not in record:
            raise InputError(
                f"{where}: no field {field!r}, got {', '.join(map(repr, record)) or 'nothing'};"
                " rename the column, or name it: `text`, `label` of the source in task.yaml, --text, --label"
            )
    parts = {field: _text(record[field], f"{where}: field {field!r}", kind) for field in fields}
    for field in fields:
        check_text(parts[field], f"{where}: {_named(field, fields)}", of_pair=len(fields) > 1)
    text = join(parts, fields)
    if labels is None:
        return Row(id=content_id(text, kind), text=text, label="")
    try:
        label = kind.read(_tags(record, fields, label_field, kind), text, labels)
    except ValueError as error:
        raise InputError(f"{where}: {label_field} {error}") from None
    return Row(id=content_id(text, kind), text=text, label=label)


def _tags(record: dict[str, object], fields: Fields, label_field: str, kind: Kind) -> object:
    """A record's label; no tags at all for tokens are no empty list of entities.

    Raises:
        ValueError: so it is.
    """
    tokens, label = record[fields[0]], record[label_field]
    if kind.lists and isinstance(tokens, list) and label in ([], "[]") and label_field != kind.key:
        raise ValueError(f"has 0 tags for {len(tokens)} tokens; give each token one, O outside")
    return label


def reasoned(row: Row, record: dict[str, object], field: str | None, where: str) -> Row:
    """A row with the reason for its label, which may be blank.

    Raises:
        InputError: the column is not there, or holds no string.
    """
    if field is None:
        return row
    if not isinstance(reason := record.get(field), str):
        raise InputError(
            f"{where}: field {field!r} is {type(reason).__name__}, expected the reason, a string"
        )
    if reason.strip():
        row["rationale"] = reason.strip()
    return row


def _text(value: object, which: str, kind: Kind) -> str:
    """A text, or the tokens of one, with spaces between; in .csv they stand as JSON."""
    if kind.lists and isinstance(value, str) and value.startswith('["'):
        with suppress(ValueError, RecursionError):  # else it is a text that begins so
            value = json.loads(value)
    if kind.lists and isinstance(value, list) and all(isinstance(token, str) for token in value):
        return " ".join(value)
    if not isinstance(value, str):
        wanted = "a string, or a list of them" if kind.lists else "a string"
        told = f"{value!r:.60}" if isinstance(value, list) else type(value).__name__
        raise InputError(f"{which} is {told}, expected {wanted}")
    return value


def _named(field: str, fields: Fields) -> str:
    return "the text" if len(fields) == 1 else f"field {field!r} of the pair"


def check_text(text: str, which: str, *, of_pair: bool = False) -> None:
    """See that a text, or one of a pair, can be worked with.

    Raises:
        InputError: it is blank, too long, damaged, or holds what stands between the texts of a pair.
    """
    if not text.strip():
        raise InputError(f"{which} is empty; there is nothing to label in it: remove it")
    if len(text) > LONGEST:
        raise InputError(f"{which} has {len(text):,} characters, at most {LONGEST:,}; shorten it")
    if "\0" in text:
        raise InputError(f"{which} holds a NUL byte; the file is damaged or not text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{which} holds half of a surrogate pair; write the file as UTF-8 anew")
    if of_pair and MARK in text:
        raise InputError(f"{which} holds {MARK!r}, which stands between the texts of a pair here; remove it")


def check_distinct(rows: Sequence[Row], where: str) -> None:
    """Refuse the same text twice.

    Raises:
        InputError: naming the text and whether its labels agree.
    """
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row["id"], row)
        if other is row:
            continue
        if other["label"] != row["label"]:
            raise InputError(
                f"{where}: {row['text'][:60]!r} stands there as {other['label']!r} and as {row['label']!r};"
                " keep the right one"
            )
        raise InputError(f"{where}: {row['text'][:60]!r} stands there twice; remove one")


def _records(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """(place, record) of every line; the place is for error messages."""
    text = _read_text(path)
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    if kind == "csv":
        try:
            # A text that is too long is refused by name, below; the limit is the whole process's.
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
        raise InputError(f"{path}: unknown ending .{kind}; data files are .jsonl or .csv, also with .gz")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON: {error}; write one JSON object a line") from error
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
