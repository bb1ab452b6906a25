"""The package as it is installed and imported."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import tutelage

ROOT = Path(tutelage.__file__).parent
HEAVY = ("torch", "transformers", "langgraph", "langchain_core", "openai", "chromadb", "pandas", "sklearn",
         "matplotlib", "numpy")  # fmt: skip


@pytest.mark.parametrize("what", [["-c", "import tutelage"], ["-m", "tutelage.cli", "--help"]])
def test_importing_and_help_load_no_heavy_library(what: list[str]) -> None:
    arguments = [sys.executable, "-X", "importtime", *what]
    loaded = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
    names = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in loaded.splitlines()}
    assert "tutelage" in names
    assert names & set(HEAVY) == set()


def test_public_names_load_on_first_use_and_others_raise_an_error() -> None:
    assert all(getattr(tutelage, name) for name in tutelage.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tutelage.nothing  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    assert tutelage.__version__ == version("tutelage")


def test_every_folder_with_code_is_packaged() -> None:
    setup = Path(__file__).parent.parent / "pyproject.toml"
    packages = tomllib.loads(setup.read_text())["tool"]["setuptools"]["packages"]
    found = [path.parent.relative_to(ROOT).parts for path in ROOT.glob("[a-z]*/**/__init__.py")]
    folders = {
        ".".join(("tutelage", *parts)) for parts in found if parts[0] not in ("tests", "benchmarks", "build")
    }
    assert set(packages) == {"tutelage", *folders}


def test_data_files_are_packaged() -> None:
    for name in ("analyst", "generator", "labeler", "critic"):
        assert (ROOT / "prompts" / f"{name}.md").exists()
    for name in ("task.yaml", "template.yaml", "seed.jsonl", "teacher.jsonl", "test.jsonl"):
        assert (ROOT / "graph" / "sample" / name).exists()
    assert (ROOT / "py.typed").exists()
