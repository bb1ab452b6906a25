"""The agreement of a student with the teacher, and the threshold that promises it."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tutelage.student.errors import InputError
from tutelage.student.evaluation.agreement import Agreement, load_agreement


def agreement(confidence: list[float], agrees: list[bool]) -> Agreement:
    return Agreement(confidence, agrees, {"a": len(agrees)})


def test_the_threshold_is_the_lowest_that_the_lower_bound_allows() -> None:
    confidence = [i / 400 for i in range(400)]
    agrees = [i >= 200 or i % 2 == 0 for i in range(400)]
    found = agreement(confidence, agrees)
    threshold = found.threshold(0.95)
    above = [right for c, right in zip(confidence, agrees, strict=True) if c >= threshold]
    assert 0.95 <= np.mean(above) < 1
    assert 0.4 < threshold < 0.5
    assert found.threshold(0.98) > threshold > found.threshold(0.8)
    assert found.share_below(threshold) == (1 - len(above) / 400, 1 - len(above) / 400)


def test_too_few_texts_promise_nothing() -> None:
    with pytest.raises(InputError, match=r"on 40 texts the highest lower bound is 0\.937; ask for less"):
        agreement([0.9] * 40, [True] * 40).threshold(0.95)
    assert agreement([0.9] * 60, [True] * 60).threshold(0.95) == 0.9


def test_texts_of_equal_confidence_are_answered_together() -> None:
    found = agreement([0.5] * 100 + [0.9] * 50, [False] * 50 + [True] * 100)
    assert found.threshold(0.9) == 0.9


@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
def test_the_promise_is_kept_on_other_texts_in_most_draws(wanted: float) -> None:
    random = np.random.default_rng(0)
    kept = []
    for _ in range(200):
        confidence = np.sort(random.random(400).round(4))
        found = agreement(confidence.tolist(), (random.random(400) < 1 - (1 - confidence) ** 2).tolist())
        with suppress(InputError):  # nothing is promised
            threshold = found.threshold(wanted)
            kept.append(np.mean(1 - (1 - np.linspace(threshold, 1, 1000)) ** 2) >= wanted)
    assert len(kept) > 100
    assert np.mean(kept) >= 0.9, "not 0.95: the threshold is the best of many"


def test_it_is_kept_in_the_students_folder(tmp_path: Path) -> None:
    assert load_agreement(tmp_path) is None
    found = agreement([0.5, 0.75], [False, True])
    found.save(tmp_path)
    assert load_agreement(tmp_path) == found


def test_on_the_scale_of_a_surer_student_the_same_share_of_texts_passes() -> None:
    confidence = np.sort(np.random.default_rng(0).random(400))
    found = agreement(confidence.tolist(), [i >= 100 for i in range(400)])
    surer = np.sqrt(np.random.default_rng(1).random(1_000))
    scaled = found.on_scale_of(surer)
    assert scaled.agrees == found.agrees
    assert (surer >= scaled.threshold(0.9)).mean() == pytest.approx(
        (confidence >= found.threshold(0.9)).mean(), abs=0.01
    )
    assert (surer >= found.threshold(0.9)).mean() > (surer >= scaled.threshold(0.9)).mean() + 0.1
