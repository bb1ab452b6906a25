"""Fixtures shared by the tests of models."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tutelage.student.models.tagger import Tagger
from tutelage.student.training.adapters.tagger import fresh
from tutelage.student.training.configuration import TrainingConfig

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def untrained_tagger() -> Tagger:
    """Return an untrained tagger on MiniLM that reads at most eight tokens."""
    types = ["product", "order", "person", "city", "date"]
    return fresh(types, TrainingConfig(kind="ner", max_tokens=8, device="cpu"), seed=0)


@pytest.fixture
def bare_python(tmp_path: Path) -> Python:
    """Return a function that runs Python in `tmp_path` with only onnxruntime, tokenizers and numpy."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("numpy", "numpy.libs", "onnxruntime", "tokenizers", "flatbuffers", "google", "packaging"):
        found = find_spec("numpy" if name == "numpy.libs" else name)
        assert found
        origin = Path(str(found.submodule_search_locations[0]))  # type: ignore[index]
        source = origin.with_name(name)
        if source.exists():
            (packages / name).symlink_to(source)

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-S", *arguments]  # -S: no other installed package
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, **options
        )

    return run
