"""Predict every row of a file of any size, and write the rows with their predictions to another file."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.graph.run_folder.folder import student_in
from tutelage.graph.runs.answers import Answers
from tutelage.graph.runs.file_columns import GUESSED, FileColumns, columns_of
from tutelage.graph.runs.shard import BLOCK, Shard
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

WHOLE = Shard()
ALL = slice(None)  # rows of a file
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
    shard: Shard = WHOLE,
    listener: Listener = lambda done, rows: None,
) -> int:
    """Predict the rows of a file, and write them with the columns `predicted` and `confidence` to a new file.

    The file is read three times: to check it, to predict, and to write. Predictions are kept in `<to>.part`
    until the end, and a stopped prediction continues with them. Rows whose text is empty or unusable keep
    their place without a prediction. With a shard, all rows are checked, so that all parts have the same
    columns, and those of the shard are predicted and written to `shard.file(to)`.

    Returns:
        The number of rows written.

    Raises:
        InputError: the file has no usable row, the new file exists, or the student cannot be loaded.
        Interrupted: the user asked to stop.
    """
    to = shard.file(to)
    _check_new(to)
    student, lowest = request.load()
    names = columns_of(file, request.columns, student, request.student).text
    encoding = request.columns.encoding

    def rows(part: slice = ALL) -> RowsWithTexts:
        return rows_of(file, names, student, encoding, part)

    summary = _summary(rows(), file, warn)
    numbers = shard.rows(summary.rows)
    own, count = slice(numbers.start, numbers.stop), len(numbers)
    part = to.with_name(f"{to.name}.part")
    with closing(Answers(part, _identity(request, file, names))) as answers:
        try:
            if answers.count:
                warn(f"note: {part} has {answers.count} of {count} rows already")
            _predict(student, rows(own), answers, lambda n: listener(n, count))
            types = {name: kind or str for name, kind in summary.types.items()}
            filled = _filled(rows(own), answers, student.kind, lowest)
            write_records(to, filled, {**types, "predicted": str, "confidence": float})
        except KeyboardInterrupt:
            raise Interrupted(f"stopped after {answers.count} rows; the same command continues") from None
        if truncated := answers.truncated:
            warn(f"note: {truncated} texts are too long for this student: it read only their beginnings")
    part.unlink()
    Path(f"{part}-journal").unlink(missing_ok=True)  # SQLite may leave it in exclusive mode
    return count


def _check_new(to: Path) -> None:
    check_ending(to)
    if to.exists():
        raise InputError(f"{to} exists already; choose another file, or delete it")
    if not to.absolute().parent.is_dir():
        raise InputError(f"the folder {to.absolute().parent} does not exist; create it")


def rows_of(
    file: Path, names: Fields, student: Predictor, encoding: str | None, part: slice = ALL
) -> RowsWithTexts:
    """Yield the records of a part of a file with their texts, or with why they have none."""
    task_type = TASK_TYPES[student.kind]
    for where, record in islice(read_records(file, "", encoding=encoding), part.start, part.stop):
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


def _identity(request: PredictionRequest, file: Path, names: Sequence[str]) -> str:
    """Return what the stored predictions depend on."""
    weights = [path for path in student_in(request.student).rglob("*") if path.suffix in _WEIGHTS]
    stamps = [_stamp(path) for path in (file, *sorted(weights))]
    return json.dumps([stamps, list(names), request.columns.encoding, request.engine])


def _stamp(path: Path) -> list[Any]:
    about = path.stat()
    return [str(path.absolute()), about.st_size, about.st_mtime_ns]


def _predict(
    student: Predictor, rows: RowsWithTexts, answers: Answers, listener: Callable[[int], None]
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


def _filled(rows: RowsWithTexts, answers: Answers, kind: str, lowest: float) -> Iterator[Record]:
    """Yield the records with their predictions."""
    task_type = TASK_TYPES[kind]
    for (record, text), (label, confidence) in zip(rows, answers, strict=True):
        if isinstance(text, InputError) or label is None or confidence is None:
            yield {**record, "predicted": None, "confidence": None}
        else:
            shown = task_type.to_file(label, text) if confidence >= lowest else None
            yield {**record, "predicted": shown, "confidence": round(confidence, 4)}
