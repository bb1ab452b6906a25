"""Test early stopping: which rows are held out, when a training stops, and which weights are kept."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student
from tutelage.student.tasks.fields import join
from tutelage.student.training.adapters.classifier import fresh, full_adapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.kept_weights import BestWeights, hold_out
from tutelage.student.training.loop import continue_training, train, untrained_student
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.ranks import ALONE
from tutelage.student.training.training_set import TrainingSet

LABELS = ["refund", "status"]


@pytest.fixture
def stopping(quick: TrainingConfig) -> TrainingConfig:
    return replace(quick, early_stopping=True)


def test_a_fifth_of_the_rows_is_held_out_with_all_labels(stopping: TrainingConfig, easy: list[Row]) -> None:
    trained, held_out = hold_out(easy, stopping, seed=0)
    assert sorted(row["id"] for row in (*trained, *held_out)) == sorted(row["id"] for row in easy)
    assert len(held_out) == 5
    assert set(Counter(row["label"] for row in held_out)) == set(LABELS)
    assert hold_out(easy, stopping, seed=0) == (trained, held_out)
    assert hold_out(easy, stopping, seed=1) != (trained, held_out)
    assert hold_out(easy[:4], stopping, seed=0) == (easy[:4], [])
    assert hold_out(easy, replace(stopping, early_stopping=False), seed=0) == (easy, [])
    assert hold_out(easy, replace(stopping, min_steps=0, probe_first=True), seed=0) == (easy, [])


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_say_little_about_the_task_are_trained_on(
    stopping: TrainingConfig, easy: list[Row], seed: int
) -> None:
    rare = [Row(**{**row, "label": f"a{i}"}) for i, row in enumerate(easy[:2])]
    soft = [Row(**{**row, "target": [0.9, 0.1]}) for row in easy[2:4]]
    light = [Row(**{**row, "weight": 0.0}) for row in easy[4:6]]
    trained, held_out = hold_out([*rare, *soft, *light, *easy[6:]], stopping, seed)
    assert all(row in trained for row in (*rare, *soft, *light))
    assert len(held_out) == 4, "of 18"


def classifier(
    config: TrainingConfig, rows: list[Row], held_out: list[Row]
) -> tuple[BestWeights, torch.nn.Parameter]:
    """Return what keeps the weights of an untrained student over 100 steps, and its classifier's bias."""
    student = fresh(LABELS, config, seed=0)
    adapter = full_adapter(TrainingSet.of(rows), student, config)
    return BestWeights(adapter, held_out, 100, ALONE), student.model.classifier.bias


def test_training_stops_after_three_checks_that_are_no_better(
    stopping: TrainingConfig, easy: list[Row]
) -> None:
    best, bias = classifier(stopping, easy, [row for row in easy if row["label"] == "refund"])
    stops = []
    for step in range(1, 61):  # a check after every tenth step
        with torch.no_grad():  # the student says "refund" for every text, or "status"
            bias.copy_(torch.tensor([9.0, -9.0] if 20 <= step < 30 else [-9.0, 9.0]))
        if best.stop_after(step):
            stops.append(step)
        assert best.adapter.model.training
    assert best.step == 20
    assert stops == [50]
    assert bias.tolist() == [-9.0, 9.0]
    best.apply()
    assert bias.tolist() == [9.0, -9.0]


def test_a_student_whose_answers_do_not_change_yet_goes_on_while_its_loss_falls(
    stopping: TrainingConfig, easy: list[Row]
) -> None:
    best, bias = classifier(stopping, easy, [row for row in easy if row["label"] == "refund"])
    for step in range(1, 101):
        with torch.no_grad():
            bias.copy_(torch.tensor([-9.0 + step / 100, 9.0]))
        assert not best.stop_after(step)
    assert best.step == 100


def test_a_collapsed_training_that_stops_early_is_restarted(
    stopping: TrainingConfig, easy: list[Row], encoder: Encoder
) -> None:
    steps, logged = list[int](), dict[str, Any]()
    observer = Observer(logged.update, lambda number, of: steps.append(number))
    absurd = replace(stopping, min_steps=100, learning_rate=50.0)
    train(easy, LABELS, absurd, seed=0, encoder=encoder, observer=observer)
    assert logged["restarted"] == 2
    assert steps.count(1) == 3
    assert len(steps) < 300


