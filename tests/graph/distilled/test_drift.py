"""Warnings when the texts change."""

import random
import warnings

import pytest
from tutelage.graph.distilled.drift import Drift, DriftWarning


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
    drift = Drift(0.3, 300, {"a": 150, "b": 150})
    assert filled(drift, 2_000, 0.3, ["a", "b"], seed) == []
    assert drift.share() == pytest.approx(0.3, abs=0.08)
    assert drift.stability_index() < 0.05


def test_more_texts_for_the_teacher_are_a_warning_once_until_it_passes() -> None:
    drift = Drift(0.1, 300, {"a": 1})
    [said] = filled(drift, 400, 0.5, ["a"])
    assert "went to the teacher, 10% were expected" in said
    assert filled(drift, 1_000, 0.1, ["a"]) == []
    assert len(filled(drift, 400, 0.6, ["a"])) == 1


def test_a_new_mix_of_labels_is_a_warning() -> None:
    drift = Drift(0.0, 300, {"a": 270, "b": 30})
    [said] = filled(drift, 400, 0.0, ["a", "b", "b", "b"])
    assert "have other shares than expected" in said
    assert drift.stability_index() > 0.25


def test_few_texts_say_nothing() -> None:
    assert filled(Drift(0.0, 300, {"a": 1}), 199, 1.0, ["b"]) == []
