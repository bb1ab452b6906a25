"""Predict every row of a file of any size, and write the rows with their predictions to another file."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.graph.run_folder.folder import student_in
from tutelage.graph.runs.file_columns import GUESSED, FileColumns, columns_of
from tutelage.student.data.annotation_tools import plain_record
from tutelage.student.data.files import Record, read_records
from tutelage.student.data.readers import text_of
from tutelage.student.data.writers import check_ending, check_writable, common_type, write_records
from tutelage.student.errors import InputError, Interrupted
from tutelage.student.evaluation.confidence import load_reliability
from tutelage.student.models.base import Predictor, forget_texts
from tutelage.student.models.onnx_student import Engine, load_predictor
from tutelage.student.tasks.fields import Fields
from tutelage.student.tasks.registry import TASK_TYPES

BLOCK = 1_024  # rows that are predicted, and stored, at once
ADDED = ("predicted", "confidence")  # the columns of the prediction

Listener = Callable[[int, int], None]  # called with the number of predicted rows and of all rows
RowsWithTexts = Iterator[tuple[Record, str | InputError]]  # a record, and its text or why it has none
_WEIGHTS = (".safetensors", ".npz", ".onnx", ".json")  # files of a student that change its predictions


@dataclass(frozen=True)
class PredictionRequest:
    """What to predict with.

    Attributes:
        student: a run folder, a student's folder, or a folder that `tutelage export` wrote.
        columns: the columns of the text in a file, and its encoding (see `columns_of`).
        precision: as in `predict_texts`: less confident predictions are left empty.
        engine: see `load_predictor`.
    """

    student: Path
    columns: FileColumns = GUESSED
    precision: float | None = None
    engine: Engine = "auto"

    def load(self) -> tuple[Predictor, float]:
        """Return the student, and the confidence below which predictions are left empty."""
        folder = student_in(self.student)
        lowest = 0.0 if self.precision is None else load_reliability(folder).threshold(self.precision)
        return load_predictor(folder, self.engine), lowest


@dataclass
class FileSummary:
    """What a file holds.

    Attributes:
        rows: the number of rows.
        unusable: how many of them have no usable text.
        problem: the first reason for that.
        types: the type of each column (see `common_type`).
    """

    rows: int = 0
    unusable: int = 0
    problem: InputError | None = None
    types: dict[str, type | None] = field(default_factory=dict)

    def count(self, text: str | InputError) -> None:
        """Count a row."""
        self.rows += 1
        if isinstance(text, InputError):
            self.unusable += 1
            self.problem = self.problem or text

    def report(self, warn: Callable[[str], None]) -> None:
        """Note how many rows have no usable text.

        Raises:
            InputError: no row has one.
        """
        if not self.problem:
            return
        if self.rows == self.unusable:
            raise self.problem
        warn(f"note: {self.unusable} of {self.rows} rows get no prediction; the first: {self.problem}")


def predict_file(
    request: PredictionRequest,
    file: Path,
    to: Path,
    warn: Callable[[str], None],
    *,
    listener: Listener = lambda done, rows: None,
) -> int:
    """Predict the rows of a file, and write them with the columns `predicted` and `confidence` to a new file.

    The file is read three times: to check it, to predict, and to write. Predictions are kept in `<to>.part`
    until the end, and a stopped prediction continues with them. Rows whose text is empty or unusable keep
    their place without a prediction.

    Returns:
        The number of rows.

    Raises:
        InputError: the file has no usable row, the new file exists, or the student cannot be loaded.
        Interrupted: the user asked to stop.
    """
    _check_new(to)
    student, lowest = request.load()
    names = columns_of(file, request.columns, student, request.student).text
    encoding = request.columns.encoding

    def rows() -> RowsWithTexts:
        return rows_of(file, names, student, encoding)

    summary = _summary(rows(), file, warn)
    part = to.with_name(f"{to.name}.part")
    with closing(_Answers(part, _identity(request, file, names))) as answers:
        try:
            if answers.count:
                warn(f"note: {part} has {answers.count} of {summary.rows} rows already")
            _predict(student, rows(), answers, lambda n: listener(n, summary.rows))
            types = {name: kind or str for name, kind in summary.types.items()}
            filled = _filled(rows(), answers, student.kind, lowest)
            write_records(to, filled, {**types, "predicted": str, "confidence": float})
        except KeyboardInterrupt:
            raise Interrupted(f"stopped after {answers.count} rows; the same command continues") from None
        if truncated := answers.truncated:
            warn(f"note: {truncated} texts are too long for this student: it read only their beginnings")
    part.unlink()
    Path(f"{part}-journal").unlink(missing_ok=True)  # SQLite may leave it in exclusive mode
    return summary.rows


def _check_new(to: Path) -> None:
    check_ending(to)
    if to.exists():
        raise InputError(f"{to} exists already; choose another file, or delete it")
    if not to.absolute().parent.is_dir():
        raise InputError(f"the folder {to.absolute().parent} does not exist; create it")


def rows_of(file: Path, names: Fields, student: Predictor, encoding: str | None) -> RowsWithTexts:
    """Yield the records of a file with their texts, or with why they have none."""
    task_type = TASK_TYPES[student.kind]
    for where, record in read_records(file, "", encoding=encoding):
        try:
            yield record, text_of(plain_record(record), where, names, task_type)
        except InputError as error:
            yield record, error


def _summary(rows: RowsWithTexts, file: Path, warn: Callable[[str], None]) -> FileSummary:
    """Read a whole file, and check that it can be predicted and written again."""
    found = FileSummary()
    for record, text in rows:
        found.count(text)
        check_writable(record, f"{file}: row {found.rows}")
        for name, value in record.items():
            found.types[name] = common_type(found.types.get(name), value)
    if taken := [name for name in ADDED if name in found.types]:
        raise InputError(f"{file} has a column {taken[0]!r} already; rename it, predictions go there")
    if not found.rows:
        raise InputError(f"{file} holds no rows; there is nothing to predict")
    found.report(warn)
    return found


class _Answers:
    """Store predictions as they come, in a SQLite file that one process at a time can open.

    Attributes:
        count: the number of rows with a stored prediction.
    """

    def __init__(self, path: Path, identity: str):
        self._db = sqlite3.connect(path, timeout=0.1, isolation_level=None)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("CREATE TABLE IF NOT EXISTS about (identity TEXT, truncated INTEGER)")
            self._db.execute("CREATE TABLE IF NOT EXISTS answers (row INTEGER PRIMARY KEY, label, sure)")
            known = self._db.execute("SELECT identity FROM about").fetchone()
            if not known:
                self._db.execute("INSERT INTO about VALUES (?, 0)", [identity])
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise InputError(f"{path} is in use: another process predicts this file") from error
            raise InputError(f"{path} cannot be written: {error}") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise InputError(f"{path} holds no predictions; delete it to begin again") from error
        if known and known[0] != identity:
            self._db.close()
            raise InputError(
                f"{path} holds predictions of another file, student or column; delete it to begin again"
            )
        self.count: int = self._db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]

    def add(self, answers: Iterable[tuple[str, float] | None], truncated: int) -> None:
        """Store the predictions of the next rows; None for a row without a text."""
        lines = [(self.count + i, *(answer or (None, None))) for i, answer in enumerate(answers)]
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO answers VALUES (?, ?, ?)", lines)
            self._db.execute("UPDATE about SET truncated = truncated + ?", [truncated])
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise InputError(f"the predictions cannot be stored: {error}") from error
        self.count += len(lines)

    @property
    def truncated(self) -> int:
        """Return how many texts were truncated."""
        return int(self._db.execute("SELECT truncated FROM about").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[str | None, float | None]]:
        yield from self._db.execute("SELECT label, sure FROM answers ORDER BY row")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _identity(request: PredictionRequest, file: Path, names: Sequence[str]) -> str:
    """Return what the stored predictions depend on."""
    weights = [path for path in student_in(request.student).rglob("*") if path.suffix in _WEIGHTS]
    stamps = [_stamp(path) for path in (file, *sorted(weights))]
    return json.dumps([stamps, list(names), request.columns.encoding, request.engine])


def _stamp(path: Path) -> list[Any]:
    about = path.stat()
    return [str(path.absolute()), about.st_size, about.st_mtime_ns]


def _predict(
    student: Predictor, rows: RowsWithTexts, answers: _Answers, listener: Callable[[int], None]
) -> None:
    """Predict the rows that have no stored prediction."""
    rest = islice(rows, answers.count, None)
    listener(answers.count)
    while block := [text for _, text in islice(rest, BLOCK)]:
        texts = [text for text in block if isinstance(text, str)]
        found = student.predict(texts, best=True) if texts else None
        each = zip(found.answers, found.confidence.tolist(), strict=True) if found else iter(())
        predicted = [next(each) if isinstance(text, str) else None for text in block]
        answers.add(predicted, student.count_truncated(texts))
        forget_texts(student)
        listener(answers.count)


def _filled(rows: RowsWithTexts, answers: _Answers, kind: str, lowest: float) -> Iterator[Record]:
    """Yield the records with their predictions."""
    task_type = TASK_TYPES[kind]
    for (record, text), (label, confidence) in zip(rows, answers, strict=True):
        if isinstance(text, InputError) or label is None or confidence is None:
            yield {**record, "predicted": None, "confidence": None}
        else:
            shown = task_type.to_file(label, text) if confidence >= lowest else None
            yield {**record, "predicted": shown, "confidence": round(confidence, 4)}
