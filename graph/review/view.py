"""What a person is shown about a text that waits for review, in the form of data files."""

from typing import Any, TypedDict

from tutelage.graph.review.decisions import Item, NearRow
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.task.schema import Task
from tutelage.student.tasks.fields import Fields, split
from tutelage.student.tasks.words import units


class ShownRow(TypedDict):
    """A row beside a text: its fields by name, its label as a readable line, and the cosine similarity."""

    fields: dict[str, str]
    label: str
    similarity: float


class ShownItem(TypedDict):
    """A text that waits for a decision, as a person is shown it.

    `judged` is the label to accept in the form of data files, and `judged_line` the same as a readable line;
    both are None before the text is labelled. `answered_line` is the students' answer, if there is one.
    `units` has the start and the end (in code points) of each word, between which entities are marked; it is
    empty unless the task is `ner`.
    """

    id: str
    fields: dict[str, str]
    own: bool
    reason: str
    judged: Any
    judged_line: str | None
    confidence: float | None
    answered_line: str | None
    near: list[ShownRow]
    units: list[tuple[int, int]]


def shown_item(review: OpenReview, item: Item) -> ShownItem:
    """Return what a person is shown about a text."""
    task, text = review.task, item["text"]
    judged, answered = item.get("label"), item.get("answered")
    return ShownItem(
        id=item["id"],
        fields=split(text, task.fields),
        own=item["own"],
        reason=item["reason"],
        judged=None if judged is None else task.type.to_file(judged, text),
        judged_line=None if judged is None else task.type.to_text(judged, text),
        confidence=item.get("confidence"),
        answered_line=None if answered is None else task.type.to_text(answered, text),
        near=[_shown_row(row, task, task.fields) for row in item["near"]],
        units=units(text) if task.kind == "ner" else [],
    )


def whose_label(item: ShownItem) -> str:
    """Return who gave the label that is to be judged."""
    if item["own"]:
        return "your label"
    sure = "" if item["confidence"] is None else f", {item['confidence']:.0%} sure"
    return f"the teacher's label{sure}"


def likely_labels(review: OpenReview, item: Item) -> list[str]:
    """Return the labels of the task with those first that were given to the text or near it, so that they are
    found soon where there are more labels than keys.
    """
    near = [row["label"] for row in item["near"]]
    given = [label for label in (item.get("label"), item.get("answered"), *near) if label is not None]
    likely = [name for label in given for name in review.task.type.labels_in(label) if name]
    return list(dict.fromkeys([*likely, *review.task.labels]))


def _shown_row(row: NearRow, task: Task, fields: Fields) -> ShownRow:
    return ShownRow(
        fields=split(row["text"], fields),
        label=task.type.to_text(row["label"], row["text"]),
        similarity=row["similarity"],
    )
