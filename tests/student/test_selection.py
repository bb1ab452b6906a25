"""Test selection scores against cases worked out by hand, and selections with an evident answer."""

from collections import Counter
from math import log
from typing import get_args

import numpy as np
import pytest
from tutelage.student.models.base import HeadStudent
from tutelage.student.models.predictions import Predictions, predictions_multilabel, predictions_single
from tutelage.student.selection import NEEDS_NO_STUDENT, NEEDS_VECTORS, Pool, Selection, select, uncertainty

METHODS = get_args(Selection)
SCORES = ("entropy", "least_confidence", "margin", "energy")
LABELS = ["a", "b", "c"]


def member(rows: list[list[float]], labels: list[str] = LABELS) -> Predictions:
    """Return the predictions of a classifier with these probabilities."""
    return predictions_single(np.log(np.array(rows, np.float32)), labels, None)


def writer(answers: list[str], margin: list[float] | None = None) -> Predictions:
    """Return the predictions of a student without probabilities."""
    scores = np.array(margin or [0.5] * len(answers))
    return Predictions(answers, scores, 1 - scores, scores, -scores)


def tagged_set(rows: list[list[float]], thresholds: list[float]) -> Predictions:
    """Return the predictions of a multi-label student with these probabilities."""
    p = np.array(rows)
    return predictions_multilabel(
        np.log(p / (1 - p)).astype(np.float32), ["a", "b"], np.array(thresholds), None
    )


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def blobs(sizes: list[int], *, width: int = 8, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """Return unit vectors around as many axes as there are sizes."""
    random = np.random.default_rng(seed)
    centres = np.repeat(np.eye(width)[: len(sizes)], sizes, axis=0)
    return unit(*map(tuple, centres + random.normal(0, noise, centres.shape)))


def bits(*p: float) -> float:
    return -sum(x * log(x) for x in p if x)


# Two members that agree and are unsure; disagree and are sure; agree and are sure.
ONE = member([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.98, 0.01, 0.01]])
TWO = member([[0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [0.98, 0.01, 0.01]])


def test_predictions_of_classifiers_have_probabilities() -> None:
    assert ONE.probabilities == pytest.approx(
        np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.98, 0.01, 0.01]])
    )
    assert not ONE.multilabel
    sets = tagged_set([[0.9, 0.4], [0.3, 0.2]], [0.5, 0.3])
    assert sets.probabilities == pytest.approx(np.array([[0.9, 0.4], [0.3, 0.2]]), abs=1e-6)
    assert sets.multilabel
    assert writer(["x"]).probabilities is None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("entropy", [bits(0.5, 0.3, 0.2), bits(0.475, 0.475, 0.05), bits(0.98, 0.01, 0.01)]),
        ("least_confidence", [0.5, 0.525, 0.02]),
        ("margin", [-0.2, 0.0, -0.97]),
        ("energy", [0, 0, 0]),  # logits that are log-probabilities sum to 1
        ("disagreement", [0, bits(0.475, 0.475, 0.05) - bits(0.9, 0.05, 0.05), 0]),
    ],
)
def test_scores_are_computed_from_mean_probabilities(how: Selection, expected: list[float]) -> None:
    scale = log(3) if how in ("entropy", "disagreement") else 1
    assert uncertainty(how, [ONE, TWO]) == pytest.approx(np.array(expected) / scale, abs=1e-6)


@pytest.mark.parametrize("how", SCORES)
@pytest.mark.parametrize(
    "predictions",
    [ONE, tagged_set([[0.9, 0.4], [0.3, 0.2]], [0.5, 0.3]), writer(["x", "y"], [0.1, 0.7])],
    ids=["classes", "sets", "targets"],
)
def test_with_one_member_the_score_is_its_own_uncertainty(how, predictions) -> None:
    assert uncertainty(how, [predictions]) == pytest.approx(predictions.uncertainty(how), abs=1e-6)
    assert (uncertainty("disagreement", [predictions]) == 0).all()


