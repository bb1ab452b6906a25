"""Fixtures for the tests of the command line: a command in an empty folder, and a small task."""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tutelage.graph.task.samples import sample_task

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def cli(command: Callable[..., Done], tmp_path: Path) -> Callable[..., Done]:
    """Return a function that runs a command in an empty folder, with pipes in place of a terminal."""
    return partial(command, cwd=tmp_path)


@pytest.fixture(scope="session")
def write_task() -> Callable[..., Path]:
    """Return a function that writes the bundled task to a folder, with a head student and one small round.

    Keyword arguments replace parts of the task; None removes a part.
    """

    def write(folder: Path, **parts: Any) -> Path:
        raw = json.loads(sample_task().model_dump_json(exclude_none=True))
        strategy = {"base": "auto", "samples": 12}
        raw |= {"student": {"mode": "head"}, "strategy": strategy, "budget": {"rounds": 1}}
        for name in ("seed", "diagnose", "gate", "test"):
            rows = Path(raw["data"][name]["path"]).read_text().splitlines()[:48]
            (folder / f"{name}.jsonl").write_text("\n".join(rows))
            raw["data"][name] = f"{name}.jsonl"
        raw |= parts
        path = folder / "task.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
        return path

    return write


@pytest.fixture(scope="session")
def assert_refused() -> Callable[..., None]:
    """Return a function that asserts exit code 2 and one line on standard error, with the given words."""

    def check(done: Done, *words: str) -> None:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert done.returncode == 2, done.stderr
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        for word in words:
            assert word in lines[0]

    return check
