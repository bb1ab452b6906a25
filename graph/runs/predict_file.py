"""Predict every row of a file of any size, and write the rows with their predictions to another file."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.graph.run_folder.folder import student_in
from tutelage.student.data.annotation_tools import plain_record
from tutelage.student.data.files import Record, read_records
from tutelage.student.data.readers import text_of
from tutelage.student.data.writers import check_ending, common_type, write_records
from tutelage.student.errors import InputError, Interrupted
from tutelage.student.evaluation.confidence import load_reliability
from tutelage.student.models.base import Predictor
from tutelage.student.models.onnx_student import Engine, load_predictor
from tutelage.student.models.prediction_inputs import text_columns
from tutelage.student.tasks.registry import TASK_TYPES

BLOCK = 1_024  # rows that are predicted, and stored, at once
ADDED = ("predicted", "confidence")  # the columns of the prediction

Listener = Callable[[int, int], None]  # called with the number of predicted rows and of all rows
Located = Iterator[tuple[Record, str | InputError]]  # a record, and its text or why it has none


@dataclass(frozen=True)
class PredictionRequest:
    """What to predict with.

    Attributes:
        student: a run folder, a student's folder, or a folder that `tutelage export` wrote.
        columns: the columns of the text; by default the fields of the student.
        precision: as in `predict_texts`: less confident predictions are left empty.
        engine: see `load_predictor`.
    """

    student: Path
    columns: Sequence[str] | None = None
    precision: float | None = None
    engine: Engine = "auto"

    def load(self) -> tuple[Predictor, float]:
        """Return the student, and the confidence below which predictions are left empty."""
        folder = student_in(self.student)
        least = 0.0 if self.precision is None else load_reliability(folder).threshold(self.precision)
        return load_predictor(folder, self.engine), least


@dataclass
class Survey:
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


def predict_file(
    request: PredictionRequest,
    file: Path,
    to: Path,
    warn: Callable[[str], None],
    *,
    listener: Listener = lambda done, rows: None,
) -> int:
    """Predict the rows of a file, and write them with the columns `predicted` and `confidence` to a new file.

    The file is read three times: to check it, to predict, and to write. Memory does not grow with its size.
    Predictions are kept in `<to>.part` until the end, and a stopped prediction continues with them. Rows
    whose text is empty or unusable keep their place without a prediction.

    Returns:
        The number of rows.

    Raises:
        InputError: the file has no usable row, the new file exists, or the student cannot be loaded.
        Interrupted: the user asked to stop.
    """
    check_ending(to)
    if to.exists():
        raise InputError(f"{to} exists already; choose another file, or delete it")
    if not to.absolute().parent.is_dir():
        raise InputError(f"the folder {to.absolute().parent} does not exist; create it")
    student, least = request.load()
    names = text_columns(request.columns, student.fields)
    survey = _survey(_rows(file, names, student), file, warn)
    answers = _Answers(to.with_name(f"{to.name}.part"), _identity(request, file, names))
    try:
        cut = _predict(student, _rows(file, names, student), answers, lambda n: listener(n, survey.rows))
        if cut:
            warn(f"note: {cut} texts are too long for this student: it read only their beginnings")
        types = {name: kind or str for name, kind in survey.types.items()}
        filled = _filled(_rows(file, names, student), answers, student.kind, least)
        write_records(to, filled, {**types, "predicted": str, "confidence": float})
    except KeyboardInterrupt:
        raise Interrupted(f"stopped after {answers.count} rows; the same command continues") from None
    answers.path.unlink()
    return survey.rows


def _rows(file: Path, names: Sequence[str], student: Predictor) -> Located:
    """Yield the records of a file with their texts."""
    task_type = TASK_TYPES[student.kind]
    for where, record in read_records(file, ""):
        record = plain_record(record)
        try:
            yield record, text_of(record, where, tuple(names), task_type)
        except InputError as error:
            yield record, error


def _survey(rows: Located, file: Path, warn: Callable[[str], None]) -> Survey:
    """Read a whole file and check that it can be predicted."""
    found = Survey()
    for record, text in rows:
        found.rows += 1
        for name, value in record.items():
            found.types[name] = common_type(found.types.get(name), value)
        if isinstance(text, InputError):
            found.unusable += 1
            found.problem = found.problem or text
    if taken := [name for name in ADDED if name in found.types]:
        raise InputError(f"{file} has a column {taken[0]!r} already; rename it, predictions go there")
    if found.rows == found.unusable:
        raise found.problem or InputError(f"{file} holds no rows; there is nothing to predict")
    if found.unusable:
        count = f"{found.unusable} of {found.rows} rows"
        warn(f"note: {count} get no prediction; the first: {found.problem}")
    return found


class _Answers:
    """Predictions that are stored as they come: a header, then a line of JSON for each row."""

    def __init__(self, path: Path, identity: dict[str, Any]):
        self.path, self.count = path, 0
        if not path.exists():
            path.write_text(json.dumps(identity) + "\n", encoding="utf-8")
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole or json.loads(whole[0]) != identity:
            raise InputError(
                f"{path} holds predictions of another file, student or column; delete it to begin again"
            )
        with path.open("r+b") as file:  # a killed process may leave half a line
            file.truncate(sum(map(len, whole)))
        self.count = len(whole) - 1

    def add(self, answers: Iterable[tuple[str, float] | None]) -> None:
        """Store the predictions of the next rows; None for a row without a text."""
        lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))
        self.count += len(lines)

    def __iter__(self) -> Iterator[tuple[str, float] | None]:
        with self.path.open(encoding="utf-8", newline="\n") as file:
            next(file)
            yield from map(json.loads, file)


def _identity(request: PredictionRequest, file: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what the stored predictions depend on."""
    folder = student_in(request.student)
    weights = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".npz", ".onnx"))
    return {
        "file": _stamp(file),
        "student": [_stamp(path) for path in weights],
        "columns": list(names),
        "engine": request.engine,
    }


def _stamp(path: Path) -> list[Any]:
    about = path.stat()
    return [str(path.absolute()), about.st_size, about.st_mtime_ns]


def _predict(student: Predictor, rows: Located, answers: _Answers, listener: Callable[[int], None]) -> int:
    """Predict the rows that have no stored prediction, and return how many texts were truncated."""
    cut, rest = 0, islice(rows, answers.count, None)
    listener(answers.count)
    while block := [text for _, text in islice(rest, BLOCK)]:
        texts = [text for text in block if isinstance(text, str)]
        found = student.predict(texts, best=True) if texts else None
        each = zip(found.answers, found.confidence.tolist(), strict=True) if found else iter(())
        answers.add(next(each) if isinstance(text, str) else None for text in block)
        cut += student.count_truncated(texts)
        listener(answers.count)
    return cut


def _filled(rows: Located, answers: _Answers, kind: str, least: float) -> Iterator[Record]:
    """Yield the records with their predictions."""
    task_type = TASK_TYPES[kind]
    for (record, text), answer in zip(rows, answers, strict=True):
        label, confidence = answer or (None, None)
        given = isinstance(text, str) and label is not None and confidence is not None
        shown = task_type.to_file(label, text) if given and confidence >= least else None  # type: ignore[arg-type,operator]
        yield {**record, "predicted": shown, "confidence": confidence and round(confidence, 4)}
