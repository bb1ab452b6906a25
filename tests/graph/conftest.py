"""A fixture for runs of the bundled task on folds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tutelage
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task

SAMPLE = Path(tutelage.__file__).parent / "graph" / "sample"


@pytest.fixture(scope="session")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Task]:
    """Return a function that makes the bundled task with folds: all labelled rows in one file, 200 unlabelled
    texts, a head student and small rounds. Keyword arguments replace parts of the task.
    """
    folder, sample = tmp_path_factory.mktemp("folded"), sample_task()
    labelled = [(SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("seed", "diagnose")]
    (folder / "labelled.jsonl").write_text("".join(labelled), encoding="utf-8")
    lines = (SAMPLE / "teacher.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.dumps({"text": json.loads(line)["text"]}) + "\n" for line in lines[:200]]
    (folder / "pool.jsonl").write_text("".join(texts), encoding="utf-8")

    def make(**parts: Any) -> Task:
        raw = json.loads(sample.model_dump_json(exclude_none=True))
        test, corpus = raw["data"]["test"], raw["teacher"]["corpus"]
        raw |= {
            "data": {"labelled": "labelled.jsonl", "unlabelled": "pool.jsonl", "test": test},
            "teacher": {"corpus": corpus, "label_noise": 0.05},
            "student": {"mode": "head"},
            "strategy": {"base": "auto", "samples": 24},
            "budget": {"rounds": 2},
        }
        for name, value in parts.items():
            whole = name in ("strategy", "data", "labels") or not isinstance(value, dict)
            raw[name] = value if whole else {**raw[name], **value}
        return parse_task(raw, "test", folder)

    return make
