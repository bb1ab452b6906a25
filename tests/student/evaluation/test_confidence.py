"""Calibration of a student's confidence, compared with cases worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.confidence import (
    Reliability,
    calibration_error,
    fit_temperature,
    load_reliability,
    measured,
    soften,
)
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train


def reliability(*rows: tuple[float, bool]) -> Reliability:
    ordered = sorted(rows)
    return Reliability(1.0, 0.0, 0.0, [one for one, _ in ordered], [right for _, right in ordered])


def drawn(temperature: float, size: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities, and labels drawn from what they are after division by the temperature."""
    random = np.random.default_rng(0)
    scores = random.normal(0, 2, (size, 3))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    gold = np.array([random.choice(3, p=row) for row in soften(p, temperature)])
    return p, gold


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_the_labels_follow_is_found(temperature: float) -> None:
    p, gold = drawn(temperature)
    assert fit_temperature(p, gold) == pytest.approx(temperature, rel=0.08)
    found = measured(p, gold)
    assert found.error < 0.03
    assert (found.error_before > 0.05) == (temperature != 1.0)


@pytest.mark.parametrize("wrong", [0, 20])
def test_rows_that_are_all_right_say_nothing_about_the_temperature(wrong: int) -> None:
    p = np.tile([0.5, 0.3, 0.2], (60, 1))
    gold = np.array([0] * (60 - wrong) + [1] * wrong)
    assert measured(p, gold).at_limit == (wrong == 0)


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    confidence, right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)


def test_the_threshold_is_the_lowest_confidence_with_the_precision() -> None:
    # Of the 10 most confident rows all are right, of 20 nine tenths, of 30 two thirds.
    rows = (
        [(0.9, True)] * 10 + [(0.7, True)] * 8 + [(0.7, False)] * 2 + [(0.5, True)] * 2 + [(0.5, False)] * 8
    )
    found = reliability(*rows)
    assert found.threshold(1.0) == 0.9
    assert found.threshold(0.9) == 0.7
    assert found.threshold(0.5) == 0.5


def test_a_precision_that_is_never_reached_is_refused() -> None:
    rows = [(0.9, True)] * 9 + [(0.8, False)] * 11
    with pytest.raises(InputError, match=r"a precision of 0.95 is not reached on the 20 rows .* is 0.450"):
        reliability(*rows).threshold(0.95)
    with pytest.raises(InputError, match="is not reached on the 0 rows"):
        reliability().threshold(0.5)


def test_it_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    found = measured(*drawn(2.0, size=50))
    found.save(tmp_path)
    assert load_reliability(tmp_path) == found
    with pytest.raises(InputError, match=r"has no confidence\.json"):
        load_reliability(tmp_path / "other")


@pytest.mark.parametrize("fields", [{}, {"probe_first": True}, {"mode": "head"}])
def test_dividing_the_logits_softens_every_form_of_a_student(
    fields: dict[str, object], tiny_bert, easy: list[Row], tmp_path: Path
) -> None:
    from tutelage.student.models.load import load_student

    base = tiny_bert(tmp_path / "tiny", pooling="mean_tokens")
    config = TrainingConfig(base=base, device="cpu", **fields)  # type: ignore[arg-type]
    student = train(easy, ["refund", "status"], config, seed=0, encoder=Encoder(base, device="cpu"))
    texts = [row["text"] for row in easy]
    before = student.predict_proba(texts)
    student.divide_logits(2.0)
    assert student.predict_proba(texts) == pytest.approx(soften(before, 2.0), abs=1e-4)
    student.export(tmp_path / "out")
    assert load_student(tmp_path / "out").predict_proba(texts) == pytest.approx(soften(before, 2.0), abs=1e-4)
