"""Test gains: the paired bootstrap and the worth of chosen labels, against figures worked out by hand."""

from math import comb

import numpy as np
import pytest
from tutelage.student.evaluation.evaluate import p_value_worse
from tutelage.student.evaluation.gains import gain, interval, resampled, score, worth
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.multilabel import MULTILABEL
from tutelage.student.tasks.seq2seq import SEQ2SEQ

LABELS = ["a", "b"]


def statistics(right: list[bool]) -> np.ndarray:
    """Return the statistics of rows with gold labels a, b, a, … that are answered right or wrong."""
    gold = [LABELS[i % 2] for i in range(len(right))]
    answers = [LABELS[i % 2] if good else LABELS[1 - i % 2] for i, good in enumerate(right)]
    return CLASSIFICATION.example_statistics(gold, gold, answers, LABELS, "accuracy")


def first_right(right: int, of: int) -> np.ndarray:
    return statistics([i < right for i in range(of)])


def quantile(share: float, size: int, rate: float) -> int:
    """Return the least number of successes whose cumulative binomial probability reaches `share`."""
    total = 0.0
    for k in range(size + 1):
        total += comb(size, k) * rate**k * (1 - rate) ** (size - k)
        if total >= share:
            return k
    raise AssertionError


def test_the_interval_of_an_accuracy_is_binomial() -> None:
    low, high = interval(CLASSIFICATION, first_right(80, 100), "accuracy", draws=4000)
    expected = quantile(0.025, 100, 0.8) / 100, quantile(0.975, 100, 0.8) / 100  # 0.72 and 0.87
    assert (low, high) == pytest.approx(expected, abs=0.011)


def test_the_interval_of_a_perfect_score_has_no_width() -> None:
    assert interval(CLASSIFICATION, first_right(10, 10), "accuracy") == (1.0, 1.0)


def test_the_interval_of_a_gain_of_ten_rows_in_a_hundred() -> None:
    found = gain(CLASSIFICATION, first_right(70, 100), first_right(80, 100), "accuracy", draws=4000)
    # Ten rows are better: the difference in a draw is the share of these rows in it.
    expected = quantile(0.025, 100, 0.1) / 100, quantile(0.975, 100, 0.1) / 100  # 0.05 and 0.16
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.011)
    assert found.chance_better > 0.999  # 1 - 0.9 ** 100 / 2


def test_one_gained_row_is_better_in_the_draws_that_contain_it() -> None:
    found = gain(CLASSIFICATION, first_right(80, 100), first_right(81, 100), "accuracy", draws=4000)
    assert found.chance_better == pytest.approx(
        1 - 0.99**100 / 2, abs=0.02
    )  # 0.817: without it they are equal
    assert found.low == 0


def test_a_loss_mirrors_the_gain() -> None:
    one, other = first_right(70, 100), first_right(80, 100)
    up, down = (gain(CLASSIFICATION, *pair, "macro_f1") for pair in ((one, other), (other, one)))
    assert (down.difference, down.low, down.high) == pytest.approx((-up.difference, -up.high, -up.low))
    assert down.chance_better == pytest.approx(1 - up.chance_better)


def test_no_difference_is_no_gain() -> None:
    same = first_right(70, 100)
    assert gain(CLASSIFICATION, same, same, "macro_f1") == (0, 0, 0, 0.5)


def test_pairing_narrows_the_interval() -> None:
    before, after = first_right(70, 100), first_right(80, 100)
    paired = gain(CLASSIFICATION, before, after, "accuracy")
    widths = [high - low for low, high in (interval(CLASSIFICATION, m, "accuracy") for m in (before, after))]
    assert paired.high - paired.low < min(widths)


def test_other_task_types_have_intervals_too() -> None:
    gold = ['["a"]', '["a", "b"]', "[]"] * 20
    found = MULTILABEL.example_statistics(gold, gold, ['["a"]'] * 60, LABELS, "micro_f1")
    low, high = interval(MULTILABEL, found, "micro_f1")
    assert low < score(MULTILABEL, found, "micro_f1") < high
    found = SEQ2SEQ.example_statistics(
        ["x"] * 40, ["one two"] * 40, ["one two", "one"] * 20, [], "exact_match"
    )
    low, high = interval(SEQ2SEQ, found, "exact_match")
    assert 0.3 < low < 0.5 < high < 0.7


@pytest.mark.parametrize("size", [7, 300, 20_001])  # the last is resampled in two blocks
def test_resampling_in_blocks_equals_one_draw_after_another(size) -> None:
    random = np.random.default_rng(size)
    before, after = (statistics(list(random.random(size) < rate)) for rate in (0.75, 0.75 - 0.5 / size**0.5))
    draws, rng, one_by_one = 120, np.random.default_rng(0), []
    for _ in range(draws):
        indices = rng.integers(0, size, size)
        one_by_one.append([score(CLASSIFICATION, m[indices], "macro_f1") for m in (before, after)])
    old, new = np.array(one_by_one).T
    assert (resampled(CLASSIFICATION, [before, after], "macro_f1", draws) == [old, new]).all()
    chance = p_value_worse(CLASSIFICATION, before, after, "macro_f1", draws)
    assert chance == (new >= old).mean()
    assert 0 < chance < 1


def test_a_comparison_needs_the_same_rows() -> None:
    with pytest.raises(ValueError, match="found 4 and 6"):
        gain(CLASSIFICATION, first_right(1, 4), first_right(1, 6), "accuracy")
    with pytest.raises(ValueError, match="at least one row"):
        interval(CLASSIFICATION, first_right(0, 0), "accuracy")


@pytest.mark.parametrize(
    ("own", "random", "chosen", "expected"),
    [
        (0.70, 0.80, 0.80, 300),  # as much as random
        (0.70, 0.80, 0.85, 450),  # half as much again
        (0.70, 0.80, 0.75, 150),
        (0.70, 0.80, 0.65, 0),  # chosen labels did harm
        (0.70, 0.71, 0.90, 1200),  # at most four times as many
        (0.70, 0.70, 0.80, None),  # random labels brought nothing
        (0.70, 0.60, 0.80, None),
    ],
)
def test_the_worth_of_chosen_labels_is_given_in_random_labels(own, random, chosen, expected) -> None:
    assert worth(own, random, chosen, 300) == expected
