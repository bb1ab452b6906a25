"""Test each loss and score against a case worked out by hand."""

from math import exp, log

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.models.predictions import energy, negative_log_likelihood, token_energy
from tutelage.student.training.losses import Objective, indices_in_band, sample_losses
from tutelage.student.training.training_set import TrainingSet

# Logits (log 3, 0) are probabilities (3/4, 1/4).
LOGITS = torch.tensor([[log(3.0), 0.0]])
FIRST, SECOND = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def test_cross_entropy_is_minus_the_log_of_the_probability_of_the_label() -> None:
    assert sample_losses(LOGITS, FIRST, Objective()).item() == pytest.approx(log(4 / 3))
    assert sample_losses(LOGITS, SECOND, Objective()).item() == pytest.approx(log(4))


def test_symmetric_cross_entropy_adds_the_reverse_with_the_log_of_zero_clamped() -> None:
    # RCE: all probability off the label counts -log 1e-4.
    objective = Objective(loss="sce", alpha=0.1, beta=1.0)
    right, wrong = (sample_losses(LOGITS, target, objective).item() for target in (FIRST, SECOND))
    assert right == pytest.approx(0.1 * log(4 / 3) + 0.25 * 4 * log(10))
    assert wrong == pytest.approx(0.1 * log(4) + 0.75 * 4 * log(10))


def test_symmetric_cross_entropy_gives_wrong_labels_a_smaller_gradient() -> None:
    def pull(objective: Objective) -> float:
        logits = torch.tensor([[6.0, 0.0]], requires_grad=True)
        sample_losses(logits, SECOND, objective).backward()
        assert logits.grad is not None
        return float(logits.grad.abs().max())

    assert pull(Objective(loss="sce", alpha=0.1)) < 0.2 * pull(Objective())


def test_soft_targets_spread_the_uncertainty_of_the_teacher_over_the_other_labels() -> None:
    rows = [
        Row(id="1", text="x", label="b", confidence=0.7),
        Row(id="2", text="y", label="a"),
    ]
    soft = TrainingSet.of(rows).distributions(["a", "b", "c"], soft=True)
    assert soft.tolist() == [pytest.approx([0.15, 0.7, 0.15]), pytest.approx([1, 0, 0])]
    assert TrainingSet.of(rows).distributions(["a", "b", "c"]).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_energy_is_minus_the_log_of_the_sum_of_exponentials() -> None:
    logits = np.array([[log(3), 0.0], [0.0, 0.0], [100.0, 100.0]], np.float32)
    assert energy(logits).tolist() == pytest.approx([-log(4), -log(2), -100 - log(2)], rel=1e-6)


def test_the_energy_of_a_sequence_is_the_mean_over_its_tokens_with_or_without_padding() -> None:
    # Two tokens of energies -log 4 and -log 2, and one of padding, of energy -log 8.
    logits = np.log(np.array([[[3, 1], [1, 1], [7, 1]]], np.float32))
    mask = np.array([[True, True, False]])
    assert token_energy(logits, mask)[0] == pytest.approx(-(log(4) + log(2)) / 2)
    assert token_energy(logits, mask, masked=False)[0] == pytest.approx(-(log(4) + log(2) + log(8)) / 3)


def test_the_likelihood_is_that_of_the_label() -> None:
    logits = np.array([[log(3), 0.0]] * 2, np.float32)
    assert [exp(-x) for x in negative_log_likelihood(logits, np.array([0, 1]))] == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(
    ("size", "band", "indices"),
    [
        (8, (0.5, 0.8), [4, 5]),
        (10, (0.5, 0.8), [5, 6, 7]),
        (6, (0.0, 0.5), [0, 1, 2]),
        (1, (0.5, 0.8), []),
    ],
    ids=["two of eight, as in the paper", "three of ten", "the lower half", "none of one"],
)
def test_the_band_is_selected_by_rank(size: int, band: tuple[float, float], indices: list[int]) -> None:
    scores = np.arange(size, dtype=float)
    assert indices_in_band(scores, band) == indices
    assert indices_in_band(scores[::-1], band) == [size - 1 - index for index in indices]
