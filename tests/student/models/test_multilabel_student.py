"""Test students of several labels a text: predictions, thresholds, saving and loading."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.models.base import Classifier, HeadStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.predictions import predictions_multilabel, sigmoid
from tutelage.student.tasks.multilabel import written
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.decision_thresholds import tune_thresholds
from tutelage.student.training.loop import continue_training, train, untrained_student
from tutelage.student.training.losses import PLAIN, Objective, set_losses

LABELS = ["room", "food", "staff"]


def logits(*probabilities: Sequence[float]) -> Any:
    p = np.array(probabilities)
    return np.log(p / (1 - p)).astype(np.float32)


def test_predictions_match_a_case_worked_out_by_hand() -> None:
    found = predictions_multilabel(
        logits([0.8, 0.4], [0.2, 0.1]), ["b", "a"], np.array([0.5, 0.3]), ['["a"]', '["a", "b"]']
    )
    assert found.answers == ['["a", "b"]', "[]"]
    assert found.confidence == pytest.approx([0.8 * 0.4, 0.8 * 0.9])
    bits = {0.8: 0.721928, 0.4: 0.970951, 0.1: 0.468996}  # of a coin that falls so
    assert found.entropy == pytest.approx([(bits[0.8] + bits[0.4]) / 2, (bits[0.8] + bits[0.1]) / 2])
    assert found.margin == pytest.approx([min(0.8 - 0.5, 0.4 - 0.3), min(0.5 - 0.2, 0.3 - 0.1)])
    assert found.energy == pytest.approx(
        np.log([0.2 * 0.6, 0.8 * 0.9]), abs=1e-6
    )  # -log(1 + e^f) = log(1 - p)
    assert found.nll == pytest.approx(-np.log([0.2 * 0.4, 0.2 * 0.1]), abs=1e-6)
    for by, expected in {
        "least_confidence": 1 - found.confidence,
        "margin": -found.margin,
        "entropy": found.entropy,
        "energy": found.energy,
    }.items():
        assert found.uncertainty(by) == pytest.approx(expected)  # type: ignore[arg-type]
    assert predictions_multilabel(logits([0.8, 0.4]), ["b", "a"], np.array([0.5, 0.3]), None).nll is None


def test_the_loss_of_a_text_is_the_sum_over_its_labels() -> None:
    import torch

    target, given = torch.tensor([[1.0, 0.0]]), torch.tensor(logits([0.5, 0.75]))
    cross = np.log(2) + np.log(4)
    assert float(set_losses(given, target, PLAIN)) == pytest.approx(cross)
    reverse = -(0.5 + 0.75) * np.log(1e-4)
    both = set_losses(given, target, Objective(loss="sce", alpha=0.1, beta=1))
    assert float(both) == pytest.approx(0.1 * cross + reverse)


def head_with(
    encoder: Encoder, texts: Sequence[str], probabilities: Any, labels: Sequence[str]
) -> HeadStudent:
    """Return a head that gives each text its probabilities, to a thousandth."""
    wanted = logits(*probabilities)
    weight = np.linalg.pinv(encoder.encode(texts).astype(float)) @ wanted
    bias = np.zeros(len(labels), np.float32)
    student = HeadStudent(
        encoder, weight.T.astype(np.float32), bias, labels, thresholds=np.full(len(labels), 0.5)
    )
    assert sigmoid(student.logits(texts)) == pytest.approx(sigmoid(wanted), abs=1e-3)
    return student


def rows_of(texts: Sequence[str], sets: Sequence[Sequence[str]]) -> list[Row]:
    return [
        Row(id=content_id(text), text=text, label=written(labels))
        for text, labels in zip(texts, sets, strict=True)
    ]


@pytest.mark.parametrize(
    ("probabilities", "gold", "threshold"),
    [
        ([(0.42, 0.12), (0.33, 0.37), (0.22, 0.17)], [["a"], ["a", "b"], []], 0.30),  # .25 has the same F1
        ([(0.92, 0.72), (0.58, 0.96)], [["a"], ["b"]], 0.75),  # .80 to .90 have the same F1
        ([(0.83, 0.63), (0.43, 0.23)], [["a"], ["a"]], 0.40),  # F1 is 4/5; 2/3 from .83 on, 1/2 from .63 on
        ([(0.92, 0.72), (0.58, 0.33)], [[], []], 0.50),  # no gold labels: all thresholds are equal
    ],
)
def test_rare_labels_share_the_threshold_of_the_best_f1_nearest_to_one_half(
    encoder: Encoder, shop: Any, probabilities: Any, gold: list[list[str]], threshold: float
) -> None:
    texts = [row["text"] for row in shop("seed")][: len(gold)]
    student = head_with(encoder, texts, probabilities, ["a", "b"])
    assert tune_thresholds(student, rows_of(texts, gold)) is student
    assert student.thresholds == pytest.approx([threshold, threshold])


@pytest.mark.parametrize(("count", "threshold"), [(9, 0.70), (10, 0.25)])
def test_a_label_with_ten_texts_has_its_own_threshold(
    encoder: Encoder, shop: Any, count: int, threshold: float
) -> None:
    # The shared F1 is 30 / (15 + 15 + count) from .70 on, and from .25 on 2 (15 + count) / (75 + 2 count).
    texts = [row["text"] for row in shop("seed")]
    a, b = np.arange(30) < 15, np.arange(30) >= 30 - count
    p = np.stack([np.where(a, 0.82, 0.67), np.where(b, 0.27, 0.17), np.full(30, 0.57)], 1)
    gold = [[label for label, there in (("a", a[i]), ("b", b[i])) if there] for i in range(30)]
    student = tune_thresholds(head_with(encoder, texts, p, ["a", "b", "c"]), rows_of(texts, gold))
    assert student.thresholds == pytest.approx([0.70, threshold, 0.70])  # type: ignore[attr-defined]
    assert evaluate(student, rows_of(texts, gold))["classes"][0]["f1"] == 1


def test_thresholds_are_unchanged_without_rows_and_absent_for_single_labels(encoder: Encoder) -> None:
    student = head_with(encoder, ["one text", "two"], [(0.9, 0.1), (0.2, 0.8)], ["a", "b"])
    assert tune_thresholds(student, []).thresholds.tolist() == [0.5, 0.5]  # type: ignore[attr-defined]
    plain = untrained_student(["a", "b"], TrainingConfig(mode="head"), seed=0, encoder=encoder)
    assert tune_thresholds(plain, [Row(id="1", text="x", label="a")]).thresholds is None  # type: ignore[attr-defined]


def easy(words: str) -> list[Row]:
    sets = {
        "i want my money back": ["refund"],
        "where is my parcel": ["status"],
        "where is my parcel or i want my money back": ["refund", "status"],
        "it is the": [],
    }
    return [
        row for word in words.split() for row in rows_of([f"{x} {word}" for x in sets], list(sets.values()))
    ]


KNOWN = ["refund", "status"]
EASY, HELD_OUT = easy("late order please now broken lost"), easy("a the")


@pytest.fixture(scope="module", params=["head", "full"])
def student(
    request: Any, tiny_bert: Any, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    training_config = TrainingConfig(mode="head", kind="multilabel")
    if request.param == "full":
        base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny")
        training_config = TrainingConfig(
            base=base, epochs=40, learning_rate=3e-3, kind="multilabel", device="cpu"
        )
    made: Any = train(EASY, KNOWN, training_config, seed=0, encoder=encoder)
    assert made.thresholds.tolist() == [0.5, 0.5]
    made.thresholds = np.array([0.45, 0.6])
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "accuracy"])
def test_a_student_learns_which_labels_a_text_has_or_that_it_has_none(
    student: Classifier, metric: str
) -> None:
    assert student.kind == "multilabel"
    assert evaluate(student, HELD_OUT, metric)["metric"] > 0.9


def test_continued_training_of_a_head_leaves_the_first_student_unchanged(encoder: Encoder) -> None:
    training_config = TrainingConfig(mode="head", kind="multilabel")
    first: Any = train(EASY[:8], KNOWN, training_config, seed=0, encoder=encoder)
    before = first.weight.copy()
    first.thresholds = np.array([0.4, 0.6])
    symmetric = TrainingConfig(mode="head", kind="multilabel", objective=Objective("sce"))
    on: Any = continue_training(first, EASY, symmetric, seed=0, encoder=encoder)
    assert (first.weight == before).all()
    assert on.thresholds.tolist() == [0.4, 0.6]
    assert evaluate(on, HELD_OUT, "micro_f1")["metric"] > 0.9


def test_an_untrained_student_predicts_sets_of_labels(encoder: Encoder) -> None:
    found = untrained_student(KNOWN, TrainingConfig(mode="head", kind="multilabel"), seed=0, encoder=encoder)
    assert set(json.loads(found.predict([EASY[0]["text"]]).answers[0])) <= set(KNOWN)


def test_a_saved_student_predicts_the_same_with_the_same_thresholds(
    student: Classifier, tmp_path: Path
) -> None:
    texts = [row["text"] for row in [*EASY, *HELD_OUT]]
    student.save(tmp_path / "student")
    loaded: Any = load_student(tmp_path / "student", device_name="cpu")
    assert (loaded.kind, loaded.labels) == ("multilabel", KNOWN)
    assert loaded.thresholds.tolist() == [0.45, 0.6]
    assert loaded.logits(texts) == pytest.approx(student.logits(texts), abs=1e-4)
    assert loaded.predict(texts).answers == student.predict(texts).answers


def test_an_exported_student_opens_as_a_transformers_pipeline_with_a_score_for_each_label(
    student: Classifier, tmp_path: Path
) -> None:
    from transformers import pipeline

    student.export(tmp_path / "student")
    about = json.loads((tmp_path / "student" / "config.json").read_text())
    assert about["problem_type"] == "multi_label_classification"
    assert about["thresholds"] == [0.45, 0.6]
    pipe = pipeline(
        "text-classification", str(tmp_path / "student"), top_k=None, device="cpu", trust_remote_code=True
    )
    texts = [row["text"] for row in HELD_OUT]
    found = [{one["label"]: one["score"] for one in scores} for scores in pipe(texts)]
    expected = sigmoid(student.logits(texts))
    assert [[scores[label] for label in KNOWN] for scores in found] == pytest.approx(expected, abs=1e-3)
    again: Any = load_student(tmp_path / "student", device_name="cpu")
    assert again.thresholds.tolist() == [0.45, 0.6]
    assert again.predict(texts).answers == student.predict(texts).answers


def test_a_foreign_multilabel_model_gets_thresholds_of_one_half(tiny_bert: Any, tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification, BertTokenizerFast

    base = tiny_bert(tmp_path / "tiny")
    model = BertForSequenceClassification.from_pretrained(
        base, problem_type="multi_label_classification", id2label=dict(enumerate(KNOWN)), num_labels=2
    )
    model.save_pretrained(tmp_path / "theirs")
    BertTokenizerFast.from_pretrained(base).save_pretrained(tmp_path / "theirs")
    found: Any = load_student(tmp_path / "theirs", device_name="cpu")
    assert (found.kind, found.labels, found.thresholds.tolist()) == ("multilabel", KNOWN, [0.5, 0.5])


def test_a_single_label_student_can_start_from_a_multilabel_student(tiny_bert: Any, tmp_path: Path) -> None:
    rows = [Row(id=content_id(x), text=x, label=y) for x, y in (("where is it", "room"), ("refund", "food"))]
    several = [Row(**{**row, "label": written([row["label"]])}) for row in rows]
    training_config = TrainingConfig(
        kind="multilabel", base=tiny_bert(tmp_path / "tiny"), epochs=1, min_steps=1
    )
    train(several, LABELS, training_config, seed=0, encoder=Encoder("minilm")).save(tmp_path / "several")
    again = TrainingConfig(base=str(tmp_path / "several"), epochs=1, min_steps=1)
    one = train(rows, LABELS, again, seed=0, encoder=Encoder("minilm"))
    one.save(tmp_path / "one")
    loaded = load_student(tmp_path / "one")
    assert loaded.kind == "classification"
    assert set(loaded.predict(["where is it", "refund"]).answers) <= set(LABELS)
