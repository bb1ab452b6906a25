"""`tutelage review` on a real run: it goes on after the decisions, and asks again in the next round."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder

Done = subprocess.CompletedProcess[str]
COMMAND = [sys.executable, "-m", "tutelage.cli", "review"]


@pytest.fixture(scope="module")
def waiting_run(
    folded: Callable[..., Task], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    task = folded(
        strategy={"base": "entropy", "samples": 24},
        review="before_train",
        review_budget=6,
        teacher={"label_noise": 0.2},
    )
    return run(task, tmp_path_factory.mktemp("review") / "run", encoder=encoder).path


@pytest.fixture
def path(waiting_run: Path, tmp_path: Path) -> Path:
    """Return a copy of a run that waits for a review in the first of two rounds."""
    return Path(shutil.copytree(waiting_run, tmp_path / "run"))


def sent(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def state_of(url: str, round: int) -> Any:
    """Return the state of the page when it shows the texts of a round."""
    ends = time.monotonic() + 120
    while (state := sent(f"{url}state"))["phase"] != "reviewing" or state["round"] != round:
        assert time.monotonic() < ends
        time.sleep(0.1)
    return state


@pytest.mark.slow
def test_the_page_stays_open_until_the_run_has_ended(path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, path, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr
        try:
            url = process.stderr.readline().split(" at ")[1].split()[0]
            state = state_of(url, round=1)
            assert state["total"] == 3
            while state["phase"] == "reviewing":
                state = sent(f"{url}decide", {"id": state["item"]["id"], "action": "accept"})
            assert state["phase"] == "decided"
            assert "The run goes on" in sent(f"{url}finish", {})["next_step"]
            state = state_of(url, round=2)
            assert state["decided"] == 0
            sent(f"{url}decide", {"id": state["item"]["id"], "action": "skip"})
            sent(f"{url}finish", {})
            output, errors = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert json.loads(output)["stop"]
    assert RunFolder(path).report.exists()
    again = subprocess.run([*COMMAND, path], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "has ended: none of the 3 texts of its last review waits any more" in again.stderr


@pytest.mark.slow
def test_the_terminal_asks_in_every_round(command: Callable[..., Done], path: Path) -> None:
    done = command("review", path, "--terminal", input="\n" * 6)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all texts are decided") == 2
    assert "The teacher" in done.stdout
    assert RunFolder(path).report.exists()


@pytest.mark.slow
def test_a_table_goes_out_and_comes_in(command: Callable[..., Done], path: Path, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    done = command("review", path, "--out", table)
    assert done.stdout.startswith(f"wrote 3 texts to {table}; fill in right_label or action, then: tutelage")
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 4
    table.write_text("\n".join([lines[0], *(line[:-1] + ",accept" for line in lines[1:3])]))
    done = command("review", path, "--from", table)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(
        f"kept 2 decisions of {table}\n2 decisions are kept, 1 text left; to go on:"
    )
    table.write_text("\n".join([lines[0], lines[3][:-1] + ",skip"]))
    done = command("review", path, "--from", table)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"kept 1 decision of {table}\n")
    review = OpenReview(path)
    assert (review.queue["round"], len(review.waiting)) == (2, 3)
    left = f"3 texts of round 2 wait now; to go on: tutelage review {path}"
    assert done.stderr.splitlines()[-1] == left


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/none"], "does not exist; `tutelage runs` lists the run folders"),
        (["RUN", "--terminal", "--out", "x.csv"], "are ways to review; give one of them"),
        (["RUN", "--from", "missing.csv"], "missing.csv does not exist; write it with `tutelage review"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, command: Callable[..., Done], waiting: Callable[..., OpenReview]
) -> None:
    path = waiting().folder.path
    done = command("review", *(path if one == "RUN" else one for one in arguments))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
