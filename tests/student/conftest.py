"""Fixtures shared by the tests of students: the generated sample tasks, and what a run has written."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.load import load_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.prompts import read_payload
from tutelage.student.data.readers import read_rows
from tutelage.student.data.rows import Row
from tutelage.student.tasks.registry import TASK_TYPES

NO_LABEL = [
    "Good morning to you all.",
    "I have nothing to ask, have a nice weekend.",
    "Greetings from the seaside, it is raining here.",
    "Sorry, I pressed send too early.",
    "My cat walked over the keyboard.",
    "Happy birthday to your shop!",
    "Testing, testing, one two three.",
    "Please ignore what I wrote yesterday.",
]


@pytest.fixture(scope="session")
def multilabel_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return the sample task with every third text; its rehearsal teacher also has texts without a label."""
    folder = tmp_path_factory.mktemp("multilabel") / "task"
    sample_task("multilabel", folder)
    for name in ("diagnose", "gate", "test"):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[::3]))
    with (folder / "teacher.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": text, "labels": []}) + "\n" for text in NO_LABEL)
    return load_task(folder / "task.yaml")


@pytest.fixture(scope="session")
def pairs_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return the sample task with pairs of texts."""
    return sample_task("pairs", tmp_path_factory.mktemp("pairs") / "task")


@pytest.fixture(scope="session")
def ner_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return the sample task with named entities."""
    return sample_task("ner", tmp_path_factory.mktemp("ner") / "task")


@pytest.fixture(scope="session")
def ner_rows(ner_task: Task) -> dict[str, list[Row]]:
    """Return the rows of the sample task with named entities, by the name of their file."""
    folder, labels = (ner_task.data.seed.path or Path()).parent, list(ner_task.labels)
    names = ("seed", "diagnose", "gate", "test", "teacher")
    return {name: read_rows(folder / f"{name}.jsonl", labels, task_type=TASK_TYPES["ner"]) for name in names}


@pytest.fixture(scope="session")
def seq2seq_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return the sample task with target texts."""
    return sample_task("seq2seq", tmp_path_factory.mktemp("seq2seq") / "task")


@pytest.fixture(scope="session")
def seq2seq_test_rows(seq2seq_task: Task) -> list[Row]:
    """Return the test rows of the sample task with target texts."""
    assert seq2seq_task.data.test
    assert seq2seq_task.data.test.path
    return read_rows(seq2seq_task.data.test.path, [], task_type=TASK_TYPES["seq2seq"])


@pytest.fixture(scope="session")
def quick_seq2seq_task(seq2seq_task: Task) -> Callable[..., dict[str, Any]]:
    """Return a function that returns the fields of the task file with target texts, with fewer training
    steps; keyword arguments replace fields.
    """

    def make(**fields: Any) -> dict[str, Any]:
        raw: dict[str, Any] = json.loads(seq2seq_task.model_dump_json(exclude_none=True))
        raw["student"] |= {"epochs": 4, "device": "cpu"}
        raw["teacher"]["calibrate"] = 12
        return {**raw, **fields}

    return make


@pytest.fixture(scope="session")
def tiny_base(tiny_bert: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a random 2-layer BERT."""
    return tiny_bert(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def read_lines() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that reads a JSON Lines file."""
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def read_payloads() -> Callable[[RunFolder, str], list[dict[str, Any]]]:
    """Return a function that reads the payloads of a role's requests in a run folder."""

    def read(folder: RunFolder, role: str) -> list[dict[str, Any]]:
        with sqlite3.connect(folder.journal) as journal:
            rows = journal.execute(
                "SELECT request FROM replies WHERE role = ? ORDER BY at", (role,)
            ).fetchall()
        return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows]

    return read
