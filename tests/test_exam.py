"""The exam: every figure against one worked out by hand."""

import numpy as np
import pytest
from tutelage.student.exam import (
    accuracy,
    chance_not_worse,
    class_scores,
    confusion,
    entropy,
    evaluate,
    grade,
    macro_f1,
    wilson,
)
from tutelage.student.model import HeadStudent
from tutelage.student.rows import Row, content_id

GOLD = np.array([0, 0, 0, 1, 1, 2])
ANSWERS = np.array([0, 0, 1, 1, 2, 2])


def test_confusion_counts_gold_labels_by_row() -> None:
    assert confusion(GOLD, ANSWERS, 3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_precision_recall_and_f1_of_each_class() -> None:
    precision, recall, f1 = class_scores(confusion(GOLD, ANSWERS, 3))
    assert precision == pytest.approx([2 / 2, 1 / 2, 1 / 2])
    assert recall == pytest.approx([2 / 3, 1 / 2, 1 / 1])
    assert f1 == pytest.approx([4 / 5, 1 / 2, 2 / 3])


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(confusion(GOLD, ANSWERS, 3)) == pytest.approx(4 / 6)


def test_macro_f1_is_the_mean_over_classes() -> None:
    assert macro_f1(confusion(GOLD, ANSWERS, 3)) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_macro_f1_leaves_out_a_label_that_occurs_nowhere() -> None:
    assert macro_f1(confusion(GOLD, ANSWERS, 5)) == macro_f1(confusion(GOLD, ANSWERS, 3))


def test_macro_f1_counts_a_label_that_was_only_answered_as_nought() -> None:
    table = confusion(np.array([0, 0, 0]), np.array([0, 0, 1]), 2)
    assert macro_f1(table) == pytest.approx((4 / 5 + 0) / 2)


def test_a_class_that_occurs_nowhere_scores_nought_and_not_nan() -> None:
    assert [scores.tolist() for scores in class_scores(confusion(GOLD, GOLD, 4))] == [[1, 1, 1, 0]] * 3


def test_an_empty_exam_scores_nought() -> None:
    nothing = np.array([], np.int64)
    report = grade(nothing, nothing, ["a", "b"], "macro_f1")
    assert (report["metric"], report["accuracy"], report["size"]) == (0, 0, 0)


def test_a_report_holds_every_figure_under_its_label() -> None:
    report = grade(GOLD, ANSWERS, ["a", "b", "c"], "accuracy")
    assert report["metric"] == report["accuracy"] == pytest.approx(4 / 6)
    assert report["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert report["size"] == 6
    assert report["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert report["classes"][1] == {"label": "b", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


def test_the_metric_of_a_report_is_the_one_asked_for() -> None:
    report = grade(GOLD, ANSWERS, ["a", "b", "c"], "macro_f1")
    assert report["metric"] == report["macro_f1"] != report["accuracy"]


def test_a_student_is_graded_on_rows_by_its_own_label_order(encoder) -> None:
    towards = encoder.encode(["my parcel is late", "refund my money"])
    student = HeadStudent(encoder, towards, np.zeros(2, np.float32), ["status", "refund"])
    texts = {"my parcel is late": "status", "refund my money": "refund", "refund my money now": "status"}
    rows = [Row(id=content_id(text), text=text, label=label) for text, label in texts.items()]
    report = evaluate(student, rows, "accuracy")
    assert report["confusion"] == [[1, 1], [0, 1]]
    assert report["metric"] == pytest.approx(2 / 3)


def answers_with(right: int, of: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels 0, 1, 0, … and answers of which the first `right` are right."""
    gold = np.arange(of) % 2
    return gold, np.where(np.arange(of) < right, gold, 1 - gold)


def test_equal_answers_are_certainly_not_worse() -> None:
    gold, answers = answers_with(80, 100)
    assert chance_not_worse(gold, answers, answers, 2, "macro_f1") == 1.0


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy"])
def test_clearly_worse_answers_have_next_to_no_chance(metric) -> None:
    gold, before = answers_with(90, 100)
    _, after = answers_with(60, 100)
    assert chance_not_worse(gold, before, after, 2, metric) < 0.01
    assert chance_not_worse(gold, after, before, 2, metric) > 0.99


def test_slightly_worse_answers_lie_in_between() -> None:
    gold, before = answers_with(80, 100)
    after = before.copy()
    after[:6], after[80:85] = 1 - gold[:6], gold[80:85]  # six lost, five won
    assert 0.1 < chance_not_worse(gold, before, after, 2, "accuracy") < 0.9


def test_one_lost_answer_of_a_hundred_is_as_likely_as_a_draw_without_it() -> None:
    gold, before = answers_with(80, 100)
    after = before.copy()
    after[0] = 1 - gold[0]
    chance = chance_not_worse(gold, before, after, 2, "accuracy", draws=4000)
    assert chance == pytest.approx(0.99**100, abs=0.03)  # 0.366


def test_the_chance_is_the_same_every_time() -> None:
    gold, before = answers_with(80, 100)
    _, after = answers_with(78, 100)
    chances = {chance_not_worse(gold, before, after, 2, "macro_f1", draws=200) for _ in range(2)}
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


def test_nothing_seen_could_be_any_rate() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_entropy_runs_from_sure_to_clueless() -> None:
    rows = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]], np.float32)
    assert entropy(rows) == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_entropy_of_nine_to_one() -> None:
    assert entropy(np.array([[0.9, 0.1]], np.float32)) == pytest.approx([0.468996], abs=1e-5)  # bits
