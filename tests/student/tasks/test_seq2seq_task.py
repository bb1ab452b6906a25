"""Test the checks of task files with target texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tutelage.graph.planning.plan import plan
from tutelage.graph.task.load import load_task, parse_task
from tutelage.graph.task.templates import scaffold
from tutelage.student.errors import InputError


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("bleu", "expected one of exact_match, rouge_l, chrf, got 'bleu'; or a user function, file.py"),
        ("no_such_file:f", "no function at 'no_such_file:f' (No module named 'no_such_file')"),
        ("statistics:no_such", "(statistics has no 'no_such')"),
        ("statistics:", "no function at 'statistics:'"),
        (":f", "no function at ':f'"),
    ],
)
def test_an_invalid_metric_is_reported_in_one_line(
    metric: str, message: str, quick_seq2seq_task: Any
) -> None:
    with pytest.raises(InputError) as raised:
        parse_task(quick_seq2seq_task(metric=metric), "task.yaml", Path())
    assert message in str(raised.value)
    assert str(raised.value).startswith("task.yaml: `metric`: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"student": {"mode": "head"}}, "`student.mode` head is not for `kind: seq2seq`; set it to full"),
        ({"strategy": "llkd"}, "it is not for `kind: seq2seq`; use auto, or entropy or least_confidence"),
        ({"strategy": "ksm"}, "it is not for `kind: seq2seq`"),
        ({"metric": "own:nothing"}, "no function at 'own:nothing'"),
        (
            {"kind": "classification", "labels": ["a", "b"], "metric": "accuracy", "student": {"beams": 3}},
            "are for `kind: seq2seq`; leave them out",
        ),
        ({"student": {"max_target": 4}}, "tokens, and the student writes at most 4: raise"),
        ({"student": {"base": "minilm"}}, "`student.base` minilm cannot generate text; take an"),
        ({"data": {"seed": {"path": "blank.jsonl"}}}, "blank.jsonl line 1: target is blank"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_bad_input_is_reported_in_one_line_before_any_call(
    command: Callable[..., Any], tmp_path: Path, parts: dict[str, Any], message: str, quick_seq2seq_task: Any
) -> None:
    (tmp_path / "blank.jsonl").write_text(json.dumps({"text": "3 May 2024", "target": " "}) + "\n")
    raw = quick_seq2seq_task()
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    for name, part in parts.items():
        raw[name] = {**raw[name], **part} if name in ("student", "data") else part
    if "kind" in parts:
        raw["student"].pop("max_target")
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(raw))
    found = command("run", tmp_path / "task.yaml", "--out", tmp_path / "run")
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_init_writes_a_task_of_targets_that_can_be_planned(tmp_path: Path) -> None:
    scaffold(tmp_path, "seq2seq")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, made.labels, made.student.base) == ("seq2seq", {}, "google-t5/t5-small")
    assert plan(made)["roles"]["labeler"]["calls"][0] > 0


def test_labels_are_refused(tmp_path: Path) -> None:
    raw = {
        "name": "x",
        "kind": "seq2seq",
        "instruction": "x",
        "data": {"seed": "seed.jsonl"},
        "labels": ["a", "b"],
    }
    with pytest.raises(InputError, match="`labels` are not for `kind: seq2seq`"):
        parse_task({**raw, "teacher": {"model": "openai:x"}}, "task", tmp_path)
