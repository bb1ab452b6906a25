"""Test students that classify the mean of the last hidden states."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import FullStudent
from tutelage.student.models.load import load_student
from tutelage.student.tasks.fields import join
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student

LABELS = ["refund", "status"]


def texts_of(rows: list[Row]) -> list[str]:
    return [row["text"] for row in rows]


def through_pipeline(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    from transformers import pipeline

    pipe = pipeline("text-classification", str(folder), top_k=None, device="cpu", **options)
    given = [{entry["label"]: entry["score"] for entry in answer} for answer in pipe(texts, truncation=True)]
    return np.array([[answer[label] for label in LABELS] for answer in given])


@pytest.fixture(scope="module")
def pooled(quick, encoder, easy) -> FullStudent:
    """Return a mean-pooled student with all weights trained."""
    return train(easy, LABELS, replace(quick, pooling="mean"), seed=0, encoder=encoder)


def test_training_a_mean_pooled_student_changes_its_encoder(pooled, quick, easy) -> None:
    before = untrained_student(LABELS, replace(quick, pooling="mean"), seed=0, encoder=Encoder(quick.base))
    name = "encoder.encoder.layer.0.output.dense.weight"
    moved = pooled.model.state_dict()[name] - before.model.state_dict()[name]
    assert moved.abs().max() > 1e-3
    assert (pooled.predict_proba(texts_of(easy)).argmax(1) == np.repeat([0, 1], 12)).mean() > 0.9


@pytest.mark.parametrize("write", ["save", "export"])
def test_a_mean_pooled_student_is_the_same_after_saving_and_loading(pooled, easy, tmp_path, write) -> None:
    getattr(pooled, write)(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert loaded.predict_proba(texts_of(easy)) == pytest.approx(
        pooled.predict_proba(texts_of(easy)), abs=1e-6
    )


def test_a_mean_pooled_student_opens_as_a_transformers_pipeline(pooled, easy, tmp_path: Path) -> None:
    pooled.save(tmp_path / "student")
    found = through_pipeline(tmp_path / "student", texts_of(easy), trust_remote_code=True)
    assert found == pytest.approx(pooled.predict_proba(texts_of(easy)), abs=1e-4)


def test_loading_a_mean_pooled_student_runs_no_code_of_its_folder(pooled, easy, tmp_path: Path) -> None:
    pooled.save(tmp_path / "student")
    (tmp_path / "student" / "modeling_head.py").write_text("raise RuntimeError('this code was run')")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert loaded.predict(texts_of(easy)).answers == pooled.predict(texts_of(easy)).answers


def test_an_architecture_with_built_in_mean_pooling_needs_no_extra_code(
    pooled_base, encoder, easy, tmp_path
) -> None:
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id"), 0)
    ModernBertModel(ModernBertConfig(vocab_size=40, sep_token_id=3, **tokens, **sizes)).save_pretrained(
        tmp_path / "modern"
    )
    AutoTokenizer.from_pretrained(pooled_base).save_pretrained(tmp_path / "modern")
    training_config = TrainingConfig(
        base=str(tmp_path / "modern"), epochs=1, min_steps=0, pooling="mean", device="cpu"
    )
    student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
    student.save(tmp_path / "student")
    assert student.model.config.classifier_pooling == "mean"
    assert not list((tmp_path / "student").glob("*.py"))
    assert through_pipeline(tmp_path / "student", texts_of(easy[:3])).shape == (3, 2)


def test_a_pair_is_mean_pooled_as_one_text(pooled_base, encoder, tmp_path: Path) -> None:
    names = ("first", "second")
    training_config = TrainingConfig(
        kind="pairs", base=pooled_base, fields=names, pooling="mean", epochs=1, min_steps=0, device="cpu"
    )
    pairs = [("where is", "my parcel"), ("my", "money back please")]
    rows = [
        Row(id=str(i), text=join(dict(zip(names, pair, strict=True)), names), label=LABELS[i])
        for i, pair in enumerate(pairs)
    ]
    student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
    logits = student.logits(texts_of(rows))
    inputs = student.tokenizer(*pairs[0], return_tensors="pt")
    assert inputs["token_type_ids"].sum() > 0
    with torch.no_grad():
        hidden = student.model.encoder(**inputs).last_hidden_state[0]
        mean = torch.nn.functional.normalize(hidden.mean(0), dim=-1)
        assert logits[0] == pytest.approx(student.model.classifier(mean).numpy(), abs=1e-5)
    student.save(tmp_path / "student")
    assert load_student(tmp_path / "student", device_name="cpu").logits(texts_of(rows)) == pytest.approx(
        logits, abs=1e-5
    )
