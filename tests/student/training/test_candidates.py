"""Test the named training configurations, and how task.yaml chooses and changes them."""

from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.task.load import override, parse_task
from tutelage.graph.task.schema import Task
from tutelage.student.errors import InputError
from tutelage.student.training.candidates import candidates, configuration
from tutelage.student.training.configuration import TrainingConfig


@pytest.mark.parametrize(
    ("training_config", "names"),
    [
        (TrainingConfig(), ["probe_first", "weighted", "probe", "contrastive"]),
        (TrainingConfig(kind="multilabel"), ["plain", "weighted", "probe", "probe_first"]),
        (TrainingConfig(kind="pairs", fields=("a", "b")), ["weighted", "plain"]),
        (TrainingConfig(kind="ner"), ["plain", "weighted"]),
        (TrainingConfig(kind="seq2seq"), ["plain"]),
        (TrainingConfig(mode="head"), ["weighted"]),
    ],
    ids=lambda value: f"{value.kind}-{value.mode}" if isinstance(value, TrainingConfig) else "",
)
def test_each_task_type_has_its_candidates(training_config: TrainingConfig, names: list[str]) -> None:
    found = candidates(training_config)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert configuration(training_config, "auto") == found[names[0]]


def test_the_contrastive_candidate_is_for_few_rows() -> None:
    assert "contrastive" in candidates(TrainingConfig(), rows=30)
    assert "contrastive" not in candidates(TrainingConfig(), rows=450)


def test_a_fixed_field_overrides_every_candidate_and_equal_ones_are_left_out() -> None:
    found = candidates(TrainingConfig(kind="multilabel", class_weights="inverse"), fixed=["class_weights"])
    assert {one.class_weights for one in found.values()} == {"inverse"}
    assert list(found) == ["plain", "probe", "probe_first"]  # `weighted` differs only in its class weights


def test_the_epochs_of_the_user_do_not_apply_to_a_probe_alone() -> None:
    found = candidates(TrainingConfig(epochs=3), fixed=["epochs"])
    assert {name: one.epochs for name, one in found.items()} == {
        "weighted": 3,
        "probe": 0,
        "probe_first": 3,
        "contrastive": 0,
    }


def test_the_pooling_of_the_user_leaves_only_candidates_with_that_pooling() -> None:
    assert list(candidates(TrainingConfig(), fixed=["pooling"])) == ["weighted"]
    mean = candidates(TrainingConfig(pooling="mean"), fixed=["pooling"])
    assert {one.pooling for one in mean.values()} == {"mean"}


def task(**student: Any) -> Task:
    kind, strategy = student.pop("kind", "classification"), student.pop("strategy", "auto")
    raw = {
        "name": "demo",
        "kind": kind,
        "instruction": "Say which.",
        "labels": {"a": "the first", "b": "the second"},
        "data": {"seed": "seed.jsonl", "unlabelled": "pool.jsonl"},
        "strategy": strategy,
        "teacher": {"model": "openai:any"},
        "student": student,
    }
    return parse_task(raw, "task.yaml", Path())


def test_a_task_without_a_choice_uses_the_default_of_its_type() -> None:
    assert task().training_config() == configuration(TrainingConfig(), "auto")
    assert task().training_config().probe_first
    assert task(kind="ner").training_config().class_weights == "none"
    assert task(mode="head").training_config() == configuration(TrainingConfig(mode="head"), "auto")


@pytest.mark.parametrize("strategy", ["llkd", "ksm"])
def test_methods_that_select_or_weigh_at_every_step_use_no_probe(strategy: str) -> None:
    assert task(strategy=strategy).training_config() == configuration(TrainingConfig(), "weighted")
    assert task(strategy=strategy, training="probe_first").training_config().probe_first


def test_a_task_can_name_a_configuration_and_change_single_fields() -> None:
    made = task(training="probe_first", class_weights="none", average=0.3, smoothing=0.1)
    training_config = made.training_config()
    assert training_config.probe_first
    assert (training_config.class_weights, training_config.average, training_config.smoothing) == (
        "none",
        0.3,
        0.1,
    )
    assert made.training_config("probe").epochs == 0
    assert made.training_config("auto") == made.training_config()
    assert not made.training_config("weighted").probe_first


def test_overriding_a_task_leaves_unset_fields_unset() -> None:
    again = override(task(), {"seed": 1})
    assert again.student.epochs is None
    assert list(candidates(again.training_config(), fixed=again.student.fixed())) == list(
        candidates(TrainingConfig())
    )


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"epochs": 0}, "`epochs: 0` trains nothing but a linear probe: set `training: probe`"),
        ({"training": "probe", "epochs": 4}, "`training: probe` has no epochs"),
        ({"probe_first": True, "pooling": "cls"}, "`probe_first` needs mean-pooled embeddings"),
        ({"smoothing": 1}, "smoothing"),
        ({"class_weights": "rot"}, "class_weights"),
        ({"training": "best"}, "training"),
    ],
)
def test_student_fields_that_contradict_each_other_are_refused(student: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        task(**student)


@pytest.mark.parametrize(
    "student", [{"kind": "ner", "training": "probe"}, {"mode": "head", "training": "probe_first"}]
)
def test_a_configuration_that_does_not_fit_the_task_is_refused(student: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"does not fit this task .* take .*weighted.* or auto"):
        task(**student).training_config()


def test_plain_can_be_named_although_it_is_not_compared() -> None:
    assert "plain" not in task().training_candidates(100)
    assert task(training="plain").training_config().class_weights == "none"
