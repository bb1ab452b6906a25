"""The student in memory gives the predictions of `tutelage predict`, for every task type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.runs.predict_file import PredictionRequest
from tutelage.graph.runs.use import predict_texts
from tutelage.graph.serving.served_model import Answer, ServedModel
from tutelage.student.errors import InputError
from tutelage.student.models.base import HeadStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.fields import ONE, PAIR, join
from tutelage.student.training.adapters.tagger import fresh
from tutelage.student.training.configuration import TrainingConfig

TEXTS = ["Where is my parcel?", "I want my money back.", "Paris, 3 May: the lamp is broken.", "hm"]


def predicted(folder: Path, parts: list[str], label_field: str) -> list[tuple[Any, float]]:
    """Return what `predict --json` prints as label and confidence."""
    rows = [row for row, _ in predict_texts(PredictionRequest(folder), parts, print)]
    return [(row[label_field], row["confidence"]) for row in rows]


def shown(answers: list[Answer]) -> list[tuple[Any, float]]:
    return [(one.label, pytest.approx(one.confidence, abs=1e-3)) for one in answers]


def test_one_label(shop_folder: Path, shop_model: ServedModel) -> None:
    assert predicted(shop_folder, TEXTS, "label") == shown(shop_model.predict(TEXTS))


def test_several_labels(head_folder: Callable[..., Path]) -> None:
    folder = head_folder(ONE, [0.5, 0.4])
    answers = ServedModel(folder).predict(TEXTS)
    assert predicted(folder, TEXTS, "labels") == shown(answers)
    assert all(isinstance(one.label, list) for one in answers)


def test_pairs(head_folder: Callable[..., Path]) -> None:
    folder = head_folder(PAIR)
    pairs = [join({"text_a": a, "text_b": b}, PAIR) for a, b in (TEXTS[:2], TEXTS[2:])]
    assert predicted(folder, TEXTS, "label") == shown(ServedModel(folder).predict(pairs))


def test_entities(tmp_path: Path) -> None:
    tagger = fresh(["product", "city"], TrainingConfig(kind="ner", device="cpu"), seed=0)
    tagger.save(tmp_path / "student")
    model = ServedModel(tmp_path / "student")
    answers = model.predict(TEXTS)
    assert predicted(tmp_path / "student", TEXTS, "entities") == shown(answers)
    assert any(set(entity) == {"start", "end", "type", "text"} for one in answers for entity in one.label)
    assert not model.gives_probabilities
    assert answers[0].probabilities is None


def test_target_texts(tmp_path: Path) -> None:
    folder = tiny_seq2seq(tmp_path / "student", TEXTS, width=32, words=270)
    answers = ServedModel(folder).predict(TEXTS[:2])
    assert predicted(folder, TEXTS[:2], "target") == shown(answers)
    assert all(isinstance(one.label, str) and one.probabilities is None for one in answers)


def test_an_exported_folder_gives_the_same_answers(
    shop_folder: Path, shop_model: ServedModel, tmp_path: Path
) -> None:
    load_student(shop_folder).export(tmp_path / "exported")
    found = ServedModel(tmp_path / "exported").predict(TEXTS)
    expected = shop_model.predict(TEXTS)
    assert [one.label for one in found] == [one.label for one in expected]
    assert [one.confidence for one in found] == pytest.approx([one.confidence for one in expected], abs=1e-3)


def test_the_vectors_of_answered_texts_are_not_kept(shop_model: ServedModel) -> None:
    student = shop_model._student
    assert isinstance(student, HeadStudent)
    shop_model.predict(TEXTS)
    assert not student.encoder._cache


def test_a_folder_without_a_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no student"):
        ServedModel(tmp_path)
