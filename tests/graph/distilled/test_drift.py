"""Warnings when the texts change."""

import random
import warnings

import pytest
from tutelage.graph.distilled.drift import Drift, DriftWarning
from tutelage.student.evaluation.agreement import Agreement


def made(below: float, labels: dict[str, int], missing: float = 0.0) -> Drift:
    """Return the drift of an agreement on 300 texts, of which a share is below the threshold."""
    few = round(300 * below)
    confidence = [0.1] * few + [0.9] * (300 - few)
    return Drift(Agreement(confidence, [True] * 300, labels, missing), 0.5)


def filled(drift: Drift, count: int, escalated: float, labels: list[str], seed: int = 0) -> list[str]:
    """Add texts one by one and return the warnings."""
    draw = random.Random(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(count):
            drift.add(draw.random() < escalated, [draw.choice(labels)])
            drift.check()
    assert all(one.category is DriftWarning for one in caught)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("seed", range(5))
def test_texts_like_the_expected_ones_warn_of_nothing(seed: int) -> None:
    drift = made(0.3, {"a": 150, "b": 150})
    assert filled(drift, 2_000, 0.3, ["a", "b"], seed) == []
    assert drift.share() == pytest.approx(0.3, abs=0.08)
    assert drift.stability_index() < 0.05


def test_more_texts_for_the_teacher_are_a_warning_once_until_it_passes() -> None:
    drift = made(0.1, {"a": 300})
    [said] = filled(drift, 400, 0.5, ["a"])
    assert "went to the teacher, 10% were expected" in said
    assert filled(drift, 1_000, 0.1, ["a"]) == []
    assert len(filled(drift, 400, 0.6, ["a"])) == 1


def test_a_new_mix_of_labels_is_a_warning() -> None:
    drift = made(0.0, {"a": 270, "b": 30})
    [said] = filled(drift, 400, 0.0, ["a", "b", "b", "b"])
    assert "have other shares than expected" in said
    assert drift.stability_index() > 0.25


def test_few_texts_say_nothing() -> None:
    assert filled(made(0.0, {"a": 300}), 199, 1.0, ["b"]) == []


@pytest.mark.parametrize("seed", range(5))
def test_many_labels_do_not_look_like_another_mix(seed: int) -> None:
    labels = [f"label {i}" for i in range(77)]
    compared = random.Random(f"compared {seed}").choices(labels, k=300)
    drift = made(0.3, {label: compared.count(label) for label in labels})
    assert filled(drift, 2_000, 0.3, labels, seed) == []
    assert len(filled(drift, 500, 0.3, labels[:20], seed)) == 1


def test_texts_that_could_not_be_compared_widen_what_is_expected() -> None:
    drift = made(0.2, {"a": 300}, missing=0.3)
    assert drift.expected == pytest.approx((0.14, 0.44))
    assert filled(drift, 1_000, 0.4, ["a"]) == []
    [said] = filled(drift, 1_000, 0.7, ["a"])
    assert "14% to 44% were expected" in said


def test_without_an_agreement_nothing_is_expected() -> None:
    drift = Drift(None, 0.5)
    assert filled(drift, 400, 1.0, ["a"]) == []
    assert drift.share() == 1
