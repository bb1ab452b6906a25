"""Test adaptive selection (LLKD): moving averages, masks and weights against cases worked out by hand."""

from typing import Any

import numpy as np
import pytest
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.training.adaptive_selection import AdaptiveSelection, StepSelector
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.losses import Objective
from tutelage.student.training.observer import Observer


def weigh(
    selection: StepSelector, confidence: list[float], labels: list[int], uncertainty: list[float]
) -> list[float]:
    return selection.weights(np.array(confidence), np.array(labels), np.array(uncertainty)).tolist()


def one(**fields: Any) -> StepSelector:
    return StepSelector(AdaptiveSelection(**{"class_rule": "none", "weight": "none", **fields}), 2, seed=0)


def test_a_sample_is_used_if_the_teacher_is_sure_and_the_student_unsure() -> None:
    # The first batch sets both thresholds to its means: 0.6 and 0.5.
    kept = weigh(one(), [0.9, 0.9, 0.3, 0.3], [0, 1, 0, 1], [0.8, 0.2, 0.8, 0.2])
    assert kept == [1, 0, 0, 0]


@pytest.mark.parametrize(("gates", "kept"), [("teacher", [1, 1, 0, 0]), ("student", [1, 0, 1, 0])])
def test_each_gate_can_be_used_alone(gates: str, kept: list[float]) -> None:
    assert weigh(one(gates=gates), [0.9, 0.9, 0.3, 0.3], [0, 1, 0, 1], [0.8, 0.2, 0.8, 0.2]) == kept


def test_thresholds_are_updated_before_they_are_applied() -> None:
    selection = one(gates="teacher", decay=0.9)
    weigh(selection, [0.6, 0.6], [0, 0], [0.5, 0.5])
    kept = weigh(selection, [0.61, 0.81], [0, 0], [0.5, 0.5])  # 0.9 · 0.6 + 0.1 · 0.71 = 0.611
    assert selection.sure.level == pytest.approx(0.611)
    assert kept == [0, 1]


def test_a_class_whose_signal_is_lower_has_a_lower_threshold() -> None:
    # τ = 0.6; class means 0.8 and 0.4: thresholds 0.6 · 0.8 / 0.8 and 0.6 · 0.4 / 0.8 = 0.3.
    selection = one(class_rule="mean", gates="teacher")
    weigh(selection, [0.8, 0.4], [0, 1], [0.5, 0.5])
    assert selection.sure.of(np.array([0, 1])).tolist() == pytest.approx([0.6, 0.3])


def test_with_the_mass_rule_a_rare_class_has_a_lower_threshold() -> None:
    # Masses 3/4 and 1/4; τ = 0.6: thresholds 0.6 and 0.2.
    selection = one(class_rule="mass")
    weigh(selection, [0.6] * 4, [0, 0, 0, 1], [0.5] * 4)
    assert selection.sure.of(np.array([0, 1])).tolist() == pytest.approx([0.6, 0.2])


def test_a_class_that_was_not_seen_yet_does_not_count() -> None:
    selection = one(class_rule="mean", gates="teacher")
    assert weigh(selection, [0.5, 0.7], [0, 0], [0.5, 0.5]) == [0, 1]


def test_weights_follow_both_signals_and_average_one_over_the_used_samples() -> None:
    # c · u = 0.40 and 0.25, and one that is left out.
    selection = one(weight="both", rule="fixed", fixed=(0.5, 0.5))
    assert weigh(selection, [0.8, 0.5, 0.9], [0, 0, 0], [0.5, 0.4, 0.1]) == [1.0, 0, 0]
    found = weigh(selection, [0.8, 0.5, 0.9], [0, 0, 0], [0.5, 0.5, 0.1])
    assert found == pytest.approx([2 * 0.40 / 0.65, 2 * 0.25 / 0.65, 0])


@pytest.mark.parametrize(
    ("weight", "expected"),
    [("none", [1, 1]), ("confidence", [8 / 7, 6 / 7]), ("uncertainty", [4 / 5, 6 / 5])],
)
def test_each_weight_can_be_used_alone(weight: str, expected: list[float]) -> None:
    selection = one(weight=weight, rule="fixed", fixed=(0, 0))
    assert weigh(selection, [0.8, 0.6], [0, 0], [0.4, 0.6]) == pytest.approx(expected)


