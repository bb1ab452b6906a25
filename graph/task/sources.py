"""Read the rows of a task's data sources, or draw random samples of them."""

import random
from collections import defaultdict
from collections.abc import Sequence

from tutelage.graph.task.data_parts import Source
from tutelage.graph.task.schema import Task
from tutelage.student.data.readers import Columns, HubSplit, read_hub, read_rows
from tutelage.student.data.rows import Row, without_repeats
from tutelage.student.errors import InputError


def read_sets(task: Task, names: Sequence[str], notes: list[str]) -> dict[str, list[Row]]:
    """Return the rows of each named set. A set that is drawn at random excludes the rows of all others. A
    text that is repeated with the same label is taken once, except in `test`.
    """
    labels = list(task.labels)
    files = {name: _read(task, given, labels) for name in names if (given := getattr(task.data, name))}
    used = {row["id"] for name, rows in files.items() if not getattr(task.data, name).drawn for row in rows}
    sets: dict[str, list[Row]] = {}
    for name in names:
        source: Source | None = getattr(task.data, name)
        if source is None:
            sets[name] = []
        elif not source.drawn:
            sets[name] = files[name]
            if name != "seed" and not sets[name]:
                raise InputError(f"{source}: no {name} rows; add some, or leave `{name}` out")
            if name != "test":  # a published test set may repeat texts, and has to stay as it is
                sets[name] = without_repeats(files[name], str(source))
                if repeated := len(files[name]) - len(sets[name]):
                    rows = f"{repeated} row{'' if repeated == 1 else 's'}"
                    notes.append(f"{source}: {rows} repeat a text with the same label and are left out")
        else:
            rng = random.Random(f"{task.seed} {name}")
            sets[name] = _draw(task, files[name], source, used, rng, notes)
            used |= {row["id"] for row in sets[name]}
    return sets


def read_pool(task: Task, used: set[str], notes: list[str]) -> list[Row]:
    """Return the distinct unlabelled texts whose ids are not in `used`, the ids of the other sets."""
    source = task.data.unlabelled
    if source is None:
        return []
    rows = _read(task, source, None)
    distinct = {row["id"]: row for row in rows}
    if len(distinct) < len(rows):
        notes.append(f"{len(rows) - len(distinct)} texts of the pool are duplicates and are left out")
    remaining = [row for key, row in distinct.items() if key not in used]
    if not remaining:
        raise InputError(f"{source}: every text is also in another set; add other texts")
    if len(remaining) < len(distinct):
        removed = len(distinct) - len(remaining)
        notes.append(f"{removed} texts of the pool are also in another set and are left out")
    strategy = task.resolved_strategy()
    if not strategy.draws:
        notes.append(
            f"the pool is not used: strategy {strategy.name} has the teacher write every text;"
            " `pool_share: 0.5` draws half of the texts from the pool"
        )
    return remaining


def _read(task: Task, source: Source, labels: Sequence[str] | None) -> list[Row]:
    columns = Columns(source.text or task.fields, source.label, source.rationale, source.label_names)
    if source.hub:
        hub = HubSplit(source.hub, source.split, source.config, source.revision)
        return read_hub(hub, labels, task_type=task.type, columns=columns)
    assert source.path
    return read_rows(
        source.path,
        labels,
        task_type=task.type,
        columns=columns,
        encoding=source.encoding,
        split=source.split,
    )


def _draw(
    task: Task,
    rows: Sequence[Row],
    source: Source,
    used: set[str],
    rng: random.Random,
    notes: list[str],
) -> list[Row]:
    """Draw distinct rows, none in `used` or with two labels: `per_label` for each label, or `rows` in all."""
    label_sets: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        label_sets[row["id"]].add(row["label"])
    distinct = {row["id"]: row for row in rows if row["id"] not in used and len(label_sets[row["id"]]) == 1}
    if disputed := sum(len(labels) > 1 for labels in label_sets.values()):
        note = f"{source}: {disputed} texts have two different labels and are not drawn"
        notes += [note] if note not in notes else []
    if source.rows:
        if len(distinct) < source.rows:
            raise InputError(_too_few(source, "there are", len(distinct), f"`rows` asks for {source.rows}"))
        return rng.sample(list(distinct.values()), source.rows)
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in distinct.values():
        for label in task.type.labels_in(row["label"]):
            by_label[label].append(row)
    drawn: dict[str, Row] = {}
    for label in sorted(by_label):
        free = [row for row in by_label[label] if row["id"] not in drawn]
        # A row drawn for another label may have this one too. Of texts without any label, too few are fine.
        lacking = (source.per_label or 0) - (len(by_label[label]) - len(free))
        if len(free) < lacking and (label or not task.labels):
            asked = f"`per_label` asks for {source.per_label}"
            raise InputError(_too_few(source, f"label {label!r} has", len(by_label[label]), asked))
        drawn |= {row["id"]: row for row in rng.sample(free, max(0, min(lacking, len(free))))}
    return list(drawn.values())


def _too_few(source: Source, which: str, count: int, asked: str) -> str:
    return f"{source}: {which} {count} rows left to draw from, {asked}; ask for fewer or add rows"
