"""Review in a spreadsheet: a CSV file of the texts that wait, and the decisions from the file filled in."""

import csv
import datetime
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.graph.review.decisions import Decision, Item
from tutelage.graph.review.open_review import OpenReview
from tutelage.student.data.files import read_records
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import split

RIGHT, ACTION = "right_label", "action"
_ACTIONS = ("accept", "refuse", "skip")
_FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that spreadsheet programs compute (OWASP)
_NUMBER = re.compile(r"\d+(e\d+)?")  # an id that they would turn into a number
_TIMES = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
)  # a spreadsheet program turns cells into these
_GUARD = "'"  # before a cell that a spreadsheet program would change


def write_table(review: OpenReview, path: Path) -> int:
    """Write the texts without a decision to a new CSV file, with empty columns for the decisions.

    Returns:
        The number of texts.

    Raises:
        InputError: no text waits, or the file is not named .csv, exists or cannot be written.
    """
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path} does not end in .csv, and the table is written as CSV; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it, or choose another --out")
    waiting = review.waiting
    if not waiting:
        raise InputError(f"all texts of {review.folder.path} are decided; nothing is written")
    if path.exists():
        raise InputError(f"{path} exists already; choose another file, or remove it")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", *review.task.fields, "label", "confidence", "answered", "reason", RIGHT, ACTION])
    writer.writerows(_row(review, item) for item in waiting)
    try:
        path.write_text(text.getvalue(), encoding="utf-8-sig", newline="")  # Excel needs the mark for UTF-8
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    return len(waiting)


def read_table(review: OpenReview, path: Path) -> int:
    """Keep the decisions of a table, all of them or, if one is wrong, none.

    A `right_label` relabels a text, or accepts its label if it is the same. `action` is accept, refuse or
    skip. A row without both is undecided. Other columns are not read.

    Returns:
        The number of decisions that were kept. Those that were kept before are not counted.

    Raises:
        InputError: the file cannot be read, or a row is wrong; the message names its line.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; write it with `tutelage review {review.folder.path} --out`")
    found: dict[str, Decision] = {}
    for where, record in read_records(path, RIGHT):
        id, right, action = (_cell(record, name, where) for name in ("id", RIGHT, ACTION))
        if not (right or action):
            continue
        if id in found:
            raise InputError(f"{where}: a second decision about the text {id}; keep one of them")
        try:
            found[id] = _decision(review, id, right, action.lower())
        except InputError as error:
            raise InputError(
                f"{where}: {error}; nothing was kept, correct the line and read it again"
            ) from error
    before = review.decisions
    new = [made for id, made in found.items() if not _same(made, before.get(id))]
    review.keep(new)
    return len(new)


def _row(review: OpenReview, item: Item) -> list[Any]:
    labels = [_written(review, item, item.get("label")), _written(review, item, item.get("answered"))]
    id = f"{_GUARD}{item['id']}" if _NUMBER.fullmatch(item["id"]) else item["id"]
    fields = split(item["text"], review.task.fields).values()
    judged, answered = map(_guarded, labels)
    confidence = item.get("confidence", "")
    return [id, *map(_guarded, fields), judged, confidence, answered, _guarded(item["reason"]), "", ""]


def _written(review: OpenReview, item: Item, label: str | None) -> str:
    if label is None:
        return ""
    value = review.task.type.to_file(label, item["text"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _guarded(cell: str) -> str:
    return f"{_GUARD}{cell}" if _FORMULA.match(cell) else cell


def _cell(record: Mapping[str, Any], name: str, where: str) -> str:
    """Return a cell as it was written, without the guard; refuse a date, of which that is not known."""
    if name not in record:
        raise InputError(f"{where} has no column {name!r}; keep the columns id, {RIGHT} and {ACTION}")
    if name == RIGHT and isinstance(record[name], _TIMES):
        raise InputError(
            f"{where}: {RIGHT} is a date or a time, {record[name]}; format the column as text in your"
            " spreadsheet program, and write the label again"
        )
    cell = str(record[name] if record[name] is not None else "").strip()
    guarded = cell.startswith(_GUARD) and (name == "id" or _FORMULA.match(cell[1:]))
    return cell[1:] if guarded else cell


def _decision(review: OpenReview, id: str, right: str, action: str) -> Decision:
    """Return the decision of a row, without keeping it."""
    if action not in ("", "relabel", *_ACTIONS):
        raise InputError(f"the action is {action!r}, expected {', '.join(_ACTIONS)} or nothing")
    if not right:
        return review.checked(id, action)  # type: ignore[arg-type]
    if action in ("refuse", "skip"):
        raise InputError(f"the action is {action}, but {RIGHT} is {right!r}; empty one of the two")
    decision = review.checked(id, "relabel", right)
    if action == "accept" and decision["action"] != "accept":
        raise InputError(
            f"the action is accept, but {RIGHT} is another label, {right!r}; empty one of the two"
        )
    return decision


def _same(one: Decision, other: Decision | None) -> bool:
    return other is not None and all(one.get(key) == other.get(key) for key in ("action", "label"))