def test_a_quantile_can_replace_the_mean() -> None:
    selection = one(statistic="quantile", quantile=0.75, gates="teacher")
    assert weigh(selection, [0.1, 0.2, 0.3, 0.4], [0] * 4, [0.5] * 4) == [0, 0, 0, 1]
    assert selection.sure.level == pytest.approx(0.325)


def test_a_uniform_start_follows_the_moving_average() -> None:
    selection = one(start="uniform", decay=0.9)
    weigh(selection, [0.7], [0], [0.3])
    assert selection.sure.level == pytest.approx(0.9 * 0.5 + 0.1 * 0.7)
    assert selection.unsure.level == pytest.approx(0.9 * 1.0 + 0.1 * 0.3)


@pytest.mark.parametrize(("gates", "kept"), [("both", [0, 0, 1, 0]), ("teacher", [1, 0, 0, 0])])
def test_the_top_rule_uses_the_highest_share_of_a_batch(gates: str, kept: list[float]) -> None:
    selection = one(rule="top", top=0.25, gates=gates)
    assert weigh(selection, [0.9, 0.5, 0.8, 0.7], [0] * 4, [0.1, 0.2, 0.9, 0.3]) == kept


def test_the_random_rule_uses_a_share_of_the_same_size() -> None:
    selection = one(rule="random", top=0.25)
    kept = [weigh(selection, [0.9] * 8, [0] * 8, [0.5] * 8) for _ in range(20)]
    assert {sum(weights) for weights in kept} == {2}
    assert len({tuple(weights) for weights in kept}) > 5


def test_warm_up_uses_every_sample_and_empty_batches_are_counted() -> None:
    selection = one(warm_up=1, rule="fixed", fixed=(0.95, 0.95))
    assert weigh(selection, [0.1, 0.2], [0, 1], [0.1, 0.2]) == [1, 1]
    assert weigh(selection, [0.1, 0.2], [0, 1], [0.1, 0.2]) == [0, 0]
    assert (selection.empty, selection.kept, selection.seen) == (1, 2, 4)


def test_training_counts_used_samples_and_always_uses_the_rows_of_the_user(
    encoder: Encoder,
) -> None:
    def row(text: str, label: str, **parts: Any) -> Row:
        return Row(id=content_id(text), text=text, label=label, **parts)

    own = [row("where is my parcel", "a"), row("I want my money back", "b")]
    sure = [row(f"the parcel number {i} is late", "a", confidence=0.9) for i in range(6)]
    unsure = [row(f"refund the order number {i}", "b", confidence=0.2) for i in range(6)]
    logged: dict[str, Any] = {}
    fixed = AdaptiveSelection(rule="fixed", fixed=(0.5, 0.0), weight="none")
    objective = Objective(adaptive_selection=fixed)
    training_config = TrainingConfig(mode="head", epochs=1, batch=4, objective=objective)
    rows = [*own, *sure, *unsure]
    observer = Observer(logged.update)
    student = train(rows, ["a", "b"], training_config, seed=0, encoder=encoder, observer=observer)
    assert set(logged["used"]) == {r["id"] for r in sure}
    assert (logged["unique"], logged["kept_share"], logged["backpropagated"]) == (0.5, 0.5, 0.5)
    answers = student.predict_proba([r["text"] for r in own]).argmax(1)
    assert answers.tolist() == [0, 1], "label b was learnt only from the user's own row"


@pytest.mark.parametrize("sure", [0.71, 0.8, 0.95])
def test_identical_samples_are_all_used(sure: float) -> None:
    # Rounding lifts the average of many 0.95s above 0.95: without a tolerance no sample would pass.
    selection = StepSelector(AdaptiveSelection(), 3, seed=0)
    labels = np.array([0, 1, 2, 0, 1, 1])
    for _ in range(200):
        kept = selection.weights(np.full(6, sure), labels, np.full(6, 0.9))
        assert (kept > 0).all()


@pytest.mark.parametrize(("name", "value"), [("quantile", 7), ("decay", 1.5), ("top", -1), ("warm_up", -1)])
def test_a_number_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` is {value}; it must be at least 0"):
        AdaptiveSelection(**{name: value})