def test_each_label_of_a_multilabel_task_is_scored_separately() -> None:
    one, two = tagged_set([[0.9, 0.5]], [0.5, 0.3]), tagged_set([[0.1, 0.5]], [0.5, 0.3])
    assert uncertainty("entropy", [one, two]) == pytest.approx([1.0])  # both labels at one half
    # The first label: 1 - H(0.9) bits; on the second all members agree, with maximum entropy.
    assert uncertainty("disagreement", [one, two]) == pytest.approx([(1 - bits(0.9, 0.1) / log(2)) / 2])
    assert uncertainty("margin", [one, two]) == pytest.approx([-0.2])  # of 0.5 to its threshold of 0.3


def test_without_probabilities_members_vote() -> None:
    votes = [writer(list(answers)) for answers in ("xxx", "xxy", "xyz")]  # texts: xxx, xxy, xyz
    expected = [0, bits(2 / 3, 1 / 3) / log(3), 1]
    assert uncertainty("disagreement", votes) == pytest.approx(expected)


def test_without_probabilities_other_scores_are_averaged() -> None:
    pair = [writer(["x", "x"], [0.2, 0.6]), writer(["x", "x"], [0.4, 0.8])]
    assert uncertainty("margin", pair) == pytest.approx([-0.3, -0.7])
    assert uncertainty("entropy", pair) == pytest.approx([0.7, 0.3])
    assert select("margin", 1, Pool(pair), seed=0) == [0]


@pytest.mark.parametrize("how", METHODS)
def test_every_method_has_a_finite_score(how) -> None:
    found = uncertainty(how, [ONE, TWO])
    assert found.shape == (3,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("entropy", [0, 1, 2]),
        ("least_confidence", [1, 0, 2]),
        ("margin", [1, 0, 2]),
        ("disagreement", [1, 0, 2]),  # no disagreement on the first and last: their margins decide
    ],
)
def test_the_highest_scores_are_selected_first(how, expected) -> None:
    assert select(how, 3, Pool([ONE, TWO]), seed=0) == expected
    assert select(how, 1, Pool([ONE, TWO]), seed=0) == expected[:1]


def test_equal_scores_are_ordered_at_random() -> None:
    same = member([[0.5, 0.3, 0.2]] * 40)
    choices = {tuple(select("entropy", 5, Pool([same]), seed=seed)) for seed in range(4)}
    assert len(choices) == 4


def pool(size: int = 200) -> tuple[list[Predictions], np.ndarray]:
    random = np.random.default_rng(1)
    members = [member(random.dirichlet([0.5] * 3, size).clip(1e-4).tolist()) for _ in range(3)]
    return members, unit(*map(tuple, random.normal(size=(size, 8))))


@pytest.mark.parametrize("how", METHODS)
def test_selected_places_are_unique_and_depend_only_on_the_seed(how) -> None:
    members, vectors = pool()
    chosen = select(how, 30, Pool(members, vectors, vectors[:4]), seed=3)
    assert chosen == select(how, 30, Pool(members, vectors, vectors[:4]), seed=3)
    assert len(set(chosen)) == 30
    assert all(type(index) is int and 0 <= index < 200 for index in chosen)


@pytest.mark.parametrize("how", METHODS)
def test_selecting_more_than_the_pool_selects_all_and_zero_selects_none(how) -> None:
    members, vectors = pool(6)
    assert sorted(select(how, 10, Pool(members, vectors), seed=0)) == list(range(6))
    assert select(how, 0, Pool(members, vectors), seed=0) == []
    assert select(how, 5, Pool([writer([])], vectors[:0]), seed=0) == []


@pytest.mark.parametrize(
    "how", ["random", "uncertain_and_diverse", "balanced", "randomised", "typical", "typical_and_uncertain"]
)
def test_another_seed_selects_other_texts(how) -> None:
    members, vectors = pool()
    assert select(how, 10, Pool(members, vectors), seed=0) != select(how, 10, Pool(members, vectors), seed=1)


