"""Test that training learns, is reproducible, and needs little padding."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tutelage.student.errors import InputError
from tutelage.student.models.base import HeadStudent
from tutelage.student.training.class_weights import class_weights
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import Objective
from tutelage.student.training.schedule import bucketed, warm_and_down

LABELS = ["refund", "status"]


def score(student, rows) -> float:
    """Return the share of rows whose label the student predicts."""
    answers = student.predict_proba([row["text"] for row in rows]).argmax(1)
    return float(np.mean([student.labels[i] == row["label"] for i, row in zip(answers, rows, strict=True)]))


@pytest.fixture(scope="module")
def tiny(tiny_bert, tmp_path_factory) -> TrainingConfig:
    """Return a configuration that trains a full student in a second."""
    base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny")
    return TrainingConfig(base=base, epochs=4, min_steps=40, batch=8, learning_rate=1e-3, device="cpu")


def test_a_full_student_learns_an_easy_set(encoder, easy) -> None:
    training_config = TrainingConfig(epochs=1, min_steps=20, batch=8, device="cpu")
    student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
    probabilities = student.predict_proba([row["text"] for row in easy])
    assert probabilities.shape == (24, 2)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)
    assert score(student, easy) > 0.9


def test_any_local_bert_can_be_the_base(tiny, encoder, easy) -> None:
    before, after = (make(tiny, encoder, easy) for make in (fresh, trained))
    assert score(before, easy) < 0.8
    assert score(after, easy) > 0.9


def fresh(training_config, encoder, rows, seed=0):
    return untrained_student(LABELS, training_config, seed=seed, encoder=encoder)


def trained(training_config, encoder, rows, seed=0):
    return train(rows, LABELS, training_config, seed=seed, encoder=encoder)


@pytest.mark.parametrize("make", [fresh, trained], ids=["untrained", "trained"])
def test_the_same_seed_gives_the_same_student_and_another_seed_another(tiny, encoder, easy, make) -> None:
    texts = [row["text"] for row in easy]
    one, again, other = (make(tiny, encoder, easy, seed).predict_proba(texts) for seed in (1, 1, 2))
    assert np.abs(one - again).max() < 1e-6
    assert np.abs(one - other).max() > 1e-4


def test_training_starts_from_the_untrained_student(tiny, encoder, easy) -> None:
    training_config = TrainingConfig(base=tiny.base, epochs=0, min_steps=0, device="cpu")
    texts = [row["text"] for row in easy]
    before = fresh(training_config, encoder, easy).predict_proba(texts)
    assert np.abs(trained(training_config, encoder, easy).predict_proba(texts) - before).max() < 1e-6


def test_few_rows_get_the_minimum_number_of_steps(tiny, encoder, easy) -> None:
    few = [easy[0], easy[-1]]
    no_epochs = TrainingConfig(base=tiny.base, epochs=0, min_steps=40, learning_rate=1e-3, device="cpu")
    assert score(fresh(no_epochs, encoder, few), few) == 0.5
    assert score(trained(no_epochs, encoder, few), few) == 1.0


def test_one_row_is_enough_to_train_on(tiny, encoder, easy) -> None:
    before, after = (make(tiny, encoder, easy[:1]) for make in (fresh, trained))
    text = [easy[0]["text"]]
    assert after.predict_proba(text)[0, 0] > max(0.6, before.predict_proba(text)[0, 0])


def test_a_head_student_learns_an_easy_set(encoder, easy) -> None:
    training_config = TrainingConfig(mode="head")
    before, after = (make(training_config, encoder, easy) for make in (fresh, trained))
    assert isinstance(after, HeadStudent)
    assert np.abs(before.predict_proba([row["text"] for row in easy]) - 0.5).max() < 0.2
    assert score(after, easy) == 1.0


def test_a_head_does_not_depend_on_the_seed(encoder, easy) -> None:
    training_config = TrainingConfig(mode="head")
    one, other = (trained(training_config, encoder, easy, seed) for seed in (1, 2))
    assert np.array_equal(one.weight, other.weight)


def test_more_decay_gives_smaller_weights(encoder, easy) -> None:
    small, large = (
        np.abs(trained(TrainingConfig(mode="head", head_decay=decay), encoder, easy).weight).sum()
        for decay in (10.0, 1e-3)
    )
    assert small < large / 2


def test_a_head_trained_in_steps_reaches_the_same_optimum(encoder, easy) -> None:
    # Plain cross-entropy, written as a symmetric one without its reverse part, is minimised in steps.
    steps = Objective(loss="sce", alpha=1.0, beta=0.0)
    solved, walked = (
        train(easy, LABELS, TrainingConfig(mode="head", objective=objective), seed=1, encoder=encoder)
        for objective in (Objective(), steps)
    )
    texts = [row["text"] for row in easy]
    assert np.abs(solved.predict_proba(texts) - walked.predict_proba(texts)).max() < 0.03


def test_repeated_rows_make_a_head_more_confident(encoder, easy) -> None:
    texts = [row["text"] for row in easy]
    once, twice = (
        trained(TrainingConfig(mode="head"), encoder, rows).predict_proba(texts).max(1)
        for rows in (easy, easy * 2)
    )
    assert (twice > once).all()


def test_a_rare_label_is_still_predicted(encoder, easy) -> None:
    rows = easy[:12] + easy[12:13]
    rare = trained(TrainingConfig(mode="head", head_decay=0.1), encoder, rows)
    assert rare.predict_proba([easy[13]["text"]])[0, 1] > 0.5


def test_a_missing_base_is_reported_in_one_line(encoder, easy) -> None:
    with pytest.raises(InputError, match="model 'nobody/nothing' cannot be loaded") as caught:
        trained(TrainingConfig(base="nobody/nothing"), encoder, easy)
    assert "\n" not in str(caught.value)


def test_a_text_longer_than_the_base_allows_is_truncated(tiny_bert, encoder, easy, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "short", positions=32)
    training_config = TrainingConfig(base=base, epochs=1, min_steps=1, device="cpu")
    long = [{**row, "text": row["text"] * 40} for row in easy[:2]]
    student = trained(training_config, encoder, long)
    assert student.predict_proba([long[0]["text"]]).shape == (1, 2)


def test_batches_cover_every_row_once() -> None:
    lengths = [random.Random(i).randrange(1, 100) for i in range(1003)]
    batches = list(bucketed(lengths, 16, random.Random(0)))
    assert Counter(i for batch in batches for i in batch) == Counter(range(1003))
    assert max(map(len, batches)) == 16


def test_batches_of_similar_length_need_a_fraction_of_the_padding() -> None:
    lengths = [random.Random(i).randrange(1, 100) for i in range(1000)]
    order = random.Random(0).sample(range(1000), 1000)
    at_random = [order[i : i + 16] for i in range(0, 1000, 16)]

    def padding(batches) -> int:
        return sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches)

    assert padding(bucketed(lengths, 16, random.Random(0))) < padding(at_random) / 5


def test_batches_are_not_sorted_by_length_and_are_shuffled_anew_each_epoch() -> None:
    rng = random.Random(0)
    first, second = (list(bucketed(range(320), 16, rng)) for _ in range(2))
    longest = [max(batch) for batch in first]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))
    assert first != second


def test_the_same_seed_gives_the_same_batches() -> None:
    first, second = (list(bucketed(range(100), 8, random.Random(7))) for _ in range(2))
    assert first == second


def inverse(numbers: list[int], size: int) -> np.ndarray:
    return class_weights(np.eye(size)[numbers], np.ones(len(numbers)), "inverse")


def test_class_weights_are_inverse_to_frequency() -> None:
    assert inverse([0, 0, 0, 1], 2) == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])


def test_class_weights_of_equally_frequent_labels_are_one() -> None:
    assert inverse([0, 1, 2, 0, 1, 2], 3) == pytest.approx([1, 1, 1])


def test_class_weights_average_one_over_the_rows_even_if_a_label_is_missing() -> None:
    numbers = [0, 0, 1]
    weights = inverse(numbers, 3)
    assert weights[:2] == pytest.approx([3 / (2 * 2), 3 / (2 * 1)])
    assert np.mean([weights[i] for i in numbers]) == pytest.approx(1)


def test_the_learning_rate_rises_over_the_first_tenth_and_falls_linearly() -> None:
    factor = warm_and_down(20)
    assert [factor(step) for step in (0, 1, 2, 11, 19, 20)] == pytest.approx(
        [1 / 2, 1, 1, (20 - 11) / 18, 1 / 18, 0]
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
def test_the_learning_rate_is_above_zero_at_every_step(steps: int) -> None:
    factors = [warm_and_down(steps)(step) for step in range(steps)]
    assert min(factors) > 0
    assert max(factors) == 1