def test_without_held_out_rows_nothing_is_checked(stopping: TrainingConfig, easy: list[Row]) -> None:
    adapter = full_adapter(TrainingSet.of(easy), fresh(LABELS, stopping, seed=0), stopping)
    before = [weight.detach().clone() for weight in adapter.parameters]
    best = BestWeights(adapter, [], 10, ALONE)
    assert not any(best.stop_after(step) for step in range(1, 11))
    best.apply()
    assert best.step == 0
    assert all(map(torch.equal, before, adapter.parameters))


def test_a_student_that_only_memorises_is_trained_for_fewer_steps(
    stopping: TrainingConfig, easy: list[Row], encoder: Encoder
) -> None:
    """Labels that do not depend on the texts can only be learnt by heart, which raises the loss on others."""
    rows = [Row(**{**row, "label": LABELS[i % 2]}) for i, row in enumerate(easy)]

    def trained() -> tuple[Student, list[int], dict[str, Any]]:
        steps, logged = list[int](), dict[str, Any]()
        observer = Observer(logged.update, lambda number, of: steps.append(number))
        config = replace(stopping, min_steps=200)
        return train(rows, LABELS, config, seed=0, encoder=encoder, observer=observer), steps, logged

    student, steps, logged = trained()
    assert logged["best_step"] < len(steps) < 201
    checks = [step for step in range(1, 202) if step * 10 // 201 > (step - 1) * 10 // 201]
    assert checks.index(len(steps)) == checks.index(logged["best_step"]) + 3
    again, _, same = trained()
    assert same == logged
    texts = [row["text"] for row in easy]
    assert (student.predict_proba(texts) == again.predict_proba(texts)).all()


@pytest.mark.parametrize("kind", ["multilabel", "ner", "pairs"])
def test_other_types_of_task_keep_the_weights_with_the_lowest_loss(
    kind: str, stopping: TrainingConfig, easy: list[Row], encoder: Encoder
) -> None:
    label = {"multilabel": '["{}"]', "ner": '[[0, 5, "{}"]]', "pairs": "{}"}[kind]
    rows = [Row(**{**row, "label": label.format(row["label"])}) for row in easy]
    config = replace(stopping, kind=kind)
    if kind == "pairs":
        config = replace(config, fields=("a", "b"))
        rows = [Row(**{**row, "text": join({"a": row["text"], "b": "x"}, ("a", "b"))}) for row in rows]
    logged = dict[str, Any]()
    student = train(rows, LABELS, config, seed=0, encoder=encoder, observer=Observer(logged.update))
    untrained = untrained_student(LABELS, config, seed=0, encoder=encoder)
    held_out = hold_out(rows, config, seed=0)[1]
    texts, gold = [row["text"] for row in held_out], [row["label"] for row in held_out]
    losses = [one.predict(texts, gold).nll for one in (student, untrained)]
    assert losses[0] is not None
    assert losses[1] is not None
    assert losses[0].mean() < losses[1].mean() - 0.1
    assert logged["best_step"] > 0


def test_a_student_that_is_trained_further_sees_all_rows(
    stopping: TrainingConfig, easy: list[Row], encoder: Encoder
) -> None:
    logged = dict[str, Any]()
    start = train(easy, LABELS, stopping, seed=0, encoder=encoder)
    config, observer = replace(stopping, epochs=1), Observer(logged.update)
    continue_training(start, easy, config, seed=1, encoder=encoder, observer=observer)
    assert "best_step" not in logged


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mode": "head"}, "`early_stopping` is not for a student of mode `head`; leave it out"),
        ({"average": 0.2}, "`early_stopping` and `average` keep other weights; leave one of them out"),
    ],
)
def test_a_setting_that_does_not_go_with_it_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        TrainingConfig(early_stopping=True, **fields)
