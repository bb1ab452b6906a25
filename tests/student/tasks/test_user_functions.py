"""Test functions of the user: where they are found, what they can return, and how errors are reported."""

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
from tutelage.student.tasks.user_functions import extractive, load_metric, run_filter, title


def task_with(folder: Path, code: str, **parts: Any) -> Any:
    """Return the sample task with a file of functions, `mine.py`, in a folder."""
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
def test_only_arithmetic_expressions_have_a_value(written: str, wanted: float | None) -> None:
    assert value(written) == wanted


def test_answers_with_equal_values_are_the_same() -> None:
    assert same_value("45 * 10", "( 10.0 * 45.0 )", "") == 1
    assert same_value("45 + 10", "( 10.0 * 45.0 )", "") == 0
    assert same_value("many", "( 10.0 * 45.0 )", "") == 0
    assert same_value("0.33333333", "1 / 3", "") == 1
    assert (same_value("many", "many", ""), same_value("1", "many", "")) == (1, 0), (
        "a target without arithmetic must be equal"
    )


def test_built_in_filters_report_the_problem() -> None:
    assert evaluates({"target": "2 + 2"}) == ""
    assert evaluates({"target": "four"}) == "its target is not an arithmetic expression"
    assert extractive({"text": "born in Rome", "target": "Rome"}) == ""
    assert extractive({"text": "born in Rome", "target": "Paris"}) == "its target does not occur in its text"


def test_a_function_file_is_found_beside_the_task(tmp_path: Path) -> None:
    task = task_with(tmp_path, "def short(row):\n    return None\n", filters=["mine.py:short"])
    assert task.filters == [f"{tmp_path}/mine.py:short"]
    assert title(task.filters[0]) == "mine:short"


def test_a_sample_rejected_by_a_filter_is_refused_with_its_message_before_the_critic(
    encoder: Encoder, tmp_path: Path
) -> None:
    code = "def short(row):\n    if len(row['text']) > 60 and row['label']:\n        return 'too long'\n"
    task = task_with(tmp_path, code, filters=["mine.py:short"], strategy={"base": "auto", "samples": 24})
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
    ("code", "message"),
    [
        ("def f(row):\n    return row['none']\n", "failed on"),
        ("import sys\ndef f(row):\n    sys.exit(3)\n", "SystemExit: 3"),
        ("def f(row):\n    return True\n", "returned True; expected a string with the problem"),
    ],
)
def test_a_failing_filter_is_reported_before_any_call(code: str, message: str, tmp_path: Path) -> None:
    task = task_with(tmp_path, code, filters=["mine.py:f"])
    with pytest.raises(InputError, match=message):
        load_splits(task)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"filters": ["mine.py:nothing"]}, "`filters`: no function at"),
        ({"filters": ["other.py:f"]}, "is not a file"),
        ({"filters": ["mine.py:LIMIT"]}, "is int, expected a function"),
        ({"filters": ["mine.py"]}, "write file.py:function"),
        ({"filters": "mine.py:nothing"}, "mine.py has no 'nothing'"),
        ({"filters": [3]}, "`filters.0`"),
    ],
)
def test_an_invalid_filter_is_reported(parts: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        task_with(tmp_path, "LIMIT = 3\n\ndef f(row):\n    return ''\n", **parts)


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("pairs", {"message", "queue", "label"}),
        ("multilabel", {"text", "labels"}),
        ("ner", {"text", "entities"}),
        ("seq2seq", {"text", "target"}),
    ],
)
def test_a_filter_gets_rows_in_the_format_of_exported_samples(
    kind: TaskTypeName, held: set[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def keys(row):\n    return ' '.join(sorted(row))\n", encoding="utf-8")
    raw = sample_task(kind, tmp_path / "task").model_dump(exclude_none=True)
    task = parse_task({**raw, "filters": ["mine.py:keys"]}, "task.yaml", tmp_path)
    [note] = [note for note in load_splits(task).notes if "the filter" in note]
    assert set(note.rpartition(": ")[2].split()) == held


def test_a_function_file_can_hold_any_module_code(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("LIMIT = 3\n", encoding="utf-8")
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom words import LIMIT\n"
        "@dataclass\nclass Rule:\n    most: int = LIMIT\n"
        "def short(row):\n    return 'long' if len(row['text'].split()) > Rule().most else ''\n"
    )
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    name = f"{tmp_path}/mine.py:short"
    assert run_filter(name, {"text": "a b c d"}) == "long"
    (tmp_path / "mine.py").write_text("def short(row):\n    return 'changed'\n", encoding="utf-8")
    assert run_filter(name, {"text": "a"}) == "changed"


def test_an_error_inside_a_function_file_is_not_reported_as_a_missing_function(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import math\nmath.nothing\ndef f(row): ...\n", encoding="utf-8")
    with pytest.raises(InputError, match="AttributeError: module 'math' has no attribute 'nothing'"):
        run_filter(f"{tmp_path}/mine.py:f", {})


@pytest.mark.slow
def test_a_run_stopped_by_a_filter_error_resumes_after_the_fix(encoder: Encoder, tmp_path: Path) -> None:
    seeds = [json.loads(line)["text"] for line in (sample_task().data.seed.path or Path()).open()]
    code = f"def late(row):\n    return '' if row['text'] in {seeds!r} else row['late']\n"
    task = task_with(tmp_path, code, filters=["mine.py:late"], strategy={"base": "random", "samples": 12})
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


def test_output_printed_by_a_function_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("print('read')\ndef f(row):\n    print('asked')\n", encoding="utf-8")
    assert run_filter(f"{tmp_path}/mine.py:f", {}) == ""
    assert capsys.readouterr() == ("", "read\nasked\n")


@pytest.mark.parametrize(
    ("gives", "message"), [("2", "returned 2.0"), ("1 / 0", "ZeroDivisionError"), ("None", "failed")]
)
def test_a_failing_metric_is_reported(gives: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"def f(answer, target, text):\n    return {gives}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_metric(f"{tmp_path}/own.py:f")("an answer", "a target", "a text")


def test_a_failing_metric_is_reported_before_training(tmp_path: Path) -> None:
    raw = sample_task("seq2seq", tmp_path / "task").model_dump(exclude_none=True)
    (tmp_path / "own.py").write_text("def f(answer, target, text):\n    return 7\n", encoding="utf-8")
    task = parse_task({**raw, "metric": "own.py:f"}, "task.yaml", tmp_path)
    with pytest.raises(InputError, match="expected 0 to 1"):
        load_splits(task)


@pytest.mark.slow
def test_evaluate_uses_the_metric_of_the_run(encoder: Encoder, tmp_path: Path) -> None:
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
    assert metric_in(folder.student) is None, "a student alone has the default metric of its task type"


def test_the_functions_in_the_documentation_work(tmp_path: Path) -> None:
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
    assert run_filter(task.filters[0], {"target": "1999-05-03"}) == "its year is of another century"
