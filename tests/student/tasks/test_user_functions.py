"""Functions of the user's own: where they are looked for, what they may give, what is told when they fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import metric_in
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.tasks.arithmetic import evaluates, same_value, value
from tutelage.student.tasks.fields import TaskTypeName
from tutelage.student.tasks.user_functions import extractive, filtered, judge, title


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
        ("1,234,567", 1234567.0),
        ("1,5", None),
        ("1,2345", None),
        ("0x10", None),
        ("1_000", None),
        ("5 # about", None),
        ("1e3", None),
        ("2 ** 3", None),
        ("$18", 18.0),
        ("#### $ 18", 18.0),
        ("1if 2else 3", None),
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
    assert evaluates({"target": "four"}) == "its target is not an arithmetic expression"
    assert extractive({"text": "born in Rome", "target": "Rome"}) == ""
    assert extractive({"text": "born in Rome", "target": "Paris"}) == "its target does not occur in its text"


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
        ("import sys\ndef f(row):\n    sys.exit(3)\n", "SystemExit: 3"),
        ("def f(row):\n    return True\n", "returned True; expected a string with the problem"),
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
        ({"filters": ["other.py:f"]}, "is not a file"),
        ({"filters": ["mine.py:LIMIT"]}, "is int, expected a function"),
        ({"filters": ["mine.py"]}, "write file.py:function"),
        ({"filters": "mine.py:nothing"}, "mine.py has no 'nothing'"),
        ({"filters": [3]}, "`filters.0`"),
    ],
)
def test_a_filter_that_is_none_is_told(parts: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        shop(tmp_path, "LIMIT = 3\n\ndef f(row):\n    return ''\n", **parts)


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("pairs", {"message", "queue", "label"}),
        ("multilabel", {"text", "labels"}),
        ("ner", {"text", "entities"}),
        ("seq2seq", {"text", "target"}),
    ],
)
def test_a_filter_is_given_a_row_as_samples_are_filed(
    kind: TaskTypeName, held: set[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def keys(row):\n    return ' '.join(sorted(row))\n", encoding="utf-8")
    raw = sample_task(kind, tmp_path / "task").model_dump(exclude_none=True)
    task = parse_task({**raw, "filters": ["mine.py:keys"]}, "task.yaml", tmp_path)
    [note] = [note for note in load_splits(task).notes if "the filter" in note]
    assert set(note.rpartition(": ")[2].split()) == held


def test_a_file_may_hold_whatever_modules_hold(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("LIMIT = 3\n", encoding="utf-8")
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom words import LIMIT\n"
        "@dataclass\nclass Rule:\n    most: int = LIMIT\n"
        "def short(row):\n    return 'long' if len(row['text'].split()) > Rule().most else ''\n"
    )
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    name = f"{tmp_path}/mine.py:short"
    assert filtered(name, {"text": "a b c d"}) == "long"
    (tmp_path / "mine.py").write_text("def short(row):\n    return 'changed'\n", encoding="utf-8")
    assert filtered(name, {"text": "a"}) == "changed"


def test_an_error_inside_a_file_is_not_taken_for_a_missing_function(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import math\nmath.nothing\ndef f(row): ...\n", encoding="utf-8")
    with pytest.raises(InputError, match="AttributeError: module 'math' has no attribute 'nothing'"):
        filtered(f"{tmp_path}/mine.py:f", {})


def test_a_run_whose_filter_failed_goes_on_once_it_is_mended(encoder: Encoder, tmp_path: Path) -> None:
    seeds = [json.loads(line)["text"] for line in (sample_task().data.seed.path or Path()).open()]
    code = f"def late(row):\n    return '' if row['text'] in {seeds!r} else row['late']\n"
    task = shop(tmp_path, code, filters=["mine.py:late"], strategy={"base": "random", "samples": 12})
    with pytest.raises(
        InputError, match=r"KeyError: 'late'; correct the function, then `tutelage resume .*run`"
    ):
        run(task, tmp_path / "run", encoder=encoder)
    (tmp_path / "mine.py").write_text("def late(row):\n    return ''\n", encoding="utf-8")
    folder = resume(tmp_path / "run")
    about = folder.about()
    assert about["stop"] == "1 round is done"
    assert "your user functions were changed after the run was started" in about["notes"]
    calls = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    paid = [event["call"] for event in calls if event["event"] == "call" and not event["replayed"]]
    assert len(paid) == len(set(paid)) == about["spent"]["calls"]


def test_what_a_function_prints_stays_out_of_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("print('read')\ndef f(row):\n    print('asked')\n", encoding="utf-8")
    assert filtered(f"{tmp_path}/mine.py:f", {}) == ""
    assert capsys.readouterr() == ("", "read\nasked\n")


@pytest.mark.parametrize(
    ("gives", "told"), [("2", "returned 2.0"), ("1 / 0", "ZeroDivisionError"), ("None", "failed")]
)
def test_a_metric_that_fails_is_told_with_the_answer(gives: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"def f(answer, target, text):\n    return {gives}\n", encoding="utf-8")
    with pytest.raises(InputError, match=told):
        judge(f"{tmp_path}/own.py:f")("an answer", "a target", "a text")


def test_a_metric_that_fails_is_told_before_a_student_is_trained(tmp_path: Path) -> None:
    raw = sample_task("seq2seq", tmp_path / "task").model_dump(exclude_none=True)
    (tmp_path / "own.py").write_text("def f(answer, target, text):\n    return 7\n", encoding="utf-8")
    task = parse_task({**raw, "metric": "own.py:f"}, "task.yaml", tmp_path)
    with pytest.raises(InputError, match="expected 0 to 1"):
        load_splits(task)


def test_evaluate_grades_by_the_metric_of_the_run(encoder: Encoder, tmp_path: Path) -> None:
    task = sample_task()
    raw = {**task.model_dump(exclude_none=True), "metric": "accuracy", "student": {"mode": "head"}}
    folder = run(
        parse_task({**raw, "budget": {"rounds": 0}}, "task.yaml", Path()), tmp_path / "run", encoder=encoder
    )
    assert task.data.test
    command = [
        sys.executable,
        "-m",
        "tutelage.cli",
        "evaluate",
        "--json",
        folder.path,
        task.data.test.path or "",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["metric"] == found["figures"]["accuracy"]
    assert (found["metric_name"], next(iter(found["figures"]))) == ("accuracy", "accuracy")
    assert metric_in(folder.student) is None, "a student by itself is measured by the first of its kind"


def test_the_functions_that_the_page_shows_work(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "seq2seq.md"
    if not page.exists():
        pytest.skip("tests run without the checkout")
    code = next(block for block in page.read_text().split("```python\n") if block.startswith("def same"))
    raw = sample_task("seq2seq", tmp_path / "task").model_dump(exclude_none=True)
    (tmp_path / "years.py").write_text(code.partition("```")[0], encoding="utf-8")
    raw |= {"metric": "years.py:same", "filters": ["years.py:of_this_century"]}
    task = parse_task(raw, "task.yaml", tmp_path)
    assert title(task.metric) == "years:same"
    assert not any("the filter" in note for note in load_splits(task).notes)
    assert filtered(task.filters[0], {"target": "1999-05-03"}) == "its year is of another century"
