"""Test the checks of task files with named entities."""

from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.planning.plan import plan
from tutelage.graph.task.load import Task, load_task, parse_task
from tutelage.graph.task.templates import scaffold
from tutelage.student.errors import InputError


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"student": {"mode": "head"}}, "`student.mode` head is not for `kind: ner`; set it to full"),
        ({"strategy": "llkd"}, "strategy 'llkd' needs the probability of one label for each text: it is not"),
        ({"strategy": "ksm"}, "strategy 'ksm' needs the probability of one label for each text: it is not"),
        ({"labels": {"missed": "", "city": ""}}, "'missed' cannot name a label of `kind: ner`"),
        ({"labels": {"boundary": ""}}, "'boundary' cannot name a label of `kind: ner`"),
        ({"labels": {}}, "0 labels given, `kind: ner` needs at least 1"),
        ({"metric": "f1"}, "expected one of micro_f1, macro_f1, accuracy, got 'f1'"),
        ({"fields": ["one", "two"]}, "`fields` names the two texts of a pair"),
    ],
)
def test_settings_that_do_not_fit_entities_are_reported_in_one_line(
    ner_task: Task, parts: dict[str, Any], message: str
) -> None:
    raw = ner_task.model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": ner_task.teacher.corpus}
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **parts}, "task.yaml", Path())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_entity_type_is_enough(ner_task: Task) -> None:
    raw = {**ner_task.model_dump(exclude_none=True), "labels": {"city": "a town"}}
    assert list(parse_task(raw, "task.yaml", Path()).labels) == ["city"]


def test_init_writes_an_entity_task_that_can_be_planned(tmp_path: Path) -> None:
    scaffold(tmp_path, "ner")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, made.metric) == ("ner", "micro_f1")
    assert plan(made)["roles"]["labeler"]["calls"][0] > 0