def test_typical_texts_come_from_the_centre_of_each_cluster_largest_first() -> None:
    vectors = blobs([60, 30, 15])
    chosen = select("typical", 3, Pool(vectors=vectors), seed=0)
    assert [int(vectors[index].argmax()) for index in chosen] == [0, 1, 2]
    for index in chosen:
        own = vectors[vectors.argmax(1) == vectors[index].argmax()]
        to_others = (own @ own.T).mean(1)
        assert (own @ vectors[index]).mean() > np.median(to_others)


def test_typical_texts_skip_clusters_with_known_texts() -> None:
    vectors = blobs([60, 30, 15])
    known = blobs([60, 30, 15], seed=1)[:1]  # of the largest
    assert set(vectors[select("typical", 2, Pool(vectors=vectors, known=known), seed=0)].argmax(1)) == {1, 2}


def test_half_of_the_texts_are_typical_and_the_others_have_the_smallest_margins() -> None:
    vectors, typical = blobs([30, 20]), select("typical", 2, Pool((), blobs([30, 20])), seed=0)
    unsure = [index for index in range(50) if index not in typical][:2]
    p = np.full((50, 3), [0.98, 0.01, 0.01])
    p[unsure] = [0.5, 0.49, 0.01]
    chosen = select("typical_and_uncertain", 4, Pool([member(p.tolist())], vectors), seed=0)
    assert set(chosen) == {*typical, *unsure}
    assert set(chosen[::2]) == set(unsure), "they take turns, the uncertain ones first"


def test_similar_uncertain_texts_are_selected_once() -> None:
    """Twenty texts are uncertain: eighteen almost alike, two different; all others are certain."""
    p = [[0.4, 0.35, 0.25]] * 20 + [[0.98, 0.01, 0.01]] * 180
    vectors = np.concatenate([blobs([18, 1, 1]), blobs([180], seed=2)[:, ::-1]])
    for seed in range(5):
        chosen = select("uncertain_and_diverse", 3, Pool([member(p)], vectors), seed=seed)
        assert {int(vectors[index].argmax()) for index in chosen if index < 20} == {0, 1, 2}
    by_margin = [select("margin", 3, Pool([member(p)], vectors), seed=seed) for seed in range(5)]
    assert any(len(set(vectors[chosen].argmax(1))) < 3 for chosen in by_margin)


def test_diverse_selection_considers_eight_candidates_per_text_or_half_of_the_pool() -> None:
    members, vectors = pool()
    ranks = uncertainty("margin", members).argsort().argsort()
    assert min(ranks[select("uncertain_and_diverse", 5, Pool(members, vectors), seed=0)]) >= 160  # 8 for each
    assert min(ranks[select("uncertain_and_diverse", 50, Pool(members, vectors), seed=0)]) >= 100  # half


def test_diverse_texts_are_far_from_known_texts() -> None:
    vectors = blobs([30, 30, 30])
    members = [member([[0.4, 0.35, 0.25]] * 90)]
    known = blobs([5, 5], seed=1)
    for how in ("uncertain_and_diverse", "balanced"):
        for seed in range(5):
            first = select(how, 6, Pool(members, vectors, known), seed=seed)[0]
            assert vectors[first].argmax() == 2


def test_balanced_selection_takes_equally_many_of_each_predicted_label() -> None:
    random = np.random.default_rng(0)
    tops = [0] * 150 + [1] * 40 + [2] * 6
    p = np.full((196, 3), 0.2)
    p[np.arange(196), tops] = 0.6
    vectors = unit(*map(tuple, random.normal(size=(196, 8))))
    chosen = select("balanced", 30, Pool([member(p.tolist())], vectors), seed=0)
    assert Counter(tops[index] for index in chosen) == {0: 12, 1: 12, 2: 6}
    assert [tops[index] for index in chosen[:4]] == [2, 1, 0, 2]  # the rarest first, in turn
    diverse = select("uncertain_and_diverse", 30, Pool([member(p.tolist())], vectors), seed=0)
    assert Counter(tops[index] for index in diverse)[0] > 15


