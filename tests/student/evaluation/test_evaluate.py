"""Test evaluation: every figure against one worked out by hand."""

from typing import Any

import numpy as np
import pytest
from tutelage.student.data.rows import Row, content_id
from tutelage.student.evaluation.evaluate import confusion, evaluate, grade, p_value_worse, wilson
from tutelage.student.models.base import HeadStudent
from tutelage.student.models.predictions import entropy
from tutelage.student.tasks.classification import CLASSIFICATION

LABELS = ["a", "b", "c"]
GOLD, ANSWERS = list("aaabbc"), list("aabbcc")


def graded(gold: list[str], answers: list[str], labels: list[str] = LABELS, metric: str = "macro_f1") -> Any:
    return grade(CLASSIFICATION, gold, gold, answers, labels, metric)


def test_confusion_counts_gold_labels_by_row() -> None:
    assert confusion(GOLD, ANSWERS, LABELS) == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_precision_recall_and_f1_of_each_class() -> None:
    classes = graded(GOLD, ANSWERS)["classes"]
    assert [c["precision"] for c in classes] == pytest.approx([2 / 2, 1 / 2, 1 / 2])
    assert [c["recall"] for c in classes] == pytest.approx([2 / 3, 1 / 2, 1 / 1])
    assert [c["f1"] for c in classes] == pytest.approx([4 / 5, 1 / 2, 2 / 3])


def test_accuracy_is_the_share_of_right_answers_and_equals_micro_f1() -> None:
    figures = graded(GOLD, ANSWERS)["figures"]
    assert figures["accuracy"] == figures["micro_f1"] == pytest.approx(4 / 6)


def test_macro_f1_is_the_mean_over_the_classes_that_occur() -> None:
    for labels in (LABELS, [*LABELS, "d", "e"]):
        assert graded(GOLD, ANSWERS, labels)["metric"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_macro_f1_counts_a_label_without_gold_rows_as_zero() -> None:
    assert graded(list("aaa"), list("aab"))["metric"] == pytest.approx((4 / 5 + 0) / 2)


def test_a_class_that_does_not_occur_scores_zero_and_not_nan() -> None:
    last = graded(GOLD, GOLD, [*LABELS, "d"])["classes"][-1]
    assert last == {"label": "d", "precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_an_empty_test_set_scores_zero() -> None:
    report = graded([], [])
    assert (report["metric"], report["figures"]["accuracy"], report["size"]) == (0, 0, 0)


def test_a_report_holds_every_figure() -> None:
    report = graded(GOLD, ANSWERS, metric="accuracy")
    assert report["metric"] == report["figures"]["accuracy"] != report["figures"]["macro_f1"]
    assert (report["size"], report["items"]) == (6, [1, 1])
    assert report["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert report["classes"][1] == {"label": "b", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


def test_a_student_is_evaluated_in_its_own_label_order(encoder) -> None:
    towards = encoder.encode(["my parcel is late", "refund my money"])
    student = HeadStudent(encoder, towards, np.zeros(2, np.float32), ["status", "refund"])
    texts = {"my parcel is late": "status", "refund my money": "refund", "refund my money now": "status"}
    rows = [Row(id=content_id(text), text=text, label=label) for text, label in texts.items()]
    report = evaluate(student, rows, "accuracy")
    assert report["confusion"] == [[1, 1], [0, 1]]
    assert report["metric"] == pytest.approx(2 / 3)


def answers_with(right: int, of: int) -> tuple[np.ndarray, np.ndarray]:
    """Return gold labels a, b, a, … and answers of which the first `right` are right."""
    gold = np.array(["a", "b"] * (of // 2))
    return gold, np.where(np.arange(of) < right, gold, other(gold))


def other(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == "a", "b", "a")


def chance(gold: np.ndarray, before: np.ndarray, after: np.ndarray, metric: str, **options: int) -> float:
    old, new = (
        CLASSIFICATION.example_statistics(gold, gold, answers, ["a", "b"], metric)
        for answers in (before, after)
    )
    return p_value_worse(CLASSIFICATION, old, new, metric, **options)


def test_equal_answers_are_certainly_not_worse() -> None:
    gold, answers = answers_with(80, 100)
    assert chance(gold, answers, answers, "macro_f1") == 1.0


def test_without_rows_nothing_is_worse() -> None:
    gold, answers = answers_with(0, 0)
    assert chance(gold, answers, answers, "accuracy") == 1.0


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy"])
def test_clearly_worse_answers_are_almost_never_as_good(metric) -> None:
    gold, before = answers_with(90, 100)
    _, after = answers_with(60, 100)
    assert chance(gold, before, after, metric) < 0.01
    assert chance(gold, after, before, metric) > 0.99


def test_slightly_worse_answers_have_a_chance_in_between() -> None:
    gold, before = answers_with(80, 100)
    after = before.copy()
    after[:6], after[80:85] = other(gold[:6]), gold[80:85]  # six lost, five won
    assert 0.1 < chance(gold, before, after, "accuracy") < 0.9


def test_one_lost_answer_is_not_worse_in_the_draws_without_its_row() -> None:
    gold, before = answers_with(80, 100)
    after = before.copy()
    after[0] = other(gold[:1])[0]
    assert chance(gold, before, after, "accuracy", draws=4000) == pytest.approx(0.99**100, abs=0.03)  # 0.366


def test_the_chance_is_deterministic() -> None:
    gold, before = answers_with(80, 100)
    _, after = answers_with(78, 100)
    chances = {chance(gold, before, after, "macro_f1", draws=200) for _ in range(2)}
    assert len(chances) == 1
    assert chances != {1.0}


def test_wilsons_interval() -> None:
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)
    assert wilson(0, 10) == pytest.approx((0, 3.8416 / 13.8416))  # z² / (n + z²)
    assert wilson(10, 10) == pytest.approx((10 / 13.8416, 1))


def test_wilsons_interval_narrows_with_more_rows_and_with_a_smaller_z() -> None:
    width = {size: wilson(size // 5, size)[1] - wilson(size // 5, size)[0] for size in (10, 100, 1000)}
    assert width[10] > width[100] > width[1000]
    assert wilson(20, 100, z=1.0)[1] < wilson(20, 100)[1]


def test_without_rows_wilsons_interval_is_zero_to_one() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_entropy_runs_from_zero_to_one() -> None:
    rows = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]], np.float32)
    assert entropy(rows) == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_entropy_of_nine_to_one() -> None:
    assert entropy(np.array([[0.9, 0.1]], np.float32)) == pytest.approx([0.468996], abs=1e-5)  # bits
