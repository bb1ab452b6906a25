"""Use the student of a run: evaluate it on labelled rows, or predict texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tutelage.graph.run_folder.folder import metric_in, student_in, texts_used
from tutelage.graph.runs.file_columns import GUESSED, FileColumns, columns_of
from tutelage.graph.runs.predict_file import FileSummary, PredictionRequest, rows_of
from tutelage.graph.runs.shard import BLOCK
from tutelage.student.data.rows import to_record
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import Report, evaluate
from tutelage.student.models.base import Predictor, forget_texts
from tutelage.student.models.load import load_student
from tutelage.student.models.prediction_inputs import read_inputs, read_labelled, truncation_note
from tutelage.student.tasks.fields import split
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.user_functions import title

Warn = Callable[[str], None]  # called with a sentence for the user
Unusable = dict[str, str | None]  # the fields of a row of a file that has no usable text


class Evaluated(Report):
    """An evaluation with the name of its main metric, which is also the first of its figures."""

    metric_name: str


def evaluate_file(
    path: Path,
    data: Path,
    warn: Warn,
    *,
    columns: FileColumns = GUESSED,
    metric: str | None = None,
) -> Evaluated:
    """Evaluate the student of a run folder or a student folder on the labelled rows of a file.

    `columns` names columns of the file (see `columns_of`). The default of `metric` is that of the run.

    Raises:
        InputError: there is no student, a row cannot be used, or the metric is not one of the task type.
    """
    folder = student_in(path)
    student = load_student(folder)
    task_type = TASK_TYPES[student.kind]
    metric = metric or metric_in(path) or task_type.metrics[0]
    rows = read_labelled(student, data, columns_of(data, columns, student, path), columns.encoding)
    if problem := task_type.check_metric(metric):
        raise InputError(f"the metric {metric}: {problem}; or choose another with --metric")
    if note := truncation_note(student, [row["text"] for row in rows]):
        warn(note)
    used = texts_used(folder)
    if known := sum(row["id"] in used for row in rows):
        warn(
            f"note: {known} of {len(rows)} texts were used in the run that trained this student, so the"
            " scores are too high; evaluate it on rows that it has not seen"
        )
    name, report = title(metric), evaluate(student, rows, metric)
    figures = {name: report["metric"], **report["figures"]}
    return Evaluated(**{**report, "figures": figures, "metric_name": name})


def predict_texts(
    request: PredictionRequest,
    texts: Sequence[str] | None,
    warn: Warn,
    *,
    file: Path | None = None,
    lines: Iterable[str] = (),
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the predictions for texts, or for the rows of a file, or else for lines.

    Each is a row as in data files, with its `confidence`, and a line: label, confidence, text, split by tabs.
    With a precision, predictions below the confidence at which the student reached this share of right
    answers on the user's rows are left out: their label is None, and "-" in the line. So is that of a row of
    a file whose text is empty or unusable, and its confidence too.

    Raises:
        InputError: there is no student, a text cannot be used, no row of the file can, or the precision is
            not reached.
    """
    student, lowest = request.load()
    if request.columns.text and not file:
        raise InputError("--text names a column of --file, but --file is not given")
    if file and texts:
        raise InputError("texts are given both as arguments and by --file; give one of them")
    inputs = _of_file(request, student, file, warn) if file else read_inputs(student, texts, lines)
    if not inputs:
        return warn(f"note: no text was read from {file or 'standard input'}")
    usable = [text for text in inputs if isinstance(text, str)]
    if note := truncation_note(student, usable):
        warn(note)
    blocks = (usable[start : start + BLOCK] for start in range(0, len(usable), BLOCK))
    each = chain.from_iterable(_predicted(student, block) for block in blocks)
    for text in inputs:
        if isinstance(text, dict):
            row = {**text, TASK_TYPES[student.kind].label_field: None, "confidence": None}
            yield row, "\t".join(["-", "-", *(value or "" for value in text.values())])
        else:
            yield _answer(student, text, *next(each), lowest)


def _predicted(student: Predictor, texts: list[str]) -> Iterator[tuple[str, float]]:
    """Return the answer for each text, and its confidence."""
    found = student.predict(texts, best=True)
    forget_texts(student)
    return zip(found.answers, map(float, found.confidence), strict=True)


def _answer(
    student: Predictor, text: str, label: str, confidence: float, lowest: float
) -> tuple[dict[str, Any], str]:
    """Return a prediction as a row of a data file, and as a line."""
    task_type = TASK_TYPES[student.kind]
    row: dict[str, Any] = to_record(text, label, task_type=task_type, fields=student.fields)
    shown = task_type.to_text(label, text)
    if confidence < lowest:
        row[task_type.label_field], shown = None, "-"
    parts = shown, f"{confidence:.3f}", *split(text, student.fields).values()
    return {**row, "confidence": round(confidence, 4)}, "\t".join(parts)


def _of_file(request: PredictionRequest, student: Predictor, file: Path, warn: Warn) -> list[str | Unusable]:
    """Return the texts of a file; for a row without a usable one, what its columns hold."""
    names = columns_of(file, request.columns, student, request.student).text
    found, inputs = FileSummary(), list[str | Unusable]()
    for record, text in rows_of(file, names, student, request.columns.encoding):
        found.count(text)
        values = [record.get(name) for name in names]
        plain = [value if isinstance(value, str) else None for value in values]
        inputs.append(text if isinstance(text, str) else dict(zip(student.fields, plain, strict=True)))
    found.report(warn)
    return inputs
