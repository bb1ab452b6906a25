"""Test the search for wrong labels on constructed cases, and on real texts with flipped labels."""

import random

import numpy as np
import pytest
from tutelage.student.evaluation.label_errors import LabelError, label_errors
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.multilabel import MULTILABEL
from tutelage.student.tasks.ner import NER
from tutelage.student.tasks.seq2seq import SEQ2SEQ
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

LABELS = ["a", "b", "c"]
SURE = {"a": (0.998, 0.001, 0.001), "b": (0.001, 0.998, 0.001), "c": (0.001, 0.001, 0.998)}


def found(rows: list[tuple[str, tuple[float, ...]]]) -> list[LabelError]:
    return label_errors(CLASSIFICATION, [label for label, _ in rows], np.array([p for _, p in rows]), LABELS)


def known(count: int) -> list[tuple[str, tuple[float, ...]]]:
    """Return `count` rows of each label that the students get right, more or less surely."""
    rows = []
    for place, label in enumerate(LABELS):
        for sure in np.linspace(0.6, 0.998, count):
            p = [(1 - sure) / 2] * 3
            p[place] = sure
            rows.append((label, tuple(p)))
    return rows


def test_rows_that_sure_students_contradict_are_named_the_surest_first() -> None:
    rows = [*known(40), ("a", SURE["b"]), ("b", (0.0001, 0.0001, 0.9998)), ("c", (0.2, 0.2, 0.6))]
    assert found(rows) == [(121, "b", "c", 0.0001, 0.9998), (120, "a", "b", 0.001, 0.998)]


def test_students_that_know_nothing_name_no_row() -> None:
    random_p = np.random.default_rng(0).dirichlet([1, 1, 1], 200)
    labels = random.Random(0).choices(LABELS, k=200)
    assert label_errors(CLASSIFICATION, labels, random_p, LABELS) == []


def test_the_students_need_not_be_calibrated() -> None:
    """Probabilities raised to a power, and normalised, name the same rows."""
    rows = [*known(40), *[("a", SURE["b"])] * 3, ("b", (0.3, 0.45, 0.25))]
    for power in (0.5, 1.0, 2.0):
        p = np.array([p for _, p in rows]) ** power
        errors = label_errors(
            CLASSIFICATION, [label for label, _ in rows], p / p.sum(1, keepdims=True), LABELS
        )
        assert {error.row_index for error in errors} == {120, 121, 122}


def test_a_label_with_fewer_than_three_rows_is_not_judged() -> None:
    two = [("a", SURE["a"])] * 20 + [("b", SURE["b"])] * 20
    unlearnt = ("c", SURE["a"])
    assert found([*two, unlearnt, unlearnt]) == []
    assert {error.suggested for error in found([*known(40), *[unlearnt] * 3])} == {"a"}


def test_a_row_alone_is_not_judged() -> None:
    assert found([("a", SURE["b"])]) == []
    assert label_errors(CLASSIFICATION, ["a"] * 5, np.ones((5, 1)), ["a"]) == []


def test_each_label_of_a_multilabel_row_is_checked_separately() -> None:
    given = [*['["a"]', '["b"]', "[]", '["a", "b"]'] * 10, '["a", "b"]', "[]"]
    p = np.array([*[[0.97, 0.03], [0.03, 0.97], [0.03, 0.03], [0.97, 0.97]] * 10, [0.97, 0.01], [0.98, 0.98]])
    errors = label_errors(MULTILABEL, given, p, ["a", "b"])
    assert sorted(errors) == [
        LabelError(40, '["a", "b"]', '["a"]', 0.01, 0.99),
        LabelError(41, "[]", '["a"]', pytest.approx(0.02), 0.98),
        LabelError(41, "[]", '["b"]', pytest.approx(0.02), 0.98),
    ]


def test_entities_targets_and_empty_sets_have_no_label_errors() -> None:
    assert label_errors(NER, ["[]"], None, ["x"]) == []
    assert label_errors(SEQ2SEQ, ["one"], None, []) == []
    assert label_errors(CLASSIFICATION, [], np.zeros((0, 3)), LABELS) == []


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 rows and 3 labels need \(2, 3\)"):
        label_errors(CLASSIFICATION, ["a", "b"], np.ones((2, 2)), LABELS)


def test_flipped_labels_of_real_texts_are_found_out_of_fold(encoder, brief, shop) -> None:
    labels, rng = list(brief["labels"]), random.Random(0)
    rows = shop("diagnose") + shop("gate")
    flipped = set(rng.sample(range(len(rows)), len(rows) // 10))
    noisy = [
        {**row, "label": rng.choice([label for label in labels if label != row["label"]])}
        if i in flipped
        else row
        for i, row in enumerate(rows)
    ]
    folds = rng.sample([i % 5 for i in range(len(rows))], len(rows))
    p = np.zeros((len(rows), len(labels)))
    for fold in range(5):
        rest = [row for row, own in zip(noisy, folds, strict=True) if own != fold]
        student = train(rest, labels, TrainingConfig(mode="head"), seed=0, encoder=encoder)
        held_out = [i for i, own in enumerate(folds) if own == fold]
        p[held_out] = student.predict([rows[i]["text"] for i in held_out]).probabilities
    errors = label_errors(CLASSIFICATION, [row["label"] for row in noisy], p, labels)
    right = [error.row_index in flipped for error in errors]
    assert np.mean(right) > 0.6  # a tenth, if rows were named at random; measured: 0.77
    assert sum(right) > len(flipped) / 2  # measured: 24 of 36
    named = {error.row_index: error.suggested for error in errors}
    restored = [named[i] == rows[i]["label"] for i in flipped & named.keys()]
    assert np.mean(restored) > 0.7
