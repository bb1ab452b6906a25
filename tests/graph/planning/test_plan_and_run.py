"""The plan compared with what runs spend and send."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.planning.plan import plan
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task
from tutelage.graph.task.samples import sample_task
from tutelage.prompts import read_payload
from tutelage.student.encoder import Encoder

Make = Callable[..., Task]
MEASURES = ("calls", "prompt_tokens", "completion_tokens")
DATA = sample_task().model_dump(exclude_none=True)["data"]
POOL = {"path": sample_task().teacher.corpus}
FOLDED = {"labelled": DATA["diagnose"], "test": DATA["test"]}


def rehearsal_teacher(**parts: Any) -> dict[str, Any]:
    return {**sample_task().teacher.model_dump(exclude_none=True), "calibrate": 24, **parts}


RUNS: dict[str, dict[str, Any]] = {
    "auto": {"strategy": {"base": "auto", "samples": 12}, "budget": {"rounds": 2}},
    "analysis": {"strategy": {"base": "auto", "oversample": 1, "samples": 24}},
    "evokd": {"strategy": {"base": "evokd", "samples": 24}},
    "gold": {"strategy": {"base": "gold", "samples": 24}},
    "zerogen": {"strategy": {"base": "zerogen", "samples": 24}},
    "random": {"strategy": {"base": "random", "samples": 24}},
    "half of it drawn": {
        "strategy": {"base": "auto", "samples": 24, "pool_share": 0.5},
        "data": {**DATA, "unlabelled": POOL},
    },
    "a pool that ends": {
        "strategy": {"base": "random", "samples": 50, "pool_share": 1.0},
        "data": {"seed": DATA["seed"], "test": DATA["test"], "unlabelled": DATA["gate"]},
        "budget": {"rounds": 9},
    },
    "a teacher that errs": {
        "strategy": {"base": "auto", "oversample": 1, "samples": 24, "critic": "all"},
        "teacher": rehearsal_teacher(label_noise=0.4, force=True),
    },
    "votes in place of log-probabilities": {"teacher": rehearsal_teacher(votes=3, logprobs=False)},
    "no calibration": {"teacher": rehearsal_teacher(calibrate=0)},
    "folds": {"data": FOLDED, "strategy": {"base": "auto", "samples": 24, "critic": "all"}},
    "folds and a pool": {
        "data": {**FOLDED, "unlabelled": POOL},
        "strategy": {"base": "auto", "samples": 24},
        "budget": {"rounds": 2},
    },
    "folds and a pool that ends": {
        "data": {**FOLDED, "unlabelled": DATA["gate"]},
        "strategy": {"base": "auto", "samples": 100},
        "budget": {"rounds": 3},
    },
    "a pool and no label": {"data": {"unlabelled": POOL, "test": DATA["test"]}},
    "nothing but descriptions of the labels": {"data": {}},
}


@pytest.mark.parametrize("name", RUNS)
def test_each_role_spends_within_its_planned_range(
    name: str, make_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = make_task(**{"teacher": rehearsal_teacher(), **RUNS[name]})
    planned = plan(task)["roles"]
    folder = run(task, tmp_path / "run", encoder=encoder)
    spent: dict[str, Counter[str]] = {role: Counter() for role in planned}
    for event in map(json.loads, folder.trace.read_text().splitlines()):
        if event["event"] == "call":
            spent[event["role"]] += Counter({"calls": 1, **{name: event[name] for name in MEASURES[1:]}})
    outside = [
        f"{role}: {measure} {spent[role][measure]} not in {part[measure]}"  # type: ignore[literal-required]
        for role, part in planned.items()
        for measure in MEASURES
        if not part[measure][0] <= spent[role][measure] <= part[measure][1]  # type: ignore[literal-required]
    ]
    assert outside == []
    assert folder.about()["spent"]["cost"] == 0.0
    assert all(part["cost"] == [0, 0] for part in planned.values())


def test_planned_prompts_have_the_fields_of_the_prompts_that_a_run_sends(
    make_task: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "oversample": 1, "samples": 12, "critic": "all"}
    task = make_task(teacher=rehearsal_teacher(), strategy=strategy)
    shown = plan(task)["prompts"]
    folder = run(task, tmp_path / "run", encoder=encoder)
    with sqlite3.connect(folder.journal) as journal:
        rows = journal.execute("SELECT role, request FROM replies ORDER BY at").fetchall()
    sent: dict[str, Any] = {}
    for role, request in rows:
        sent.setdefault(role, dict(json.loads(request)["messages"]))
    assert list(shown) == ["analyst", "generator", "labeler", "critic"]
    assert shown["labeler"]["user"] == sent["labeler"]["human"], "of the calibration, to the letter"
    for role, prompt in shown.items():
        assert prompt["system"] == sent[role]["system"]
        mine, real = read_payload(prompt["user"]), read_payload(sent[role]["human"])
        assert [(field, _fields(value)) for field, value in mine.items()] == [
            (field, _fields(value)) for field, value in real.items()
        ]


def _fields(value: Any) -> Any:
    """The fields of a payload's part: of an object, of a list's objects, or None."""
    if isinstance(value, list):
        return _fields(value[0]) if value else None
    return list(value) if isinstance(value, dict) else None
