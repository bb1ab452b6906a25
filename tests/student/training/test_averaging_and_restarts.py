"""Test averaging of weights, and restarts of a training that does not learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.training.kept_weights import WeightAverage
from tutelage.student.training.loop import train
from tutelage.student.training.observer import Observer

LABELS = ["refund", "status"]


def texts_of(rows: list[Row]) -> list[str]:
    return [row["text"] for row in rows]


def test_weights_are_averaged_over_the_last_steps() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    average = WeightAverage([parameter], 0.5, 4)
    for step in range(4):
        with torch.no_grad():
            parameter.copy_(torch.tensor([step, 10.0 * step]))
        average.update(step)
    average.apply()
    assert parameter.tolist() == pytest.approx([2.5, 25.0])


def test_averaging_changes_a_student_and_a_share_of_zero_keeps_its_last_weights(quick, encoder, easy) -> None:
    last, also, mean = (
        train(easy, LABELS, replace(quick, average=share), seed=0, encoder=encoder).logits(texts_of(easy))
        for share in (0.0, 0.0, 0.9)
    )
    assert last == pytest.approx(also)
    assert np.abs(last - mean).max() > 0.05


def test_a_training_whose_loss_does_not_fall_is_restarted_twice(quick, encoder, easy) -> None:
    logged: dict[str, Any] = {}
    observer = Observer(logged.update)
    absurd = replace(quick, min_steps=100, learning_rate=50.0)
    student = train(easy, LABELS, absurd, seed=0, encoder=encoder, observer=observer)
    assert logged == {"restarted": 2}
    assert student.predict_proba(texts_of(easy)).shape == (24, 2)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "ner"])
def test_a_training_that_learns_is_not_restarted(quick, encoder, easy, kind: str) -> None:
    logged: dict[str, Any] = {}
    observer = Observer(logged.update)
    label = {"multilabel": '["{}"]', "ner": '[[0, 5, "{}"]]'}.get(kind, "{}")
    rows = [Row(**{**row, "label": label.format(row["label"])}) for row in easy]
    train(
        rows,
        LABELS,
        replace(quick, kind=kind, min_steps=100),
        seed=0,
        encoder=encoder,
        observer=observer,
    )
    assert logged == {}


def test_a_training_with_one_label_is_not_restarted(quick, encoder, easy) -> None:
    logged: dict[str, Any] = {}
    observer = Observer(logged.update)
    train(
        easy[:12],
        LABELS,
        replace(quick, min_steps=100),
        seed=0,
        encoder=encoder,
        observer=observer,
    )
    assert logged == {}
