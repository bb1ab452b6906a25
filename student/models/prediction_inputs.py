"""Texts as they are given to `predict`: arguments, lines, columns of a file."""

from collections.abc import Iterable, Sequence

from tutelage.student.data.rows import check_text
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student
from tutelage.student.tasks.fields import Fields, join


def columns(given: Sequence[str] | None, fields: Fields) -> Fields:
    """The columns of a text, by default as the student calls them.

    Raises:
        InputError: more or fewer are given than a text has parts.
    """
    if given and len(given) != len(fields):
        raise InputError(f"--text is given {len(given)} times, and this student reads {', '.join(fields)}")
    return tuple(given or fields)


def whole(parts: Sequence[str], fields: Fields) -> list[str]:
    """Texts as students take them; of pairs, two and two.

    Raises:
        InputError: one is none to work with (see `check_text`), or half of a pair is missing.
    """
    size = len(fields)
    if len(parts) % size:
        raise InputError(
            f"this student labels pairs ({', '.join(fields)}), and {len(parts)} texts were given"
        )
    for part in parts:
        check_text(part, f"the text {part[:60]!r}", of_pair=size > 1)
    groups = [parts[i : i + size] for i in range(0, len(parts), size)]
    return [join(dict(zip(fields, group, strict=True)), fields) for group in groups]


def cut_note(student: Student, texts: Sequence[str]) -> str:
    """That a student does not read all of texts; "" if it does."""
    if not (cut := student.cut(texts)):
        return ""
    return f"note: {cut} of {len(texts)} texts are longer than this student reads: it sees their beginnings"


def of_lines(lines: Iterable[str], fields: Fields) -> list[str]:
    """The texts of lines, one each, blank lines left out; of pairs with a tab between.

    Raises:
        InputError: as `whole`.
    """
    given = [line.removeprefix("\ufeff").rstrip("\r\n") for line in lines]
    given = [line for line in given if line.strip()]
    parts = [[line] if len(fields) == 1 else line.split("\t") for line in given]
    return [text for part in parts for text in whole(part, fields)]
