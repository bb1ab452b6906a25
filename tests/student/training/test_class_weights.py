"""Test that rare labels weigh more than frequent ones."""

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.training.adapters.tagger import adapter as tagging_learner
from tutelage.student.training.class_weights import class_weights, positive_weights, type_weights
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import Objective
from tutelage.student.training.training_set import TrainingSet

LABELS = ["refund", "status"]


def test_root_weights_are_the_square_root_of_inverse_weights_up_to_a_factor() -> None:
    targets, ones = np.eye(2)[[0, 0, 0, 0, 1]], np.ones(5)
    found = class_weights(targets, ones, "root")
    assert found[1] / found[0] == pytest.approx(2)
    assert (targets @ found).mean() == pytest.approx(1)
    assert class_weights(targets, ones, "none") == pytest.approx([1, 1])


def test_frequencies_are_counted_with_row_weights_and_soft_targets() -> None:
    targets, weights = np.array([[1, 0], [0.5, 0.5], [0, 1]]), np.array([2.0, 4.0, 0.0])
    found = class_weights(targets, weights, "inverse")
    assert found[1] / found[0] == pytest.approx(4 / 2)


def test_the_positive_weight_of_a_label_is_the_odds_against_it() -> None:
    targets = np.array([[1, 1, 0]] + [[0, 1, 0]] * 3)
    assert positive_weights(targets, np.ones(4), "inverse") == pytest.approx([3, 1, 3])
    assert positive_weights(targets, np.ones(4), "root") == pytest.approx([3**0.5, 1, 3**0.5])
    assert positive_weights(targets, np.ones(4), "none") == pytest.approx([1, 1, 1])


def test_weights_of_entity_types_average_one_over_their_words() -> None:
    found = type_weights(np.array([8.0, 2.0, 0.0]), "root")
    assert found[1] / found[0] == pytest.approx(2)
    assert (8 * found[0] + 2 * found[1]) / 10 == pytest.approx(1)
    assert type_weights(np.zeros(2), "root").tolist() == [1, 1]


def test_words_of_a_rare_entity_type_weigh_more_in_the_loss_of_a_tagger(pooled_base: str) -> None:
    rows = [
        Row(id="1", text="my parcel", label='[[3, 9, "thing"]]'),
        Row(id="2", text="want parcel", label='[[5, 11, "thing"]]'),
        Row(id="3", text="my money", label='[[3, 8, "sum"]]'),
    ]
    plain, weighted = (
        TrainingConfig(kind="ner", base=pooled_base, device="cpu", class_weights=how)
        for how in ("none", "inverse")
    )
    student = untrained_student(["thing", "sum"], plain, seed=0, encoder=Encoder(pooled_base))
    one, other = (
        tagging_learner(TrainingSet.of(rows), student, training_config)
        for training_config in (plain, weighted)
    )
    student.model.eval()
    with torch.no_grad():
        logits = one.logits([0, 1, 2])
        known, found = (made.losses(logits, [0, 1, 2], Objective()) for made in (one, other))
        surprise = -logits.log_softmax(-1)
    entity = torch.tensor(
        [surprise[0, 2, 1], surprise[1, 2, 1], surprise[2, 2, 3]]
    )  # B-thing, B-thing, B-sum
    weights = torch.tensor([3 / 4, 3 / 4, 3 / 2])
    assert found - known == pytest.approx((entity * (weights - 1) * 3 / 6).numpy(), abs=1e-5)


def test_class_weights_raise_the_probability_of_a_rare_label(encoder, easy) -> None:
    rows, rare = easy[:12] + easy[12:13], [easy[13]["text"]]
    chances = [
        train(
            rows, LABELS, TrainingConfig(mode="head", class_weights=how), seed=0, encoder=encoder
        ).predict_proba(rare)
        for how in ("none", "root", "inverse")
    ]
    none, root, inverse = (float(chance[0, 1]) for chance in chances)
    assert none + 0.05 < root < inverse - 0.05
