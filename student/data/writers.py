"""Write records to a file, piece by piece: JSON Lines, CSV or Parquet, by the ending of its name."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from tutelage.student.data.files import Record
from tutelage.student.errors import InputError

Types = Mapping[str, type]  # the type of each column: str, bool, int or float
_ROWS = 10_000  # rows of Parquet that are written at once


def check_ending(path: Path) -> None:
    """Check that a file of this name can be written.

    Raises:
        InputError: the ending of its name is unknown.
    """
    if path.suffix not in _WRITERS:
        raise InputError(f"{path}: unknown ending {path.suffix!r}; predictions go to {', '.join(_WRITERS)}")


def common_type(known: type | None, value: object) -> type | None:
    """Return the type of a column that holds `value` besides values of the type `known`; None without any.

    Values of several types, and lists and objects, become text.
    """
    if value is None:
        return known
    found = type(value) if isinstance(value, bool | int | float) else str
    if found is int and not -(2**63) <= value < 2**63:  # type: ignore[operator]
        found = str
    if known in (None, found):
        return found
    return float if {known, found} == {int, float} else str


def check_writable(record: Record, where: str) -> None:
    """Check that a record can be written as UTF-8.

    Raises:
        InputError: a value contains half of a surrogate pair.
    """
    for name, value in record.items():
        try:
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, list | dict):
                json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{where}: field {name!r} contains half of a surrogate pair; save the file as UTF-8 again"
            ) from None


def write_records(path: Path, records: Iterable[Record], types: Types) -> None:
    """Write records to a new file, all or nothing.

    Args:
        path: the file; its ending is `.jsonl`, `.csv` or `.parquet`.
        records: the rows. In CSV and Parquet, lists and objects are written as JSON, and dates as text.
        types: the columns in their order, and their types.

    Raises:
        InputError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.writing")
    try:
        _WRITERS[path.suffix](part, records, types)
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _lines(path: Path, records: Iterable[Record], types: Types) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            plain = {name: None if value != value else value for name, value in record.items()}  # NaN
            file.write(json.dumps(plain, ensure_ascii=False, default=str) + "\n")


def _table(path: Path, records: Iterable[Record], types: Types) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(types)
        writer.writerows([_cell(record.get(name), str) for name in types] for record in records)


def _parquet(path: Path, records: Iterable[Record], types: Types) -> None:
    import pyarrow
    import pyarrow.parquet

    arrow = {str: pyarrow.string(), bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, arrow[kind]) for name, kind in types.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in _pieces(records):
            columns = {name: [_cell(row.get(name), kind) for row in rows] for name, kind in types.items()}
            writer.write_table(pyarrow.table(columns, schema=schema))


def _pieces(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while rows := list(islice(rest, _ROWS)):
        yield rows


def _cell(value: object, kind: type) -> object:
    """Return a value as a column of this type holds it."""
    if value is None or (kind is not str and isinstance(value, kind)):
        return value
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return kind(value)


_WRITERS: dict[str, Callable[[Path, Iterable[Record], Types], None]] = {
    ".jsonl": _lines,
    ".csv": _table,
    ".parquet": _parquet,
}
