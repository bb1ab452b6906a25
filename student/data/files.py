"""Files of records: text files, tables, and data set folders, each record with its place for error messages.

Text files are read by the standard library: `datasets` would infer types (the label 01 becomes 1, the text
"NA" becomes null), forget line numbers, and copy each file into its cache.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

Record = dict[str, Any]
Located = Iterator[tuple[str, Record]]  # (place, record); the place is for error messages

_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # byte-order marks
_DELIMITERS = ",;\t|"
_HEADER = 100_000  # characters in which the first line of a table is looked for
_LONGEST_FIELD = 2**31 - 1  # characters; the largest number that `csv` takes everywhere
_ROWS = 1_000  # rows of Parquet that are read at once
_KNOWN = (
    ".jsonl, .json, .csv, .tsv, .txt, .conll (also .gz, .bz2, .xz), .parquet, .arrow, .xlsx, or a folder of"
    " save_to_disk"
)


def read_records(path: Path, label: str, *, encoding: str | None = None, split: str = "train") -> Located:
    """Yield the records of a file or data set folder, in their order. Lines, tables and Parquet are
    read piece by piece, so that their size does not matter.

    - `.jsonl` (also `.ndjson`): one object per line; `.json`: the same, or an array of objects, alone or as
      the only list in an object.
    - `.csv`, `.tsv`: the first line names the columns. Commas, semicolons, tabs and bars are recognised as
      delimiters of `.csv`. All values are strings.
    - `.txt`: one text per line, as the field `text`.
    - `.conll` (also `.bio`, `.iob`): a token per line, its tag in the last column, blank lines between texts.
    - `.parquet`, `.arrow`, and folders written by `Dataset.save_to_disk`. Class numbers in the column `label`
      are replaced by the names of the classes.
    - `.xlsx`: the first sheet; its first row names the columns.

    Args:
        path: the file or folder.
        label: the name of the label's column.
        encoding: the encoding of a text file; by default UTF-8, or that of its byte-order mark.
        split: the split of a folder that has several.

    Raises:
        InputError: the file cannot be read. The message has the file, the place and what to do.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; paths in task.yaml are relative to its folder")
    ending = "" if path.is_dir() else _ending(path)
    if ending == "parquet":
        return _parquet(path, label)
    if path.is_dir() or ending == "arrow":
        return data_set_records(_open(path, split), str(path), label)
    if ending == "xlsx":
        return _sheet(path)
    if ending not in _TEXT_FILES:
        raise InputError(f"{path}: unknown ending .{ending}; data files are {_KNOWN}")
    return _text_records(path, encoding, _TEXT_FILES[ending])


def data_set_records(data: "Dataset", where: str, label: str) -> Located:
    """Yield the records of a `datasets` data set. In the column `label`, class numbers, also in lists, are
    replaced by the names of the classes.
    """
    return _with_class_names(data, data.features.get(label), where, label)


def _parquet(path: Path, label: str) -> Located:
    """Yield the rows of a Parquet file, as `data_set_records` does."""
    import datasets
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        feature = datasets.Features.from_arrow_schema(file.schema_arrow).get(label)
        rows = (row for batch in file.iter_batches(_ROWS) for row in batch.to_pylist())
        yield from _with_class_names(rows, feature, str(path), label)
    except InputError:
        raise
    except Exception as error:  # pyarrow raises many unrelated types; the reason is in the text
        raise InputError(f"{path} cannot be read: {error}") from error


def _with_class_names(records: Iterable[Record], feature: Any, where: str, label: str) -> Located:
    """Yield records with the names of classes in place of their numbers in the column `label`."""
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    for number, record in enumerate(records, 1):
        place = f"{where} row {number}"
        if names and label in record:
            record = {**record, label: _named_classes(record[label], names, place)}
        yield place, record


def _named_classes(value: object, names: Sequence[str], where: str) -> object:
    if isinstance(value, list):
        return [_named_classes(one, names, where) for one in value]
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise InputError(f"{where}: label {value} is not a class of the data set; use a labelled split")
    return names[value]


def _ending(path: Path) -> str:
    name = path.with_suffix("") if path.suffix in _COMPRESSED else path
    return name.suffix.lower().removeprefix(".")


def _open(path: Path, split: str) -> "Dataset":
    """Open a folder written by `save_to_disk`, or an `.arrow` file, without copying it."""
    import datasets

    try:
        data = datasets.load_from_disk(str(path)) if path.is_dir() else datasets.Dataset.from_file(str(path))
    except Exception as error:  # datasets and pyarrow raise many unrelated types; the reason is in the text
        raise InputError(f"{path} cannot be read: {error}") from error
    if isinstance(data, datasets.Dataset):
        return data
    if split not in data:
        raise InputError(f"{path} has no split {split!r}; name one of them as `split`: {', '.join(data)}")
    return data[split]


def _sheet(path: Path) -> Located:
    """Yield the rows of a spreadsheet's first sheet; empty rows are skipped."""
    try:
        workbook = import_module("openpyxl").load_workbook(path, read_only=True, data_only=True)
    except ModuleNotFoundError:
        raise InputError(f"{path} needs another package: pip install 'tutelage[excel]'") from None
    except Exception as error:  # openpyxl raises errors of zipfile, of XML parsers and its own
        raise InputError(f"{path} cannot be read: {error}") from error
    rows = workbook.worksheets[0].iter_rows(values_only=True)
    header = next(rows, ())
    for number, values in enumerate(rows, 2):
        if any(value is not None for value in values):
            cells = zip(header, values, strict=False)
            yield f"{path} row {number}", {str(name): value for name, value in cells if name is not None}


