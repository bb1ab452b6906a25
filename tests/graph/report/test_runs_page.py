"""Several runs side by side: entries, tables for the terminal, and the page."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tutelage.graph.report.run_entries import run_entries
from tutelage.graph.report.runs_page import write_runs_page
from tutelage.graph.report.terminal import entry_tables
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError

Make = Callable[..., Any]


@pytest.fixture
def two(finished_on_folds: Make, run_record: Make) -> list[RunFolder]:
    """Return two finished runs on the same data that differ in the student and one field of the strategy."""
    task = run_record()["task"]
    settings = {"student": {"mode": "head"}, "strategy": {"base": "auto", "samples": 30}, "seed": 1}
    other = {"student": {"mode": "full"}, "strategy": {"base": "auto"}, "seed": 1}
    return [
        finished_on_folds("first", task={**task, **settings}),
        finished_on_folds("second", task={**task, **other}),
    ]


def test_an_entry_has_score_gain_cost_and_only_the_settings_that_differ(two: list[RunFolder]) -> None:
    first, second = run_entries(two)
    assert (first["score"], first["low"], first["high"]) == (0.8, pytest.approx(0.7), 0.9)
    assert (first["measured_on"], first["gain"]) == ("test", [0.19, 0.1, 0.3])
    assert (first["calls"], first["tokens"], first["cost"]) == (31, 3410, 1234.56789)
    assert first["settings"] == {"student.mode": "head", "strategy.samples": 30}
    assert second["settings"] == {"student.mode": "full", "strategy.samples": None}


def test_runs_of_other_tasks_do_not_make_settings_differ(
    two: list[RunFolder], finished_on_folds: Make, run_record: Make
) -> None:
    other = {**run_record()["task"], "name": "other", "seed": 7, "labels": {"spam": "advertising"}}
    entries = run_entries([*two, finished_on_folds("other", task=other)])
    assert entries[0]["settings"] == {
        "task": "letters plain", "student.mode": "head", "strategy.samples": 30
    }  # fmt: skip
    assert entries[2]["settings"] == {"task": "other"}


def test_an_unfinished_run_has_its_score_so_far_and_a_bad_folder_does_not_hide_the_others(
    two: list[RunFolder], started: Make, round_line: Make, tmp_path: Path
) -> None:
    unfinished = started([round_line(0), round_line(1)])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    found = run_entries([unfinished, RunFolder(tmp_path / "bad"), two[0]])
    assert (found[0]["score"], found[0]["measured_on"], found[0]["gain"]) == (0.55, "gate", None)
    assert found[0]["state"] == "unfinished"
    assert (found[1]["score"], found[1]["settings"]) == (None, {})
    assert "run.json cannot be read" in found[1]["state"]
    assert found[2]["score"] == 0.8


def test_the_tables_of_several_runs_fit_into_a_hundred_columns(two: list[RunFolder]) -> None:
    console = Console(width=100, file=io.StringIO())
    entries = [{**entry, "run": Path(entry["run"]).name} for entry in run_entries(two)]
    for part in entry_tables(entries):
        console.print(part, soft_wrap=isinstance(part, str))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 100
    [row] = [line for line in lines if line.startswith("first") and "0.800 (0.70 to 0.90)" in line]
    assert row.split()[-3:] == ["31", "3,410", "1,235"]
    assert "+0.190 (+0.10 to +0.30)" in row
    assert any("student.mode: full" in line for line in lines)
    assert "seed" not in "".join(lines).replace("training seeds", "")


def test_the_page_shows_scores_settings_and_curves_of_all_runs_and_loads_nothing(
    two: list[RunFolder], tmp_path: Path
) -> None:
    page = tmp_path / "comparison.html"
    write_runs_page(two, page)
    source = page.read_text(encoding="utf-8")
    for title in ("Scores", "Settings that differ", "Learning curves", "Cost"):
        assert f"<h2>{title}</h2>" in source
    assert source.count("<svg") == 2
    text = re.sub(r"<[^>]*>", " ", source)
    for words in (
        "letters plain: 2 runs",
        "0.700 to 0.900",
        "strategy.samples",
        "3,100 + 310",
        str(two[1].path),
    ):
        assert words in text
    assert not re.findall(r"<script|https?://(?!www\.w3\.org)", source)
    assert 'class="note"' not in source, "the runs are comparable"


def test_the_page_warns_of_other_data_and_of_an_unfinished_run_and_shows_markup_as_text(
    two: list[RunFolder], started: Make, round_line: Make, run_record: Make, markup: str, tmp_path: Path
) -> None:
    record = run_record(markup)
    record["data"]["digest"] = "d2"
    page = tmp_path / "comparison.html"
    write_runs_page([two[0], started([round_line(0)], **record)], page)
    source = page.read_text(encoding="utf-8")
    assert "<script" not in source
    assert "<img" not in source
    assert "The runs have different data" in source
    assert f"continue with `tutelage resume {tmp_path / 'run'}`" in source


def test_a_page_that_cannot_be_written_is_refused(two: list[RunFolder], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose another file with --out"):
        write_runs_page(two, tmp_path / "none" / "page.html")
