"""Fixtures for the tests of review: run folders that wait for a person, with texts of the sample tasks."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.review.decisions import Item, NearRow, Queue, Review
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.run_folder.folder import FORMAT, RunFolder
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row
from tutelage.student.tasks.fields import TaskTypeName

Waiting = Callable[..., OpenReview]


@pytest.fixture(scope="session")
def rows_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TaskTypeName], tuple[Task, list[Row]]]:
    """Return a function that returns the sample task of a type, and rows of it."""
    known: dict[str, tuple[Task, list[Row]]] = {}

    def rows(kind: TaskTypeName) -> tuple[Task, list[Row]]:
        if kind not in known:
            folder = tmp_path_factory.mktemp("sample") / kind
            task = sample_task(kind, folder)
            columns = Columns(text=task.fields)
            path = folder / "teacher.jsonl"
            known[kind] = (
                task,
                read_rows(path, list(task.labels), task_type=task.type, columns=columns),
            )
        return known[kind]

    return rows


@pytest.fixture
def waiting(rows_of: Callable[..., tuple[Task, list[Row]]], tmp_path: Path) -> Waiting:
    """Return a function that makes a run folder that waits for a review of a number of rows.

    The first text is one of the user's own rows, unless `own` is false. Without `judged`, the texts have no
    label yet. Keyword arguments replace fields of the first item, or of the task.
    """

    def make(
        kind: TaskTypeName = "classification",
        count: int = 6,
        *,
        judged: bool = True,
        own: bool = True,
        first: dict[str, Any] | None = None,
        **parts: Any,
    ) -> OpenReview:
        task, rows = rows_of(kind)
        stored = task.model_copy(update={"review": "before_train", "review_budget": 50, **parts})
        folder = RunFolder(tmp_path / "run")
        folder.create({"format": FORMAT, "task": stored.model_dump(mode="json"), "notes": []})
        chosen = list(islice(rows, 0, None, max(len(rows) // (count + 3), 1)))
        near = [NearRow(text=row["text"], label=row["label"], similarity=0.8) for row in chosen[count:]][:3]
        items = [_item(row, place, near, judged=judged, own=own) for place, row in enumerate(chosen[:count])]
        items[0] = {**items[0], **(first or {})}  # type: ignore[typeddict-item]
        Review(folder).put(Queue(round=1, attempt=0, items=items))
        return OpenReview(folder)

    return make


def _item(row: Row, place: int, near: list[NearRow], *, judged: bool, own: bool) -> Item:
    item = Item(
        id=row["id"],
        text=row["text"],
        own=own and not place,
        reason="the students answer differently from the teacher",
        random=False,
        near=near,
    )
    if judged:
        item |= {"label": row["label"], "confidence": 0.5 + place / 20, "answered": near[0]["label"]}
    if near and near[0]["label"].startswith("[["):  # positions in another text
        item["answered"] = "[]"
    return item
