"""Rows made up for a plan: what the first labelled set may look like, where the user has labelled none."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

from tutelage.graph.nodes.calibrate import slice_of
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import FIRST_LABELS, Splits, fold_rows
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import join

MADE_UP = "made up for this plan: no student is trained yet"
_WORDS = 60  # of the longer half of the texts that stand for written ones


def with_first_labels(task: Task, splits: Splits) -> Splits:
    """Return splits in which a first set is labelled, as the teacher will label it: texts of the pool or,
    without one, made-up texts, each with any label. Splits with labelled rows are returned as they are.
    """
    if splits.labelled:
        return splits
    texts = slice_of(task.form, splits.unlabelled, FIRST_LABELS, task.seed) or list(_made_up(task))
    rows = [
        Row(id=row["id"], text=row["text"], label=_label(task, row["text"], label))
        for row, label in zip(texts, cycle(task.labels or [""]))
    ]
    found = replace(splits, seed=[], diagnose=[], gate=[], unlabelled=[*splits.unlabelled], folds={})
    found.adopt(rows, fold_rows(task, rows, []))
    return found


def _made_up(task: Task) -> Iterator[Row]:
    """Texts that stand for those to be written: one half short, the other long."""
    for number in range(FIRST_LABELS):
        words = " word" * (number % 2 * _WORDS)
        text = join(dict.fromkeys(task.fields, f"text {number + 1}, {MADE_UP}{words}"), task.fields)
        yield Row(id=content_id(text, task.form), text=text, label="")


def _label(task: Task, text: str, label: str) -> str:
    """A label of the task's form that a text may have: this one, or none of a tagger's spans."""
    value: object = {"labels": [label], "entities": [], "target": text}.get(task.form.key, label)
    return task.form.read(value, text, list(task.labels))
