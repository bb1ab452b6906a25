"""Bad tasks, rows and arguments: exit code 2, one clear line, and no run folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Any]


BAD_TASKS = {
    "unknown field": ({"stduent": {}}, ["unknown field `stduent`", "did you mean 'student'?"]),
    "unknown inner field": ({"budget": {"round": 3}}, ["`budget.round`", "did you mean 'rounds'?"]),
    "missing field": ({"instruction": None}, ["`instruction` is missing", "tutelage init"]),
    "one label": ({"labels": {"a": ""}}, ["`labels`", "at least 2"]),
    "unknown strategy": ({"strategy": "evkd"}, ["'evkd'", "did you mean 'evokd'?"]),
    "unknown strategy field": ({"strategy": {"base": "auto", "sample": 3}}, ["'sample'", "'samples'"]),
    "money without prices": (
        {"budget": {"money": 5}, "teacher": {"model": "openai:x"}},
        ["budget.money", "price_prompt"],
    ),
    "batches of a provider without a batch API": (
        {"teacher": {"model": "anthropic:x", "batch": True}},
        ["teacher.batch"],
    ),
    "a price file without prices": (
        {"teacher": {"model": "openai:x", "prices": "task.yaml"}, "budget": {"money": 1}},
        ["prices", "task.yaml", "expected numbers"],
    ),
    "rehearsal without corpus": ({"teacher": {"model": "rehearsal"}}, ["teacher.corpus"]),
    "wrong type": ({"seed": "many"}, ["`seed`", "'many'"]),
    "negative rounds": ({"budget": {"rounds": -1}}, ["`budget.rounds`", "-1"]),
    "a strategy field out of bounds": ({"strategy": {"samples": -5}}, ["`strategy.samples`", "-5"]),
    "an unknown kind of feedback": ({"strategy": {"feedback": "much"}}, ["`strategy.feedback`", "'much'"]),
    "an unknown field of a role": (
        {"teacher": {"model": "openai:x", "roles": {"critic": {"modle": "y"}}}},
        ["teacher.roles.critic.modle", "did you mean 'model'?"],
    ),
    "labels that YAML reads as booleans": ({"labels": {True: "", False: ""}}, ["`labels`", "quotes"]),
    "a missing folder of prompts": ({"prompts": "none"}, ["`prompts`", "not a folder"]),
    "an unknown provider": ({"teacher": {"model": "none:x"}}, ["'none:x'"]),
    "a missing data file": ({"data": {"seed": "none.jsonl"}}, ["none.jsonl does not exist"]),
    "a missing model": (
        {"student": {"mode": "head", "base": "no/such"}, "encoder": "no/such"},
        ["'no/such' cannot be loaded"],
    ),
    "a Chroma server that is not there": (
        {"chroma": "http://127.0.0.1:9"},
        ["no Chroma server answers at http://127.0.0.1:9", "`chroma run --path FOLDER --port 9`"],
    ),
    "a Chroma server with a port that does not exist": (
        {"chroma": "http://localhost:80000"},
        ["`chroma`: an address of a Chroma server looks like http://localhost:8000; of this one the port is"],
    ),
    "a Chroma server without its protocol": (
        {"chroma": "localhost:8000"},
        ["`chroma`: an address of a Chroma server looks like http://localhost:8000"],
    ),
    "the address of a Chroma server with a password": (
        {"chroma": "http://me:secret@localhost:8000"},
        ["set CHROMA_CLIENT_AUTH_CREDENTIALS"],
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_bad_task_gives_one_clear_error_and_no_run_folder(
    name: str, cli: Make, write_task: Make, tmp_path: Path
) -> None:
    parts, words = BAD_TASKS[name]
    done = cli(
        "run", write_task(tmp_path, **parts), "--out", "out", env={**os.environ, "OPENAI_API_KEY": "k"}
    )
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["no seeds; give at least one text for two labels"]),
        ('{"text": "a", "label": "order_status"}\n', ["all 1 seeds are 'order_status'"]),
        ('{"text": "a", "label": "order_state"}\n', ["line 1", "did you mean 'order_status'?"]),
        ('{"text": "a", "label": "order_status"}\n' * 2, ["all 1 seeds are 'order_status'"]),
        (
            '{"text": "a", "label": "order_status"}\n{"text": "A!", "label": "return_refund"}\n',
            ["as 'order_status' and as 'return_refund'"],
        ),
        ('{"text": "a"}\n', ["line 1", "no field 'label'"]),
        ('{"text": "' + "x" * 1_000_000 + '", "label": "order_status"}\n', ["1,000,000 characters"]),
        ('{"text": "a\\u0000b", "label": "order_status"}\n', ["NUL byte"]),
        (b'{"text": "\xff", "label": "order_status"}\n', ["line 1 is not UTF-8", "0xff"]),
        ("[1, 2]\n", ["line 1 is a JSON list"]),
    ],
    ids=["empty", "one-class", "label", "duplicate", "conflict", "field", "megabyte", "nul", "utf8", "list"],
)
def test_bad_rows_give_one_clear_error_and_no_run_folder(
    content: str | bytes, words: list[str], cli: Make, write_task: Make, assert_refused: Make, tmp_path: Path
) -> None:
    task = write_task(tmp_path)
    (tmp_path / "seed.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_refused(cli("run", task, "--out", "out"), "seed.jsonl", *words)
    assert not (tmp_path / "out").exists()


def test_a_text_in_two_sets_is_refused(
    cli: Make, write_task: Make, assert_refused: Make, tmp_path: Path
) -> None:
    task = write_task(tmp_path)
    shutil.copy(tmp_path / "test.jsonl", tmp_path / "gate.jsonl")
    assert_refused(cli("run", task), "48 texts are both in gate and in test")


def test_a_csv_with_the_wrong_columns_gives_one_clear_error(
    cli: Make, write_task: Make, assert_refused: Make, tmp_path: Path
) -> None:
    (tmp_path / "seed.csv").write_text("review;verdict\ngood;yes\n")
    task = write_task(tmp_path, data={"seed": "seed.csv"})
    assert_refused(
        cli("run", task), "seed.csv line 2", "no field 'text'", "'review', 'verdict'", "rename the column"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [("labels: [a, b", ["is not YAML"]), ("- 1", ["found a list"]), ("", ["found a NoneType"])],
)
def test_a_malformed_task_file_gives_one_clear_error(
    content: str, words: list[str], cli: Make, assert_refused: Make, tmp_path: Path
) -> None:
    (tmp_path / "task.yaml").write_text(content)
    assert_refused(cli("run", "task.yaml"), "task.yaml", *words)


def test_a_server_that_others_could_use_without_a_token_is_refused(cli: Make, assert_refused: Make) -> None:
    assert_refused(cli("serve", "student", "--host", "0.0.0.0"), "TUTELAGE_SERVE_TOKEN is not set")
    assert_refused(cli("serve", "student", "--port", "65536"), "--port", "serve --help")


def test_wrong_options_give_one_clear_error(cli: Make, assert_refused: Make) -> None:
    assert_refused(
        cli("graph", "--format", "gif"), "'gif'", "'mermaid', 'svg', 'png', 'ascii'", "graph --help"
    )
    assert_refused(cli("resume", "runs/first", "--calls", "many"), "--calls", "resume --help")
    assert_refused(cli("run"), "Missing argument 'TASK'", "run --help")
    assert_refused(cli("train"), "No such command 'train'")


def test_paths_that_do_not_exist_or_are_no_runs_give_one_clear_error(
    cli: Make, assert_refused: Make, tmp_path: Path
) -> None:
    assert_refused(cli("run", "nothing.yaml"), "nothing.yaml does not exist", "tutelage init")
    for command in ("resume", "report"):
        assert_refused(cli(command, tmp_path), "is not a run folder", "tutelage runs")
        assert_refused(cli(command, "runs/none"), "runs/none does not exist", "tutelage runs")
    assert_refused(cli("predict", tmp_path, "hello"), "holds no student")
    assert_refused(cli("runs", "nope"), "the folder nope does not exist")
    assert_refused(cli("report", tmp_path, "runs/none"), "is not a run folder")
    assert_refused(cli("report", tmp_path, "--out", "page.html"), "give two or more run folders")
    assert_refused(cli("report", "a", "b", "--control", "c"), "--control belongs to the report of one run")
    (tmp_path / "folder.yaml").mkdir()
    assert_refused(cli("run", "folder.yaml"), "folder.yaml is a folder; give the file")


def test_a_missing_device_is_refused_before_anything_is_written(
    cli: Make, write_task: Make, assert_refused: Make, tmp_path: Path
) -> None:
    task = write_task(tmp_path, student={"mode": "head", "device": "gpu"})
    assert_refused(cli("run", task, "--out", "out"), "device 'gpu' is not available", "cpu")
    assert not (tmp_path / "out").exists()
