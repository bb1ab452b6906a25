"""Write the task.yaml of `tutelage init --data` from a file of the user's."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.graph.task.schema import FIRST_INSTRUCTION
from tutelage.graph.task.templates import scaffold
from tutelage.student.data.annotation_tools import plain_record
from tutelage.student.data.files import Record, read_records
from tutelage.student.data.readers import value_name
from tutelage.student.data.rows import content_id
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import TaskTypeName
from tutelage.student.training.configuration import TrainingConfig

Ask = Callable[[str, Sequence[str]], str | None]  # (question, columns) -> column; None if nobody can be asked

_TEXTS = (
    *("text", "message", "sentence", "utterance", "review", "comment", "content", "body", "tweet", "ticket"),
    *("question", "query", "email", "description", "abstract", "document", "input", "title"),
)
_LABELS = (
    *("label", "labels", "class", "category", "intent", "sentiment", "topic", "queue", "emotion", "tag"),
    *("tags", "target", "verdict", "answer", "rating", "stars"),
)
_RARE = 10  # rows of a label that are too few to learn it well
_MOST_LABELS = 200
_TESTABLE = 300  # distinct labelled rows from which on a test set is held out
_MOST_TESTED = 500


@dataclass
class Findings:
    """What a file holds: the number of labelled rows by label, and how many rows are not usable as they are.

    `conflicts` are texts with several labels. `unlabelled` are rows without a label. `truncated` texts are
    longer than the student reads.
    """

    text: str
    label: str | None
    rows: int
    kind: TaskTypeName
    labels: Counter[str] = field(default_factory=Counter)
    distinct: int = 0
    duplicates: int = 0
    conflicts: list[str] = field(default_factory=list)
    unlabelled: int = 0
    empty: int = 0
    truncated: int = 0


def task_from_data(
    folder: Path,
    data: Path,
    ask: Ask,
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
) -> tuple[list[Path], list[str]]:
    """Write a task.yaml whose columns, labels and test set are taken from a file of rows.

    If only some rows have a label, the others become the unlabelled texts, and both are copied to the folder.

    Args:
        folder: where to write; see `scaffold`.
        data: a file of rows; see docs/data.md for the forms.
        ask: is called with a question and the names of the columns if a column cannot be guessed.
        text: the column of the text.
        label: the column of the label.
        encoding: the encoding of a text file that is not UTF-8.

    Returns:
        The written files, and what was found, as sentences for the user.

    Raises:
        InputError: the file cannot be read, or has no rows, no such column, no usable text, or no text with
            one label.
    """
    found_records = read_records(data, label or "label", encoding=encoding)
    records = [plain_record(record) for _, record in found_records]
    if not records:
        raise InputError(f"{data} has no rows")
    columns = list(dict.fromkeys(name for record in records for name in record))
    for name in (text, label):
        if name and name not in columns:
            raise InputError(f"{data} has no column {name!r}; its columns are {', '.join(columns)}")
    text = text or _text_column(records, columns) or ask("Which column has the text?", columns)
    if not text:
        raise InputError(f"{data}: name the column of the text by --text; one of {', '.join(columns)}")
    others = [name for name in columns if name != text]
    label = label or _label_column(records, others)
    if not label and others:
        label = ask("Which column has the label?", others)
    found = _findings(records, text, label)
    if not found.rows - found.empty:
        raise InputError(f"{data} has no text in the column {text!r}; name another one by --text")
    if found.labels and not found.distinct:
        raise InputError(
            f"{data}: every text has several labels in the column {label!r}; name another one by --label"
        )
    contents, sources = _sources(folder, data, records, found, encoding)
    written = scaffold(folder, found.kind, task=_task_part(found), data=sources, contents=contents)
    return written, _sentences(data, found)


def _text_column(records: Sequence[Record], columns: Sequence[str]) -> str | None:
    """Return the column with a usual name, or else the only one whose values read like texts."""
    if named := _named(columns, _TEXTS):
        return named
    prose = []
    for name in columns:
        values = [value for record in records if isinstance(value := record.get(name), str) and value]
        words = sum(len(value.split()) for value in values) / max(len(values), 1)
        if words >= 3 and len(set(values)) > 0.7 * len(values):
            prose.append(name)
    return prose[0] if len(prose) == 1 else None


def _label_column(records: Sequence[Record], columns: Sequence[str]) -> str | None:
    """Return the column with a usual name, or else the only one with few, repeated values."""
    if named := _named(columns, _LABELS):
        return named
    repeated = []
    for name in columns:
        values = [found for record in records for found in _values(record.get(name))]
        kinds = Counter(values)
        if 2 <= len(kinds) <= min(_MOST_LABELS, len(values) / 3):
            repeated.append(name)
    return repeated[0] if len(repeated) == 1 else None


def _named(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    return next((by_name[name] for name in usual if name in by_name), None)


def _values(value: Any) -> list[str]:
    """Return the labels in a value of the label's column; none if it is blank."""
    if isinstance(value, list):
        return [value_name(one) for one in value if isinstance(one, str | int)]
    shown = "" if value is None else value_name(value)
    return [shown] if shown.strip() else []


def _findings(records: Sequence[Record], text: str, label: str | None) -> Findings:
    lists = any(isinstance(record.get(label or ""), list) for record in records)
    found = Findings(text, label, len(records), "multilabel" if lists else "classification")
    labels_of: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    shown: dict[str, str] = {}
    for record in records:
        if not _has_text(record, found):
            found.empty += 1
            continue
        if not _has_label(record, found):
            found.unlabelled += 1
            continue
        content, labels = record[text], _values(record.get(label or ""))
        id = content_id(content)
        found.duplicates += id in labels_of
        labels_of[id].add(tuple(sorted(labels)))
        shown[id] = content
        found.labels.update(labels)
    found.conflicts = [shown[id] for id, several in labels_of.items() if len(several) > 1]
    found.distinct = len(labels_of) - len(found.conflicts)
    found.truncated = _truncated([record[text] for record in records if _has_text(record, found)])
    return found


