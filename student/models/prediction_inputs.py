"""Read the inputs of `tutelage predict` and `evaluate`: arguments, lines, or columns of a file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row, check_text
from tutelage.student.errors import InputError
from tutelage.student.models.base import Predictor, Student
from tutelage.student.tasks.fields import Fields, join
from tutelage.student.tasks.registry import TASK_TYPES


def read_inputs(student: Predictor, texts: Sequence[str] | None, lines: Iterable[str]) -> list[str]:
    """Return the texts to predict: the arguments, or else the lines.

    Raises:
        InputError: a text is not usable.
    """
    return join_parts(texts, student.fields) if texts else read_lines(lines, student.fields)


def read_labelled(student: Student, file: Path, columns: Columns, encoding: str | None = None) -> list[Row]:
    """Return the labelled rows of a file that a student is evaluated on.

    Raises:
        InputError: the file holds no rows, or a row is not usable.
    """
    task_type = TASK_TYPES[student.kind]
    rows = read_rows(file, student.labels, task_type=task_type, columns=columns, encoding=encoding)
    if not rows:
        raise InputError(f"{file} holds no rows; there is nothing to evaluate")
    return rows


def text_columns(given: Sequence[str] | None, fields: Fields) -> Fields:
    """Return the names of the file's text columns; by default they are the student's fields.

    Raises:
        InputError: the number of names differs from the number of fields.
    """
    if given and len(given) != len(fields):
        raise InputError(f"--text names {len(given)} columns, but this student reads {', '.join(fields)}")
    return tuple(given or fields)


def join_parts(parts: Sequence[str], fields: Fields) -> list[str]:
    """Return texts in the form that students read; the parts of a pair are joined two by two.

    Raises:
        InputError: a text is not usable (see `check_text`), or a pair has only one text.
    """
    size = len(fields)
    if len(parts) % size:
        raise InputError(
            f"this student labels pairs ({', '.join(fields)}), but {len(parts)} texts were given"
        )
    for part in parts:
        check_text(part, f"the text {part[:60]!r}", of_pair=size > 1)
    groups = [parts[i : i + size] for i in range(0, len(parts), size)]
    return [join(dict(zip(fields, group, strict=True)), fields) for group in groups]


def truncation_note(student: Predictor, texts: Sequence[str]) -> str:
    """Return a note on how many texts the student truncates; "" if none."""
    if not (cut := student.count_truncated(texts)):
        return ""
    return f"note: {cut} of {len(texts)} texts are too long for this student: it reads only their beginnings"


def read_lines(lines: Iterable[str], fields: Fields) -> list[str]:
    """Return one text for each line that is not blank. The texts of a pair are separated by a tab.

    Raises:
        InputError: as in `join_parts`.
    """
    kept = [line.removeprefix("\ufeff").rstrip("\r\n") for line in lines]
    kept = [line for line in kept if line.strip()]
    parts = [[line] if len(fields) == 1 else line.split("\t") for line in kept]
    return [text for part in parts for text in join_parts(part, fields)]
