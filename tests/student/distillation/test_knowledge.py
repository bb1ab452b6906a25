"""Test each loss against a case worked out by hand, and students with fewer layers."""

from math import inf, log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import tensor
from tutelage.student.distillation.knowledge import (
    RunningMean,
    class_states,
    cosines,
    evenly_spaced_layers,
    feature_loss,
    final_loss,
    fsp,
    gate,
    keep_layers,
    related_states,
    relation_loss,
    response_loss,
)
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student
from tutelage.student.training.adapters.classifier import fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.knowledge import Knowledge

KINDS = ("fin", "res", "fea", "rel")


def test_the_final_loss_is_cross_entropy_weighted_by_sample() -> None:
    logits = tensor([[0.0, log(3)], [0.0, 0.0]])
    # -ln 3/4 at weight 1 and -ln 1/2 at weight 3
    wanted = (0.287682 + 3 * 0.693147) / 4
    assert final_loss(logits, tensor([1, 0]), tensor([1.0, 3.0])).item() == pytest.approx(wanted, abs=1e-5)


def test_the_response_loss_is_the_softened_divergence_times_temperature_squared() -> None:
    taught, own = tensor([[0.0, 2 * log(3)]]), tensor([[0.0, 0.0]])
    # at T = 2 the teacher's probabilities are (1/4, 3/4): 1/4 ln 1/2 + 3/4 ln 3/2 = 0.130812; times 4
    assert response_loss(own, taught, 2.0).item() == pytest.approx(0.523248, abs=1e-5)
    # at T = 1 they are (1/10, 9/10): 0.1 ln 0.2 + 0.9 ln 1.8
    assert response_loss(own, taught, 1.0).item() == pytest.approx(0.368064, abs=1e-5)
    assert response_loss(taught, taught, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_a_certain_teacher_gives_a_hard_target_at_any_temperature() -> None:
    own = tensor([[0.0, 0.0]], requires_grad=True)
    loss = response_loss(own, tensor([[0.0, -inf]]), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(4 * log(2))
    assert own.grad is not None
    assert own.grad.tolist() == [[-1.0, 1.0]]


def test_feature_and_relation_losses_are_mean_squared_errors() -> None:
    assert feature_loss(tensor([[1.0, 2.0]]), tensor([[0.0, 4.0]])).item() == 2.5
    assert relation_loss(tensor([[[1.0, 2.0], [3.0, 4.0]]]), tensor([[[1.0, 2.0], [3.0, 2.0]]])).item() == 1.0


def test_an_fsp_matrix_is_the_product_of_two_layers_divided_by_the_unpadded_length() -> None:
    first = tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
    second = tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    assert fsp(first, second, tensor([[1, 1, 0]])).tolist() == [[[0.5, 1.5], [1.0, 2.0]]]


def test_similarities_are_the_cosines_of_all_pairs() -> None:
    found = cosines(tensor([[3.0, 4.0], [8.0, 6.0]]))
    assert found.flatten().tolist() == pytest.approx([1.0, 0.96, 0.96, 1.0])


@pytest.mark.parametrize(
    ("logits", "wanted"),
    [
        ([[0.0, 0.0]], [1, 0, 1, 0]),
        ([[0.0, log(3)]], [1, 1 - 0.811278, 0.811278, 0]),
        ([[0.0, 99.0]], [1, 1, 0, 0]),
    ],
    ids=["unsure", "between", "sure"],
)
def test_the_gate_weighs_outputs_for_a_sure_student_and_states_for_an_unsure_one(
    logits: list[list[float]], wanted: list[float]
) -> None:
    assert gate(tensor(logits), KINDS).tolist() == pytest.approx(wanted, abs=1e-5)


def test_the_gate_covers_only_the_selected_kinds() -> None:
    assert gate(tensor([[0.0, 0.0]]), ("fea", "fin")).tolist() == pytest.approx([1, 1])


def test_losses_are_divided_by_their_running_mean_which_has_no_gradient() -> None:
    mean = RunningMean()
    assert mean(tensor([2.0, 0.1])).tolist() == pytest.approx([1, 1])
    losses = tensor([4.0, 0.0], requires_grad=True)
    found = mean(losses)
    assert found.tolist() == pytest.approx([4 / 3, 0])
    found.sum().backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([1 / 3, 20])


def test_layers_are_evenly_spaced_and_end_with_the_last() -> None:
    assert [evenly_spaced_layers(count, 6) for count in (1, 2, 3, 4, 6)] == [
        [6],
        [3, 6],
        [2, 4, 6],
        [1, 3, 4, 6],
        [1, 2, 3, 4, 5, 6],
    ]


def test_the_compared_layers_can_be_set() -> None:
    states = [torch.full((1, 2, 3), float(layer)) for layer in range(7)]
    assert class_states(states, Knowledge())[0, :, 0].tolist() == [6]
    assert class_states(states, Knowledge(matched=3))[0, :, 0].tolist() == [2, 4, 6]
    assert [int(state[0, 0, 0]) for state in related_states(states, Knowledge())] == [0, 6]
    assert [int(state[0, 0, 0]) for state in related_states(states, Knowledge(related=(1 / 3, 0.5)))] == [
        2,
        3,
    ]


def test_a_shallow_student_keeps_the_last_layer_also_when_saved(tiny_bert, tmp_path: Path) -> None:
    training_config = TrainingConfig(base=tiny_bert(tmp_path / "base"), device="cpu")
    whole, cut = (keep_layers(fresh(["a", "b"], training_config, 0), layers) for layers in (None, 1))
    assert len(whole.model.bert.encoder.layer) == 2
    kept, last = cut.model.bert.encoder.layer[0].state_dict(), whole.model.bert.encoder.layer[1].state_dict()
    assert all(torch.equal(kept[name], last[name]) for name in last)
    cut.save(tmp_path / "cut")
    again = load_student(tmp_path / "cut", device_name="cpu")
    assert again.predict_proba(["refund"]) == pytest.approx(cut.predict_proba(["refund"]), abs=1e-6)
    assert again.predict_proba(["refund"]) != pytest.approx(whole.predict_proba(["refund"]), abs=1e-6)


@pytest.mark.parametrize("layers", [0, 3])
def test_a_number_of_layers_out_of_range_is_refused(tiny_bert, tmp_path: Path, layers: int) -> None:
    student = fresh(["a", "b"], TrainingConfig(base=tiny_bert(tmp_path / "base"), device="cpu"), 0)
    with pytest.raises(InputError, match=f"`layers` is {layers}, and the base has 2; take a number from 1"):
        keep_layers(student, layers)


def test_importing_the_settings_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import sys, tutelage.student.distillation.knowledge; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ()}, r"`kinds` is \[\]; name some of fin, res, fea, rel"),
        ({"kinds": ("fin", "fin")}, "each once"),
        ({"phase": 0}, "`phase` is 0; it must be at least 1"),
        ({"share": 1.5}, "`share` is 1.5; it must be above 0 and at most 1"),
        ({"temperature": 0.0}, "`temperature` is 0.0; it must be above 0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Knowledge(**settings)
