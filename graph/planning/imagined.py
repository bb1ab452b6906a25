"""Make up a first labelled set for planning, where the user has labelled no rows."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import FIRST_LABELS, Splits, fold_rows
from tutelage.student.data.folds import stratified_sample
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import join

MADE_UP = "made up for this plan: no student is trained yet"
_WORDS = 60  # words added to the longer half of the made-up texts


def with_first_labels(task: Task, splits: Splits) -> Splits:
    """Return splits with a first labelled set like the one the teacher will label: texts of the pool or,
    without one, made-up texts, all with arbitrary labels. Splits with labelled rows are returned unchanged.
    """
    if splits.labelled:
        return splits
    texts = stratified_sample(splits.unlabelled, task.type, FIRST_LABELS, task.seed) or list(_made_up(task))
    rows = [
        Row(id=row["id"], text=row["text"], label=_label(task, row["text"], label))
        for row, label in zip(texts, cycle(task.labels or [""]))
    ]
    copy = replace(splits, seed=[], diagnose=[], gate=[], unlabelled=[*splits.unlabelled], folds={})
    copy.adopt(rows, fold_rows(task, rows, []))
    return copy


def _made_up(task: Task) -> Iterator[Row]:
    """Yield stand-ins for texts that will be written: one half short, the other half long."""
    for number in range(FIRST_LABELS):
        words = " word" * (number % 2 * _WORDS)
        text = join(dict.fromkeys(task.fields, f"text {number + 1}, {MADE_UP}{words}"), task.fields)
        yield Row(id=content_id(text, task.type), text=text, label="")


def _label(task: Task, text: str, label: str) -> str:
    """Return a valid label for the text: this one where the task type allows it; no spans for `ner`."""
    value: object = {"labels": [label], "entities": [], "target": text}.get(task.type.label_field, label)
    return task.type.parse_label(value, text, list(task.labels))
