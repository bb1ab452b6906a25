"""Test the weights of rows, soft targets and label smoothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.training_set import TrainingSet

LABELS = ["refund", "status"]
HEAD = TrainingConfig(mode="head", class_weights="none", head_decay=1e-3)


def with_fields(rows: list[Row], **fields: Any) -> list[Row]:
    return [Row(**{**row, **fields}) for row in rows]


def texts_of(rows: list[Row]) -> list[str]:
    return [row["text"] for row in rows]


def test_a_row_of_weight_two_counts_as_two_rows_in_a_head(encoder, easy) -> None:
    heavy = [*with_fields(easy[:4], weight=2.0), *easy[12:]]
    twice = [*easy[:4], *easy[:4], *easy[12:]]
    one, other = (
        train(rows, LABELS, TrainingConfig(mode="head"), seed=0, encoder=encoder) for rows in (heavy, twice)
    )
    assert one.weight == pytest.approx(other.weight, abs=1e-3)


def test_a_row_of_weight_zero_does_not_change_a_head(encoder, easy) -> None:
    wrong = with_fields(easy[:6], label="status", weight=0.0)
    one, other = (
        train(rows, LABELS, TrainingConfig(mode="head"), seed=0, encoder=encoder)
        for rows in (easy[6:], easy[6:] + wrong)
    )
    assert one.weight == pytest.approx(other.weight, abs=1e-3)


def contested(row: Row) -> list[Row]:
    """Return the same text under both labels, three times as heavy under the first."""
    return [
        Row(**{**row, "label": "refund", "weight": 1.5}),
        Row(**{**row, "label": "status", "weight": 0.5}),
    ]


def test_probabilities_follow_the_weights_of_contradicting_rows(quick, encoder, easy) -> None:
    for training_config in (HEAD, replace(quick, class_weights="none", min_steps=120)):
        student = train(contested(easy[0]), LABELS, training_config, seed=0, encoder=encoder)
        assert student.predict_proba([easy[0]["text"]])[0, 0] == pytest.approx(0.75, abs=0.06)


def test_a_student_learns_the_distribution_of_a_soft_target(quick, encoder, easy) -> None:
    rows = with_fields(easy[:4], target=[0.7, 0.3])
    for training_config in (HEAD, replace(quick, class_weights="none", min_steps=120)):
        student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
        assert student.predict_proba(texts_of(rows))[:, 0] == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize("mode", ["full", "head"])
def test_a_multilabel_student_learns_a_probability_for_each_label(quick, encoder, easy, mode: str) -> None:
    rows = with_fields(easy[:4], label='["refund"]', target=[0.9, 0.6])
    made = HEAD if mode == "head" else replace(quick, min_steps=150)
    training_config = replace(made, kind="multilabel", class_weights="none")
    student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
    found = student.predict_proba(texts_of(rows))
    assert found.mean(0) == pytest.approx([0.9, 0.6], abs=0.07)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        (
            {"target": [1.0]},
            "classification",
            r"a row's `target` is \[1.0\]; it must hold a probability for each",
        ),
        ({"target": [0.7, 0.7]}, "classification", "of the 2 labels, with a sum of 1"),
        ({"target": [1.5, -0.5]}, "classification", "it must hold a probability for each of the 2 labels"),
        ({"target": [0.5, 0.5]}, "ner", "rows of ner tasks cannot have a `target`"),
        ({"weight": -1.0}, "classification", "weights of rows must be finite and at least 0"),
        ({"weight": float("nan")}, "classification", "weights of rows must be finite and at least 0"),
        ({"weight": 0.0}, "classification", "at least one above 0"),
    ],
)
def test_invalid_weights_and_targets_are_refused(encoder, easy, fields, kind, message) -> None:
    with pytest.raises(InputError, match=message):
        train(with_fields(easy[:2], **fields), LABELS, TrainingConfig(kind=kind), seed=0, encoder=encoder)


def test_smoothing_spreads_hard_labels_and_leaves_soft_targets_unchanged(easy) -> None:
    rows = [easy[0], *with_fields(easy[1:2], target=[0.6, 0.4])]
    found = TrainingSet.of(rows).distributions(LABELS, smoothing=0.2)
    assert found == pytest.approx(np.array([[0.9, 0.1], [0.6, 0.4]]))
    several = [Row(**{**row, "label": '["status"]'}) for row in rows]
    found = TrainingSet.of(several).probabilities(LABELS, smoothing=0.2)
    assert found == pytest.approx(np.array([[0.1, 0.9], [0.6, 0.4]]))


def test_smoothing_makes_a_student_less_confident(quick, encoder, easy) -> None:
    texts = texts_of(easy)
    plain, smooth = (
        train(easy, LABELS, replace(quick, smoothing=share), seed=0, encoder=encoder) for share in (0.0, 0.3)
    )
    assert plain.predict_proba(texts).max(1).mean() > 0.92
    assert smooth.predict_proba(texts).max(1).mean() == pytest.approx(0.85, abs=0.05)