def _table(file: IO[str], path: Path) -> Located:
    """Yield the rows of a CSV file."""
    assert isinstance(file, io.TextIOWrapper)
    file.reconfigure(newline="")  # as csv asks for: a field may contain line breaks of any kind
    start = file.readline()
    delimiter = start.rstrip("\r\n")[4:5] or ","  # of Excel's first line, sep=;
    if start[:4].lower() != "sep=":
        file.seek(0)
        delimiter = "\t" if _ending(path) == "tsv" else _delimiter(file.read(_HEADER))
        file.seek(0)
    try:
        # The limit is global to the process. `check_text` refuses long texts with a better message.
        csv.field_size_limit(_LONGEST_FIELD)
        reader = csv.DictReader(file, strict=True, delimiter=delimiter)
        for record in reader:
            where = f"{path} line {reader.line_num}"
            if surplus := record.pop(None, None):
                raise InputError(f"{where}: more fields than columns, e.g. {surplus[0]!r}; quote the text")
            yield where, dict(record)
    except csv.Error as error:
        raise InputError(f"{path} is not well-formed CSV: {error}") from error


def _delimiter(header: str) -> str:
    """Return the delimiter that divides the first line into most columns."""
    widths = dict[str, int]()
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(header, newline=""), delimiter=delimiter)
        try:
            widths[delimiter] = len(next(reader, ()))
        except csv.Error:
            widths[delimiter] = 0
    return max(_DELIMITERS, key=lambda delimiter: widths[delimiter])


def _lines(file: Iterable[str], path: Path) -> Located:
    """Yield the objects of a JSON Lines file."""
    for number, line in enumerate(file, 1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, _object(_parsed(line, where, "write one JSON object per line"), where)


def _json(file: IO[str], path: Path) -> Located:
    """Yield the objects of a JSON file: of its only list, or else of its lines."""
    text = file.read()
    stripped = text.lstrip()
    if stripped.startswith("{"):
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError):
            return _lines(text.split("\n"), path)
        lists = [value for value in whole.values() if isinstance(value, list) and value]
        if len(lists) != 1 or not all(isinstance(one, Mapping) for one in lists[0]):
            return _lines([json.dumps(whole)], path)  # the file is a single record
        return _items(lists[0], path)
    if stripped.startswith("["):
        return _items(_parsed(text, str(path), "write an array of objects, or one object per line"), path)
    return _lines(text.split("\n"), path)


def _items(items: Sequence[object], path: Path) -> Located:
    for number, item in enumerate(items, 1):
        where = f"{path} item {number}"
        yield where, _object(item, where)


def _parsed(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}; {remedy}") from error


def _object(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{where} is a JSON {type(value).__name__}, expected an object")
    return value


def _texts(file: Iterable[str], path: Path) -> Located:
    """Yield the lines of a text file that are not blank."""
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{path} line {number}", {"text": line.rstrip("\r\n")}


def _tagged(file: Iterable[str], path: Path) -> Located:
    """Yield the texts of a CoNLL file, with their tokens as `text` and their tags as `entities`."""
    tokens: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in enumerate(chain(file, [""]), 1):
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            if len(columns) < 2:
                raise InputError(
                    f"{path} line {number} has no tag: {line.rstrip()[:60]!r}; give each token one"
                )
            first = first if tokens else number
            tokens.append(columns[0])
            tags.append(columns[-1])
        elif tokens:
            yield f"{path} line {first}", {"text": tokens, "entities": tags}
            tokens, tags = [], []


_TEXT_FILES: dict[str, Callable[[IO[str], Path], Located]] = {
    "jsonl": _lines,
    "ndjson": _lines,
    "json": _json,
    "csv": _table,
    "tsv": _table,
    "txt": _texts,
    **dict.fromkeys(("conll", "bio", "iob"), _tagged),
}


def _text_records(path: Path, encoding: str | None, read: Callable[[IO[str], Path], Located]) -> Located:
    """Yield what `read` finds in a text file, which may be compressed."""
    unpack = _COMPRESSED.get(path.suffix, open)
    used = encoding or "utf-8"
    try:
        with unpack(path, "rb") as raw:
            start = raw.read(max(map(len, _MARKS)))
            used = next((name for mark, name in _MARKS.items() if start.startswith(mark)), used)
            raw.seek(0)
            yield from read(io.TextIOWrapper(raw, _known(used, path), newline="\n"), path)
    except UnicodeDecodeError as error:
        with unpack(path, "rb") as raw:
            raise _not_decoded(path, used, raw) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _known(encoding: str, path: Path) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise InputError(
            f"{path}: unknown encoding {encoding!r}; Python's names are e.g. windows-1252"
        ) from None


def _not_decoded(path: Path, used: str, raw: IO[bytes]) -> InputError:
    """Return the error for a file that is not in the encoding `used`, with the first such line."""
    shown, place = "UTF-8" if used.startswith("utf-8") else used, ""
    if b"\n".decode(used, "ignore") == "\n":
        for number, line in enumerate(raw, 1):
            try:
                line.decode(used)
            except UnicodeDecodeError as error:
                place = f" line {number}"
                shown += f" (byte 0x{line[error.start]:02x})"
                break
    return InputError(
        f"{path}{place} is not {shown}; save the file as UTF-8, or name its encoding: in task.yaml by"
        " `encoding: windows-1252` of the source, for a command on one file by --encoding windows-1252"
    )
