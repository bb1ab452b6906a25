"""Test that students are saved and loaded, and opened by transformers without tutelage."""

import json
from pathlib import Path

import numpy as np
import pytest
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent, HeadStudent
from tutelage.student.models.load import load_student
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

LABELS = ["refund", "status"]
TEXTS = ["where is my parcel", "money back!", "", "please " * 200, "Größe 世界 😀"]


@pytest.fixture(scope="module")
def full(tiny_bert, encoder, easy, tmp_path_factory) -> FullStudent:
    base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny")
    training_config = TrainingConfig(
        base=base, epochs=2, min_steps=20, learning_rate=1e-3, max_tokens=24, device="cpu"
    )
    return train(easy, LABELS, training_config, seed=0, encoder=encoder)


@pytest.fixture(scope="module")
def head(encoder, easy) -> HeadStudent:
    return train(easy, LABELS, TrainingConfig(mode="head"), seed=0, encoder=encoder)


def through_pipeline(folder: Path, texts: list[str], labels: list[str], **options) -> np.ndarray:
    """Return the probabilities of a transformers pipeline, in the order of labels."""
    from transformers import pipeline

    pipe = pipeline("text-classification", str(folder), top_k=None, device="cpu", **options)
    given = [{entry["label"]: entry["score"] for entry in answer} for answer in pipe(texts, truncation=True)]
    return np.array([[answer[label] for label in labels] for answer in given])


def test_probabilities_are_in_the_order_of_the_texts(full) -> None:
    alone = np.concatenate([full.predict_proba([text]) for text in TEXTS])
    assert full.predict_proba(TEXTS) == pytest.approx(alone, abs=1e-5)
    assert full.predict_proba(TEXTS[::-1]) == pytest.approx(alone[::-1], abs=1e-5)


@pytest.mark.parametrize("kind", ["full", "head"])
def test_no_texts_give_no_probabilities(full, head, kind: str) -> None:
    assert {"full": full, "head": head}[kind].predict_proba([]).shape == (0, 2)


def test_a_full_student_is_the_same_after_saving_and_loading(full, tmp_path: Path) -> None:
    full.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert (loaded.labels, loaded.max_tokens) == (LABELS, 24)
    assert loaded.predict_proba(TEXTS) == pytest.approx(full.predict_proba(TEXTS), abs=1e-6)


def test_a_full_student_keeps_its_token_limit_after_loading(tiny_bert, encoder, easy, tmp_path) -> None:
    base = tiny_bert(tmp_path / "long", positions=1100)
    training_config = TrainingConfig(base=base, epochs=1, min_steps=1, max_tokens=1000, device="cpu")
    train(easy, LABELS, training_config, seed=0, encoder=encoder).save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert loaded.max_tokens == 1000


def test_a_full_student_opens_as_a_transformers_pipeline(full, tmp_path: Path) -> None:
    full.export(tmp_path / "student")
    assert through_pipeline(tmp_path / "student", TEXTS, LABELS) == pytest.approx(
        full.predict_proba(TEXTS), abs=1e-4
    )


def test_a_head_student_is_the_same_after_saving_and_loading(head, tmp_path: Path) -> None:
    head.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student")
    assert isinstance(loaded, HeadStudent)
    assert loaded.labels == LABELS
    assert loaded.predict_proba(TEXTS) == pytest.approx(head.predict_proba(TEXTS), abs=1e-5)


def test_a_saved_head_is_small_because_it_only_names_its_encoder(head, tmp_path: Path) -> None:
    head.save(tmp_path / "student")
    assert sum(path.stat().st_size for path in (tmp_path / "student").iterdir()) < 10_000


def test_a_loaded_head_reuses_a_given_encoder_only_if_it_is_the_same(head, encoder, tmp_path) -> None:
    head.save(tmp_path / "student")
    other = Encoder("minilm", max_tokens=16)
    assert load_student(tmp_path / "student", encoder=encoder).encoder is encoder
    assert load_student(tmp_path / "student", encoder=other).encoder.max_tokens == encoder.max_tokens


def test_an_exported_head_opens_as_a_transformers_pipeline(head, tmp_path: Path) -> None:
    head.export(tmp_path / "student")
    found = through_pipeline(tmp_path / "student", TEXTS, LABELS, trust_remote_code=True)
    assert found == pytest.approx(head.predict_proba(TEXTS), abs=1e-4)


def test_an_exported_head_does_not_import_tutelage(head, tmp_path: Path) -> None:
    head.export(tmp_path / "student")
    code = (tmp_path / "student" / "modeling_head.py").read_text()
    imports = [line for line in code.splitlines() if line.startswith(("import", "from"))]
    assert imports
    assert not any("tutelage" in line for line in imports)
    assert json.loads((tmp_path / "student" / "config.json").read_text())["id2label"] == {
        "0": "refund",
        "1": "status",
    }


def test_an_exported_head_still_loads_as_a_student(head, tmp_path: Path) -> None:
    head.export(tmp_path / "student")
    loaded = load_student(tmp_path / "student")
    assert loaded.predict_proba(TEXTS) == pytest.approx(head.predict_proba(TEXTS), abs=1e-5)


def test_a_head_on_a_local_folder_opens_as_a_transformers_pipeline(tiny_bert, easy, tmp_path: Path) -> None:
    encoder = Encoder(tiny_bert(tmp_path / "tiny", pooling="mean_tokens"), device="cpu")
    student = train(easy, LABELS, TrainingConfig(mode="head", base=encoder.name), seed=0, encoder=encoder)
    student.export(tmp_path / "student")
    found = through_pipeline(tmp_path / "student", TEXTS, LABELS, trust_remote_code=True)
    assert found == pytest.approx(student.predict_proba(TEXTS), abs=1e-4)


def test_a_head_on_another_pooling_is_never_exported_as_a_mean_pooled_one(tiny_bert, easy, tmp_path) -> None:
    encoder = Encoder(tiny_bert(tmp_path / "first_token", pooling="cls_token"), device="cpu")
    student = train(easy, LABELS, TrainingConfig(mode="head", base=encoder.name), seed=0, encoder=encoder)
    try:
        student.export(tmp_path / "student")
    except InputError:
        return
    found = through_pipeline(tmp_path / "student", TEXTS, LABELS, trust_remote_code=True)
    assert found == pytest.approx(student.predict_proba(TEXTS), abs=1e-4)


def test_one_text_in_place_of_a_list_is_refused(full, head) -> None:
    for student in (full, head):
        for method in (student.predict, student.predict_proba, student.predict_best):
            with pytest.raises(InputError, match="expected a list of texts, got one text, 'where is it'"):
                method("where is it")


def test_a_folder_without_a_student_is_reported(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"{folder} holds no student \\(no config.json\\); give a run"):
            load_student(folder)


def test_a_damaged_student_is_reported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be (loaded|read)"):
        load_student(tmp_path)


def test_a_damaged_head_is_reported(head, tmp_path: Path) -> None:
    head.save(tmp_path)
    stored = (tmp_path / "head.npz").read_bytes()
    (tmp_path / "head.npz").write_bytes(stored[: len(stored) // 2])
    with pytest.raises(InputError, match=r"head\.npz"):
        load_student(tmp_path)