def _has_text(record: Record, found: Findings) -> bool:
    content = record.get(found.text)
    return isinstance(content, str) and bool(content.strip())


def _has_label(record: Record, found: Findings) -> bool:
    """Return whether a row is labelled; an empty list says that none of the labels fits."""
    value = record.get(found.label or "")
    return isinstance(value, list) or bool(_values(value))


def _truncated(texts: Sequence[str]) -> int:
    """Return how many texts the default student cuts."""
    from transformers import AutoTokenizer
    from tutelage.student.pretrained import EMBEDDED, load_pretrained, longer

    return sum(longer(load_pretrained(AutoTokenizer, EMBEDDED), TrainingConfig.max_tokens, texts))


def _sources(
    folder: Path, data: Path, records: Sequence[Record], found: Findings, encoding: str | None
) -> tuple[dict[str, str], str]:
    """Return files to write beside task.yaml, and the `data` section of task.yaml."""
    contents: dict[str, str] = {}
    where = dict.fromkeys(("labelled", "unlabelled"), Path(os.path.relpath(data, folder)).as_posix())
    if found.empty or (found.labels and found.unlabelled):
        for name, wanted in (("labelled", True), ("unlabelled", False)):
            rows = [row for row in records if _has_text(row, found) and _has_label(row, found) == wanted]
            lines = [json.dumps(row, ensure_ascii=False, default=str) for row in rows]
            if rows:
                contents[f"{name}.jsonl"] = "".join(f"{line}\n" for line in lines)
                where[name] = f"{name}.jsonl"
    columns = f"text: {json.dumps(found.text)}"
    if encoding and not contents:  # written files are in UTF-8
        columns += f", encoding: {json.dumps(encoding)}"
    labelled = f"path: {json.dumps(where['labelled'])}, {columns}, label: {json.dumps(found.label)}"
    tested = min(_MOST_TESTED, found.distinct // 5) if found.distinct >= _TESTABLE else 0
    drawn = tested or found.conflicts  # drawn sets leave rows with two labels out
    lines = ["data:                              # docs/data.md has all forms"]
    if found.labels:
        size = f", rows: {found.distinct - tested}" if drawn else ""
        lines.append(f"  labelled: {{{labelled}{size}}}")
    if tested:
        lines += [
            f"  test: {{{labelled}, rows: {tested}}}",
            "                                   # held out at random; used once, at the end of the run",
        ]
    else:
        lines.append(
            "  # test: test.jsonl               # optional; without it, scores come from cross-validation"
        )
    if found.unlabelled:
        lines.append(f"  unlabelled: {{path: {json.dumps(where['unlabelled'])}, {columns}}}")
    else:
        lines.append(
            "  # unlabelled: more.csv           # optional: thousands of texts without labels pay most"
        )
    return contents, "\n".join(lines) + "\n"


def _task_part(found: Findings) -> str:
    """Return the part of task.yaml with kind, instruction and labels."""
    lines = [
        *([f"kind: {found.kind}"] if found.kind != "classification" else []),
        "instruction: >-                    # replace: say in a sentence what the label says of the text",
        f"  {FIRST_INSTRUCTION}",
        "labels:                            # replace each description: say what belongs to the label",
    ]
    for name in [name for name, _ in found.labels.most_common()] or ["first", "second"]:
        quoted = json.dumps(name, ensure_ascii=False)
        count = f"{found.labels[name]:,} rows" if found.labels else "replace by your labels"
        lines.append(f"  {f'{quoted}: {quoted}':<32} # {count}")
    return "\n".join(lines) + "\n"


def _sentences(data: Path, found: Findings) -> list[str]:
    """Return what was found, for the user."""
    labelled = f", label in {found.label!r}" if found.label else ""
    said = [f"{data}: {found.rows:,} rows, text in {found.text!r}{labelled}"]
    if found.labels:
        shown = [f"{name} {count:,}" for name, count in found.labels.most_common()]
        said.append(f"{len(shown)} labels: {_first(shown, 12)}")
    else:
        said.append("no column of labels was found or named (--label): the teacher labels a first set")
    if rare := [f"{name} {count}" for name, count in found.labels.items() if count < _RARE]:
        said.append(f"labels with fewer than {_RARE} rows: {_first(rare, 8)}; label more, or merge them")
    if found.empty:
        said.append(f"rows without text, left out: {found.empty:,}")
    if found.duplicates:
        said.append(f"rows that repeat a text, left out: {found.duplicates:,}")
    if found.conflicts:
        example = f"{found.conflicts[0][:60]!r}"
        said.append(f"texts with several labels, left out: {len(found.conflicts):,}, e.g. {example}")
    if found.labels and found.unlabelled:
        said.append(f"rows without a label, which become the unlabelled texts: {found.unlabelled:,}")
    if found.truncated:
        limit = TrainingConfig.max_tokens
        said.append(
            f"texts longer than {limit} tokens, of which the student reads only the beginning:"
            f" {found.truncated:,}; `student: {{max_tokens: {2 * limit}}}` reads more, `{{long: window}}`"
            " all; both take longer"
        )
    return said


def _first(shown: Sequence[str], count: int) -> str:
    more = f" and {len(shown) - count} more" if len(shown) > count else ""
    return ", ".join(shown[:count]) + more
