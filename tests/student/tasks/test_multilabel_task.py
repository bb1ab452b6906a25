"""Test the checks of task files with several labels a text, and how their rows are sampled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.task.load import Task, load_task, parse_task
from tutelage.graph.task.splits import load_splits
from tutelage.graph.task.templates import scaffold
from tutelage.student.errors import InputError
from tutelage.student.tasks.multilabel import INVENTED, MULTILABEL

LABELS = ["room", "food", "staff"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "task.yaml",
            "return_refund:",
            "missed:",
            "'missed' cannot name a label of `kind: multilabel`; rename the label",
        ),
        (
            "task.yaml",
            "  test: test.jsonl\n",
            "  unlabelled: teacher.jsonl\nstrategy: llkd\n",
            "strategy 'llkd' needs the probability of one label for each text: it is not for",
        ),
        (
            "seed.jsonl",
            '["order_status"]',
            "3",
            'seed.jsonl line 23: labels is int, expected a list of labels, such as [] or ["a", "b"]',
        ),
        (
            "seed.jsonl",
            '["order_status"]',
            '["order_statsu"]',
            "'order_statsu' is not one of the task's 6 labels; did you mean 'order_status'?",
        ),
    ],
    ids=["a label called missed", "llkd", "a number", "an unknown label"],
)
def test_bad_input_is_reported_in_one_line(
    command: Callable[..., Any],
    multilabel_task: Task,
    tmp_path: Path,
    file: str,
    old: str,
    new: str,
    message: str,
) -> None:
    assert multilabel_task.data.seed.path
    shutil.copytree(multilabel_task.data.seed.path.parent, tmp_path / "task")
    path = tmp_path / "task" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    done = command("run", tmp_path / "task" / "task.yaml", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"metric": "bleu"}, "`metric`: expected one of macro_f1, micro_f1, accuracy, got 'bleu'"),
        ({"labels": ["one"]}, "`labels`: 1 label given, `kind: multilabel` needs at least 2"),
        ({"labels": ["one", INVENTED]}, "'invented' cannot name a label"),
        ({"strategy": {"base": "auto", "objective": {"target": "soft"}}}, "it is not for `kind: multilabel`"),
    ],
)
def test_an_invalid_task_is_reported_in_one_line(
    multilabel_task: Task, parts: dict[str, Any], message: str
) -> None:
    raw = multilabel_task.model_dump(exclude_none=True)
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **parts}, "task.yaml", Path())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ksm_is_refused_for_several_labels(multilabel_task: Task) -> None:
    raw = multilabel_task.model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": multilabel_task.teacher.corpus}
    with pytest.raises(InputError, match=r"strategy 'ksm' .* is not for `kind: multilabel`"):
        parse_task({**raw, "strategy": "ksm"}, "task.yaml", Path())


def test_init_writes_a_task_of_several_labels_that_can_be_planned(tmp_path: Path) -> None:
    from tutelage.graph.planning.plan import plan as planned

    scaffold(tmp_path, "multilabel")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, list(made.labels)) == ("multilabel", LABELS)
    assert planned(made)["roles"]["labeler"]["calls"][0] > 0


def test_rows_drawn_for_one_label_count_for_their_other_labels(tmp_path: Path) -> None:
    both, alone = [["food", "room"]] * 3, [["food"]] * 5
    texts = [{"text": f"text {i}", "labels": labels} for i, labels in enumerate([*both, *alone, []])]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    raw = {
        "name": "drawn",
        "kind": "multilabel",
        "instruction": "x",
        "labels": ["food", "room"],
        "data": {"seed": {"path": "all.jsonl", "per_label": 2}},
        "teacher": {"model": "openai:x"},
    }
    drawn = load_splits(parse_task(raw, "task", tmp_path)).seed
    held = [label for row in drawn for label in MULTILABEL.labels_in(row["label"])]
    assert held.count("food") >= 2
    assert held.count("room") == 2
    assert held.count("") == 1, "there is no second text without a label"
