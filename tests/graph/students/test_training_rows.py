"""The rows that a student is trained on, and their weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tutelage.graph.strategies import STRATEGIES, Strategy
from tutelage.graph.students.training_rows import mixed_row, own_rows, sample_row, sample_weight
from tutelage.student.corpus import Sample
from tutelage.student.data.rows import Row
from tutelage.student.tasks.classification import CLASSIFICATION

AUTO = STRATEGIES["auto"]


def test_rows_have_no_weight_by_default(draft: Callable[..., Sample]) -> None:
    rows = [Row(id="1", text="a", label="x")]
    assert own_rows(AUTO, rows) == rows
    assert "weight" not in sample_row(AUTO, draft("a", label="x", confidence=0.3))


def test_the_users_rows_have_the_weight_of_the_strategy() -> None:
    rows = [Row(id="1", text="a", label="x")]
    assert own_rows(replace(AUTO, own_weight=4.0), rows)[0]["weight"] == 4.0
    assert "weight" not in rows[0], "the given rows are not changed"


@pytest.mark.parametrize(
    ("strategy", "fields", "fold", "weight"),
    [
        (replace(AUTO, confidence_weight=True), {"confidence": 0.4}, None, 0.4),
        (replace(AUTO, confidence_weight=True), {}, None, 1.0),
        (replace(AUTO, importance=True), {"baseline_probability": [0.2, 0.6]}, None, 0.4),
        (replace(AUTO, importance=True), {"baseline_probability": [0.2, 0.6]}, 1, 0.6),
        (replace(AUTO, importance=True), {"baseline_probability": [0.2, 0.6], "kind": "pool"}, None, 1.0),
        (replace(AUTO, importance=True), {"baseline_probability": [0.0, 0.0]}, None, 0.01),
        (
            replace(AUTO, importance=True, confidence_weight=True),
            {"baseline_probability": [0.5], "confidence": 0.5},
            0,
            0.25,
        ),
    ],
    ids=["confidence", "no confidence", "importance", "of a fold", "drawn", "unlikely", "both"],
)
def test_a_sample_is_weighted_by_confidence_and_importance(
    strategy: Strategy, fields: dict[str, Any], fold: int | None, weight: float, draft: Callable[..., Sample]
) -> None:
    sample = draft("a", label="x", **fields)
    assert sample_weight(strategy, sample, fold) == pytest.approx(weight)


def test_a_teachers_label_can_be_mixed_with_the_students_prediction(draft: Callable[..., Sample]) -> None:
    sample = draft("a", label="x", predicted_before=[0.2, 0.8])
    assert "target" not in mixed_row(AUTO, sample, ["x", "y"], CLASSIFICATION)
    mixed = mixed_row(replace(AUTO, label_mix=0.25), sample, ["x", "y"], CLASSIFICATION)
    assert mixed["target"] == pytest.approx([0.8, 0.2])
    assert "target" not in mixed_row(
        replace(AUTO, label_mix=0.25), draft("b", label="x"), ["x", "y"], CLASSIFICATION
    )
