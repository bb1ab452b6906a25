"""The pages of docs/: what they show is run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    (tmp_path / "tutelage").write_text(f'#!/bin/sh\nexec {sys.executable} -m tutelage.cli "$@"\n')
    (tmp_path / "tutelage").chmod(0o755)
    script = "set -e\nexport OPENAI_API_KEY=none\nPATH=$PWD:$PATH\n" + "\n".join(blocks)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_task_a_page_shows_is_the_sample_s(page: Path) -> None:
    from importlib.resources import files

    sample = (files("tutelage.graph") / "sample" / f"{page.stem}.yaml").read_text(encoding="utf-8")
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        assert all(line in sample for line in block.splitlines())
