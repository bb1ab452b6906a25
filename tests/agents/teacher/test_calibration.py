"""Test how the confidence of a teacher is measured and calibrated."""

import json

import numpy as np
import pytest
from tutelage.agents.teacher.calibration import (
    Calibration,
    calibrate,
    calibrated,
    expected_calibration_error,
    reliability,
)


def scaling(temperature: float, labels: int) -> Calibration:
    return {**calibrate([], [], "stated", labels), "temperature": temperature}


def answers(seed: int, size: int, *, temperature: float, labels: int) -> tuple[list[float], list[bool]]:
    """Return confidences, and whether each answer is right, of a teacher with this true temperature."""
    rng = np.random.default_rng(seed)
    stated = 1 / (1 + (labels - 1) * np.exp(-rng.normal(4, 3, size)))
    right = [rng.random() < calibrated(float(p), scaling(temperature, labels)) for p in stated]
    return stated.tolist(), right


@pytest.mark.parametrize(
    ("confidence", "temperature", "labels", "wanted"),
    [
        (0.8, 2.0, 2, 2 / 3),  # odds of 4 to 1 become 2 to 1
        (0.8, 0.5, 2, 16 / 17),  # or 16 to 1
        (0.64, 2.0, 10, 4 / 13),  # 16 times each of nine others becomes 4 times
        (0.2, 2.0, 2, 1 / 3),
        (0.25, 7.0, 4, 0.25),  # even stays even
        (0.7, 1.0, 5, 0.7),
        (1.0, 2.0, 2, 0.990098),  # from 9999 to 1: confidence 1 is taken as 0.9999
        (0.0, 1.0, 2, 0.0),
    ],
)
def test_scaling_takes_the_root_of_the_odds_against_each_other_label(
    confidence: float, temperature: float, labels: int, wanted: float
) -> None:
    assert calibrated(confidence, scaling(temperature, labels)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.4, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("labels", [2, 3, 150])
def test_scaling_keeps_the_order_of_confidences(temperature: float, labels: int) -> None:
    stated = np.linspace(0.001, 0.999, 200)
    scaled = [calibrated(float(p), scaling(temperature, labels)) for p in stated]
    assert all(0 <= p <= 1 for p in scaled)
    assert scaled == sorted(scaled)
    if temperature >= 1:
        assert len(set(scaled)) == 200


def test_bins_exclude_their_low_end_and_include_their_high_end() -> None:
    bins = reliability([0.0, 0.1, 0.7, 0.71, 0.79, 1.0], [False, False, True, True, False, True])
    assert [(b["low"], b["high"], b["count"]) for b in bins] == [
        (0.0, 0.1, 2), (0.6, 0.7, 1), (0.7, 0.8, 2), (0.9, 1.0, 1),
    ]  # fmt: skip
    assert [b["accuracy"] for b in bins] == [0, 1, 0.5, 1]
    assert [b["confidence"] for b in bins] == pytest.approx([0.05, 0.7, 0.75, 1])


def test_the_calibration_error_is_the_mean_distance_between_accuracy_and_confidence() -> None:
    stated = [0.95] * 4 + [0.55] * 2
    right = [True, True, True, False, True, True]
    assert expected_calibration_error(stated, right) == pytest.approx((4 * 0.20 + 2 * 0.45) / 6)
    assert expected_calibration_error(stated, right, bins=1) == pytest.approx(5 / 6 - 4.9 / 6)


@pytest.mark.parametrize("true", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("labels", [2, 6, 77])
def test_the_true_temperature_of_a_teacher_is_recovered(true: float, labels: int) -> None:
    found = calibrate(*answers(labels, 500, temperature=true, labels=labels), "logprobs", labels)
    assert found["temperature"] == pytest.approx(true, rel=0.15)
    assert found["note"] == ""


@pytest.mark.parametrize("seed", range(5))
def test_calibration_corrects_an_overconfident_teacher_on_unseen_rows(seed: int) -> None:
    stated, right = answers(seed, 500, temperature=2.5, labels=6)
    found = calibrate(stated, right, "logprobs", 6)
    assert found["ece_before"] > 0.2
    assert found["ece_after"] < 0.07
    fresh, truth = answers(seed + 100, 2000, temperature=2.5, labels=6)
    scaled = [calibrated(p, found) for p in fresh]
    assert expected_calibration_error(scaled, truth) < 0.05


def test_a_calibration_holds_every_measured_figure() -> None:
    found = calibrate(
        [0.9] * 50 + [0.6] * 50, [True] * 45 + [False] * 5 + [True] * 30 + [False] * 20, "votes", 2
    )
    assert (found["source"], found["labels"], found["rows"]) == ("votes", 2, 100)
    assert found["accuracy"] == 0.75
    assert found["interval"] == pytest.approx([0.657, 0.825], abs=1e-3)
    assert found["ece_before"] == pytest.approx(0, abs=1e-9)
    assert found["temperature"] == pytest.approx(1, abs=0.05)
    assert [b["count"] for b in found["bins_before"]] == [50, 50]
    assert json.loads(json.dumps(found)) == found


def test_a_constant_confidence_becomes_the_share_of_right_answers() -> None:
    found = calibrate([0.95] * 100, [True] * 80 + [False] * 20, "stated", 4)
    assert calibrated(0.95, found) == pytest.approx(0.8, abs=0.005)
    assert "cannot tell right from wrong" in found["note"]


def test_a_teacher_that_is_right_on_every_row_does_not_get_confidence_one() -> None:
    found = calibrate([0.9] * 25 + [0.8] * 25, [True] * 50, "stated", 3)
    assert 0.97 < calibrated(0.9, found) < 0.99
    assert "right on every row" in found["note"]


def test_a_confidence_that_is_higher_for_wrong_answers_is_flattened_with_a_note() -> None:
    found = calibrate([0.95] * 30 + [0.6] * 30, [False] * 30 + [True] * 30, "stated", 2)
    assert 0.5 < calibrated(0.95, found) < 0.55
    assert "does not tell right from wrong" in found["note"]


def test_a_teacher_that_is_wrong_on_every_row_gets_a_low_confidence() -> None:
    found = calibrate([0.9, 0.7] * 20, [False] * 40, "stated", 2)
    assert found["accuracy"] == 0
    assert calibrated(0.9, found) < 0.54
    assert "wrong on every row" in found["note"]


def test_few_rows_are_measured_but_no_temperature_is_fitted() -> None:
    found = calibrate([0.9] * 19, [True] * 10 + [False] * 9, "stated", 2)
    assert found["temperature"] == 1
    assert found["ece_after"] == found["ece_before"] == pytest.approx(0.9 - 10 / 19)
    assert "19 rows are too few" in found["note"]


def test_without_rows_nothing_is_measured() -> None:
    found = calibrate([], [], "", 2)
    assert found["rows"] == 0
    assert found["accuracy"] is found["ece_before"] is found["ece_after"] is None
    assert found["interval"] == [0, 1]
    assert calibrated(0.8, found) == pytest.approx(0.8)
