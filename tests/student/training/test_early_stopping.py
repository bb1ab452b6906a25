"""Test early stopping: which rows are held out, when a training stops, and which weights are kept."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.models.base import Student
from tutelage.student.training.adapters.classifier import fresh, full_adapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.kept_weights import BestWeights, hold_out
from tutelage.student.training.loop import continue_training, train
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


def test_training_stops_after_three_checks_that_are_no_better(
    stopping: TrainingConfig, easy: list[Row]
) -> None:
    student = fresh(LABELS, stopping, seed=0)
    adapter = full_adapter(TrainingSet.of(easy), student, stopping)
    bias, refunds = student.model.classifier.bias, [row for row in easy if row["label"] == "refund"]
    best = BestWeights(adapter, refunds, 100, ALONE)
    stops = []
    for step in range(1, 61):  # a check after every tenth step
        with torch.no_grad():  # the student says "refund" for every text, or "status"
            bias.copy_(torch.tensor([9.0, -9.0] if 20 <= step < 30 else [-9.0, 9.0]))
        if best.stop_after(step):
            stops.append(step)
    assert best.step == 20
    assert stops == [50]
    assert bias.tolist() == [-9.0, 9.0]
    best.apply()
    assert bias.tolist() == [9.0, -9.0]


def test_without_held_out_rows_nothing_is_checked(stopping: TrainingConfig, easy: list[Row]) -> None:
    adapter = full_adapter(TrainingSet.of(easy), fresh(LABELS, stopping, seed=0), stopping)
    before = [weight.detach().clone() for weight in adapter.parameters]
    best = BestWeights(adapter, [], 10, ALONE)
    assert not any(best.stop_after(step) for step in range(1, 11))
    best.apply()
    assert best.step == 0
    assert all(map(torch.equal, before, adapter.parameters))


def test_rows_that_are_learnt_early_need_fewer_steps(
    stopping: TrainingConfig, easy: list[Row], encoder: Encoder
) -> None:
    def trained() -> tuple[Student, list[int], dict[str, Any]]:
        steps, logged = list[int](), dict[str, Any]()
        observer = Observer(logged.update, lambda number, of: steps.append(number))
        config = replace(stopping, min_steps=200)
        return train(easy, LABELS, config, seed=0, encoder=encoder, observer=observer), steps, logged

    student, steps, logged = trained()
    every = -(-200 // 3) * 3 // 10  # 19 rows in batches of 8 are 3 steps an epoch
    assert len(steps) == logged["best_step"] + 3 * every < 200
    assert evaluate(student, hold_out(easy, stopping, seed=0)[1])["metric"] == 1
    again, _, same = trained()
    assert same == logged
    assert student.predict_proba([easy[0]["text"]]) == pytest.approx(
        again.predict_proba([easy[0]["text"]]), abs=0
    )


@pytest.mark.parametrize("kind", ["multilabel", "ner"])
def test_other_types_of_task_stop_by_their_own_metric(
    kind: str, stopping: TrainingConfig, easy: list[Row], encoder: Encoder
) -> None:
    label = {"multilabel": '["{}"]', "ner": '[[0, 5, "{}"]]'}[kind]
    rows = [Row(**{**row, "label": label.format(row["label"])}) for row in easy]
    logged = dict[str, Any]()
    config, observer = replace(stopping, kind=kind), Observer(logged.update)
    student = train(rows, LABELS, config, seed=0, encoder=encoder, observer=observer)
    assert 0 < logged["best_step"] <= 60
    further = continue_training(student, rows, config, seed=1, encoder=encoder, observer=observer)
    assert further.kind == kind


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mode": "head"}, "`early_stopping` is not for a student of mode `head`; leave it out"),
        ({"average": 0.2}, r"`early_stopping` is not for averaged weights \(`average`\); leave it out"),
    ],
)
def test_a_setting_that_does_not_go_with_it_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        TrainingConfig(early_stopping=True, **fields)
