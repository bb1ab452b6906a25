"""Functions of the user's own: where they are looked for, what they may give, what is told when they fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.config import load_task, parse_task
from tutelage.graph.run import run
from tutelage.graph.samples import sample_task
from tutelage.graph.splits import load_splits
from tutelage.student.arithmetic import evaluates, same_value, value
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.own import extractive, filtered, judge, title


def shop(folder: Path, code: str, **parts: Any) -> Any:
    """The sample task with a file of functions, `mine.py`, in a folder."""
    (folder / "mine.py").write_text(code, encoding="utf-8")
    raw = sample_task().model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "budget": {"rounds": 1}, **parts}
    return parse_task(raw, "task.yaml", folder)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("( 10.0 * 45.0 )", 450.0),
        ("(84 / 2)", 42.0),
        ("-3 + 5", 2.0),
        ("1,200", 1200.0),
        ("$18", 18.0),
        ("Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\n#### 18", 18.0),
        ("7 / 0", None),
        ("2 ** 9", None),
        ("x + 1", None),
        ("__import__('os').getcwd()", None),
        ("True", None),
        ("1e999", None),
        ("", None),
        ("(" * 400 + "1" + ")" * 400, None),
        ("1 +" * 300 + "1", None),
    ],
)
def test_arithmetic_has_a_value_and_nothing_else_has(written: str, wanted: float | None) -> None:
    assert value(written) == wanted


def test_answers_are_the_same_where_they_come_to_the_same() -> None:
    assert same_value("45 * 10", "( 10.0 * 45.0 )", "") == 1
    assert same_value("45 + 10", "( 10.0 * 45.0 )", "") == 0
    assert same_value("many", "( 10.0 * 45.0 )", "") == 0
    assert same_value("0.33333333", "1 / 3", "") == 1
    assert (same_value("many", "many", ""), same_value("1", "many", "")) == (1, 0), "no arithmetic is wanted"


def test_ready_filters_say_what_is_wrong() -> None:
    assert evaluates({"target": "2 + 2"}) == ""
    assert evaluates({"target": "four"}) == "its target is no arithmetic"
    assert extractive({"text": "born in Rome", "target": "Rome"}) == ""
    assert extractive({"text": "born in Rome", "target": "Paris"}) == "its target does not stand in its text"


def test_a_function_of_a_file_is_looked_for_beside_the_task(tmp_path: Path) -> None:
    task = shop(tmp_path, "def short(row):\n    return None\n", filters=["mine.py:short"])
    assert task.filters == [f"{tmp_path}/mine.py:short"]
    assert title(task.filters[0]) == "mine:short"


def test_what_a_filter_finds_wrong_is_refused_with_its_words_before_a_critic_is_asked(
    encoder: Encoder, tmp_path: Path
) -> None:
    code = "def short(row):\n    if len(row['text']) > 60 and row['label']:\n        return 'too long'\n"
    task = shop(tmp_path, code, filters=["mine.py:short"], strategy={"base": "auto", "samples": 24})
    folder = run(task, tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    kept = [s for s in samples if s["status"] == "kept"]
    refused = [s for s in samples if s.get("reason") == "mine:short: too long"]
    assert kept
    assert refused
    assert all(len(s["text"]) <= 60 for s in kept)
    assert all(s["status"] == "refused" and "verdict" not in s for s in refused)
    [note] = [note for note in folder.about()["notes"] if "filter" in note]
    assert note.startswith("the filter mine:short would refuse ")
    assert "of 30 seeds: too long" in note


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(row):\n    return row['none']\n", "failed on"),
        ("def f(row):\n    return True\n", "gave True; it gives what is wrong in words"),
    ],
)
def test_a_filter_that_fails_is_told_before_anything_is_paid(code: str, told: str, tmp_path: Path) -> None:
    task = shop(tmp_path, code, filters=["mine.py:f"])
    with pytest.raises(InputError, match=told):
        load_splits(task)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"filters": ["mine.py:nothing"]}, "`filters`: no function at"),
        ({"filters": ["other.py:f"]}, "is no file"),
        ({"filters": ["mine.py:LIMIT"]}, "is int, expected a function"),
        ({"filters": "mine.py:f"}, "`filters`"),
        ({"filters": [3]}, "`filters.0`"),
    ],
)
def test_a_filter_that_is_none_is_told(parts: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        shop(tmp_path, "LIMIT = 3\n\ndef f(row):\n    return ''\n", **parts)


def test_a_filter_is_given_the_row_as_files_hold_it(tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text("def row_of(row):\n    return repr(row)\n", encoding="utf-8")
    assert filtered(f"{tmp_path}/seen.py:row_of", {"text": "a", "labels": ["b"]}) == str(
        {"text": "a", "labels": ["b"]}
    )


@pytest.mark.parametrize(
    ("gives", "told"), [("2", "gave 2.0"), ("1 / 0", "ZeroDivisionError"), ("None", "failed")]
)
def test_a_metric_that_fails_is_told_with_the_answer(gives: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"def f(answer, target, text):\n    return {gives}\n", encoding="utf-8")
    with pytest.raises(InputError, match=told):
        judge(f"{tmp_path}/own.py:f")("an answer", "a target", "a text")


def test_a_metric_that_fails_is_told_before_a_student_is_trained(tmp_path: Path) -> None:
    raw = sample_task("seq2seq", tmp_path / "task").model_dump(exclude_none=True)
    (tmp_path / "own.py").write_text("def f(answer, target, text):\n    return 7\n", encoding="utf-8")
    task = parse_task({**raw, "metric": "own.py:f"}, "task.yaml", tmp_path)
    with pytest.raises(InputError, match="a figure lies between 0 and 1"):
        load_splits(task)


def test_evaluate_grades_by_the_metric_of_the_run(encoder: Encoder, tmp_path: Path) -> None:
    task = sample_task()
    raw = {**task.model_dump(exclude_none=True), "metric": "accuracy", "student": {"mode": "head"}}
    folder = run(
        parse_task({**raw, "budget": {"rounds": 0}}, "task.yaml", Path()), tmp_path / "run", encoder=encoder
    )
    assert task.data.test
    command = [sys.executable, "-m", "tutelage.cli", "evaluate", "--json"]
    for place, figure in ((folder.path, "accuracy"), (folder.student, "macro_f1")):
        done = subprocess.run(
            [*command, str(place), str(task.data.test.path)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        assert found["metric"] == found["figures"][figure]


def test_the_functions_of_a_page_are_found_as_it_says(tmp_path: Path) -> None:
    sample_task("seq2seq", tmp_path / "task")
    code = "def same(answer, target, text):\n    return float(answer[:4] == target[:4])\n"
    (tmp_path / "task" / "years.py").write_text(code, encoding="utf-8")
    page = (tmp_path / "task" / "task.yaml").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if not line.startswith("metric")]
    (tmp_path / "task" / "task.yaml").write_text(
        "\n".join([*lines, "metric: years.py:same", ""]), encoding="utf-8"
    )
    assert title(load_task(tmp_path / "task" / "task.yaml").metric) == "years:same"
