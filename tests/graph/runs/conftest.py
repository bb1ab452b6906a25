"""Fixtures that make tasks for the methods, and read the files of their runs."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.prompts import read_payload

Lines = list[dict[str, Any]]


def _task(strategy: Any, *, rounds: int = 2, pool: bool = False, **parts: Any) -> Task:
    raw = sample_task().model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "strategy": strategy, "budget": {"rounds": rounds}, **parts}
    raw["teacher"]["calibrate"] = 24
    if pool:
        raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    return parse_task(raw, "test", Path())


def _lines(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def method_task() -> Callable[..., Task]:
    """Return a function that makes the bundled task with a strategy and a head student."""
    return _task


@pytest.fixture(scope="session")
def pool_task() -> Callable[..., Task]:
    """Return the same function for a task whose unlabelled texts are those of the rehearsal teacher."""
    return lambda strategy, **parts: _task(strategy, pool=True, **parts)


@pytest.fixture(scope="session")
def finished_nodes() -> Callable[[RunFolder, str], Lines]:
    """Return a function that reads the events at the end of a node, in order."""

    def read(folder: RunFolder, node: str) -> Lines:
        return [e for e in _lines(folder.trace) if e["event"] == "leave" and e["node"] == node]

    return read


@pytest.fixture(scope="session")
def payloads() -> Callable[[RunFolder, str], Lines]:
    """Return a function that reads the payloads that a role was sent, in order."""

    def read(folder: RunFolder, role: str) -> Lines:
        query = "SELECT request FROM replies WHERE role = ? ORDER BY at"
        with sqlite3.connect(folder.journal) as journal:
            rows = journal.execute(query, (role,)).fetchall()
        return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows]

    return read


@pytest.fixture(scope="session")
def kept() -> Callable[..., Lines]:
    """Return a function that reads the kept samples of a run, or of one of its rounds."""

    def read(folder: RunFolder, round: int | None = None) -> Lines:
        samples = [s for s in _lines(folder.samples) if s["status"] == "kept"]
        return [s for s in samples if round is None or s["round"] == round]

    return read
