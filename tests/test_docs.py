"""The pages of docs/: their commands run, and their tasks are those of the package."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TASK_TYPES = ("multilabel", "ner", "pairs", "seq2seq")
PAGES = [DOCS / f"{name}.md" for name in TASK_TYPES if DOCS.exists()]  # the wheel has no pages
WITH_COMMANDS = [*PAGES, *(page for page in [DOCS / "graph.md"] if page.exists())]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_every_command_on_a_page_runs(page: Path, command: Callable[..., Any], tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith("tutelage "):
            done = command(*shlex.split(line, comments=True)[1:], cwd=tmp_path, env=environment)
        else:
            done = subprocess.run(
                ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_task_on_a_page_is_that_of_the_sample(page: Path) -> None:
    from importlib.resources import files

    sample = (files("tutelage.graph") / "sample" / f"{page.stem}.yaml").read_text(encoding="utf-8")
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        assert all(line in sample for line in block.splitlines())
