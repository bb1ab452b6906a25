"""Fixtures for runs of the bundled task on folds, and for checkpoints in Postgres."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tutelage
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task

SAMPLE = Path(tutelage.__file__).parent / "graph" / "sample"
BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
INITDB = shutil.which("initdb") or (BIN and str(BIN / "initdb"))


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


@pytest.fixture
def postgres() -> Iterator[str]:
    """Return the address of a Postgres server; skip the test if it or its Python driver is not installed."""
    if not (INITDB and find_spec("psycopg") and find_spec("langgraph.checkpoint.postgres")):
        pytest.skip("needs Postgres and langgraph-checkpoint-postgres")
    with tempfile.TemporaryDirectory() as folder:  # not in pytest's folder, which only its owner can enter
        yield from _postgres_in(Path(folder))


def _postgres_in(folder: Path) -> Iterator[str]:
    assert INITDB
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # Postgres does not run as root
        user = {"user": "postgres", "group": "postgres"}
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    subprocess.run(
        [INITDB, "-D", data, "-U", "tester", "-A", "trust"], check=True, capture_output=True, **user
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    control = [str(Path(INITDB).with_name("pg_ctl")), "-D", data, "-w"]
    start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, **user)