def test_balanced_selection_of_multilabel_texts_uses_the_most_probable_label() -> None:
    p = [[0.6, 0.1]] * 20 + [[0.1, 0.3]] * 4
    chosen = select("balanced", 8, Pool([tagged_set(p, [0.5, 0.5])], blobs([20, 4])), seed=0)
    assert sum(index >= 20 for index in chosen) == 4


def test_balanced_selection_without_probabilities_equals_diverse_selection() -> None:
    predictions, vectors = writer(["x"] * 30, list(np.linspace(0, 1, 30))), blobs([15, 15])
    plain, balanced = (
        select(how, 5, Pool([predictions], vectors), seed=0) for how in ("uncertain_and_diverse", "balanced")
    )
    assert plain == balanced


def test_randomised_selection_accepts_in_proportion_to_entropy() -> None:
    sure, torn = [1 - 2e-7, 1e-7, 1e-7], [1 / 3, 1 / 3, 1 / 3]
    half = [0.75, 0.2474, 0.0026]  # entropy 0.52 of the highest
    share = float(uncertainty("randomised", [member([half])])[0])
    members = [member([torn] + [half] + [sure] * 8)]
    first = Counter(select("randomised", 1, Pool(members), seed=seed)[0] for seed in range(2000))
    # The text with maximum entropy is always accepted in the first pass, the other with `share`; the first
    # of the accepted ones in random order is returned first.
    assert first[0] / 2000 == pytest.approx(1 - share / 2, abs=0.04)
    assert first[1] / 2000 == pytest.approx(share / 2, abs=0.04)
    assert set(select("randomised", 2, Pool(members), seed=0)) == {0, 1}


def test_randomised_selection_is_random_if_all_predictions_are_certain() -> None:
    members = [Predictions(["x"] * 50, *[np.zeros(50)] * 4)]
    assert len({tuple(select("randomised", 5, Pool(members), seed=seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("how", METHODS)
def test_a_missing_input_of_a_method_is_reported(how) -> None:
    members, vectors = pool(20)
    if how in NEEDS_VECTORS:
        with pytest.raises(ValueError, match="needs the embeddings"):
            select(how, 5, Pool(members), seed=0)
    else:
        assert len(select(how, 5, Pool(members), seed=0)) == 5
    if how in NEEDS_NO_STUDENT:
        assert len(select(how, 5, Pool(vectors=vectors), seed=0)) == 5
    else:
        with pytest.raises(ValueError, match="needs the predictions of a student"):
            select(how, 5, Pool(vectors=vectors), seed=0)
    with pytest.raises(ValueError, match="needs the predictions"):
        uncertainty(how, [])


def test_inputs_of_different_sizes_are_refused() -> None:
    members, vectors = pool(20)
    with pytest.raises(ValueError, match="found sizes: 19, 20"):
        select("margin", 5, Pool(members, vectors[:19]), seed=0)
    with pytest.raises(ValueError, match="found sizes: none"):
        select("random", 5, Pool(), seed=0)
    with pytest.raises(ValueError, match="same labels"):
        uncertainty("entropy", [ONE, member([[0.5, 0.5]] * 3, ["a", "b"])])


def test_every_method_selects_with_a_committee_of_real_students(encoder, easy) -> None:
    texts = [row["text"] for row in easy]
    vectors = encoder.encode(texts)
    towards = encoder.encode(["i want my money back", "where is the late parcel"]) * 5
    members = [
        HeadStudent(encoder, weight, np.zeros(2, np.float32), ["refund", "status"])
        for weight in (towards, towards[::-1].copy())
    ]
    predictions = [student.predict(texts) for student in members]
    assert uncertainty("disagreement", predictions).max() > 0.1
    assert uncertainty("entropy", predictions) == pytest.approx(1, abs=1e-6)  # they contradict each other
    for how in METHODS:
        assert len(set(select(how, 6, Pool(predictions, vectors), seed=0))) == 6
