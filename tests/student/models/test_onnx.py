"""Classifiers and taggers as ONNX: the same answers as torch, and none that differ are written."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models import onnx as onnx_models
from tutelage.student.models.base import FullStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import Parity, write_onnx
from tutelage.student.models.onnx_student import OnnxTagger, load_predictor
from tutelage.student.models.standalone import Model
from tutelage.student.models.tagger import Tagger
from tutelage.student.tasks.fields import join
from tutelage.student.tasks.spans import Span, spans
from tutelage.student.tasks.spans import written as as_label
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

Python = Callable[..., subprocess.CompletedProcess[str]]

LABELS = ["refund", "status"]
TEXTS = ["i want my money back", "where is the late parcel, and why has nobody answered me?", "money"]
PAIR = ("premise", "hypothesis")


def written(student: Any, folder: Path, texts: list[str]) -> tuple[FullStudent, Parity]:
    """Export a student, write it as ONNX, and return the loaded student and the comparison."""
    student.export(folder)
    loaded = load_student(folder, device_name="cpu")
    assert isinstance(loaded, FullStudent)
    return loaded, write_onnx(loaded, folder, texts)


@pytest.fixture(scope="module")
def tiny(tiny_bert: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert(tmp_path_factory.mktemp("onnx") / "tiny", pooling="mean_tokens")


def config(base: str, **fields: Any) -> TrainingConfig:
    return TrainingConfig(**{"base": base, "epochs": 1, "min_steps": 2, "device": "cpu", **fields})


@pytest.mark.parametrize("kind", ["full", "probed", "head"])
def test_a_classifier_answers_the_same_as_onnx(kind: str, tiny: str, easy: list[Row], tmp_path: Path) -> None:
    fields = {"full": {}, "probed": {"probe_first": True}, "head": {"mode": "head"}}[kind]
    encoder = Encoder(tiny, device="cpu")
    student = train(easy, LABELS, TrainingConfig(base=tiny, device="cpu", **fields), seed=0, encoder=encoder)
    loaded, parity = written(student, tmp_path / "out", TEXTS)
    model = Model(tmp_path / "out")
    assert model.predict_proba(TEXTS) == pytest.approx(loaded.predict_proba(TEXTS), abs=1e-5)
    assert model.predict(TEXTS) == loaded.predict(TEXTS).answers
    assert model.predict_proba(TEXTS[:1]) == pytest.approx(model.predict_proba(TEXTS)[:1], abs=1e-5)
    assert parity["texts"] == 3
    assert parity["difference"] < 1e-5
    assert set(parity["milliseconds"]) == {"torch", "onnx", "int8"}
    assert parity["megabytes"]["int8"] < parity["megabytes"]["onnx"]


@pytest.mark.slow
def test_pairs_and_several_labels_keep_their_form(tiny: str, encoder: Encoder, tmp_path: Path) -> None:
    pairs = [join({"premise": f"a {i}", "hypothesis": f"b {i}"}, PAIR) for i in range(8)]
    rows = [Row(id=content_id(t), text=t, label=LABELS[i % 2]) for i, t in enumerate(pairs)]
    student = train(rows, LABELS, config(tiny, kind="pairs", fields=PAIR), seed=0, encoder=encoder)
    loaded, _ = written(student, tmp_path / "pairs", pairs)
    found = Model(tmp_path / "pairs").predict_proba([("a 1", "b 1")])
    assert found == pytest.approx(
        loaded.predict_proba([join({"premise": "a 1", "hypothesis": "b 1"}, PAIR)]), abs=1e-5
    )

    sets = ['["refund"]', '["refund", "status"]', "[]", '["status"]'] * 3
    rows = [Row(id=content_id(f"t {i}"), text=f"t {i}", label=label) for i, label in enumerate(sets)]
    student = train(rows, LABELS[::-1], config(tiny, kind="multilabel"), seed=0, encoder=encoder)
    assert isinstance(student, FullStudent)
    student.thresholds = np.zeros(2)  # both labels of each text, which have no alphabetical order
    loaded, parity = written(student, tmp_path / "sets", TEXTS)
    assert parity["same"] == 1
    assert loaded.predict(TEXTS).answers == ['["refund", "status"]'] * 3
    model = Model(tmp_path / "sets")
    assert model.predict_proba(TEXTS) == pytest.approx(loaded.predict_proba(TEXTS), abs=1e-5)
    assert [json.dumps(one) for one in model.predict(TEXTS)] == loaded.predict(TEXTS).answers


def test_a_model_that_answers_otherwise_than_torch_is_refused(
    tiny: str, easy: list[Row], encoder: Encoder, tmp_path: Path
) -> None:
    loaded, _ = written(train(easy, LABELS, config(tiny), seed=0, encoder=encoder), tmp_path / "out", TEXTS)
    other = train(easy, LABELS, config(tiny), seed=1, encoder=encoder)
    assert isinstance(other, FullStudent)
    with pytest.raises(InputError, match="the ONNX model predicts differently from torch"):
        onnx_models._compare_with_torch(other, tmp_path / "out", TEXTS)
    # The 8-bit model is left out if its answers differ: here it is that of another student.
    written(other, tmp_path / "other", TEXTS)
    small = tmp_path / "out" / "onnx" / "model_int8.onnx"
    (tmp_path / "other" / "onnx" / "model_int8.onnx").replace(small)
    texts = [f"{text} {word}" for text in TEXTS for word in "abcdefghijklmnop"]
    same = Model(tmp_path / "out", int8=True).predict_proba(texts).argmax(1) == loaded.predict_proba(
        texts
    ).argmax(1)
    parity = onnx_models._compare_with_torch(loaded, tmp_path / "out", texts)
    assert parity["int8_same"] == pytest.approx(same.mean())
    refused = (~same).sum() > (1 - onnx_models.INT8_SAME) * len(texts)
    assert ("int8_refused" in parity) == refused == (not small.exists())
    for share, count, refused in ((0.5, 2, True), (0.95, 20, False), (0.9, 20, True), (0.97, 200, True)):
        assert onnx_models._differ(share, count, 0.98) == refused


def test_students_that_onnx_cannot_express_are_named(tiny: str, encoder: Encoder, tmp_path: Path) -> None:
    pairs = [join({"premise": f"a {i}", "hypothesis": f"b {i}"}, PAIR) for i in range(8)]
    rows = [Row(id=content_id(t), text=t, label=LABELS[i % 2]) for i, t in enumerate(pairs)]
    head = TrainingConfig(mode="head", base=tiny, kind="pairs", fields=PAIR, device="cpu")
    student = train(rows, LABELS, head, seed=0, encoder=Encoder(tiny, device="cpu"))
    with pytest.raises(InputError, match="encodes the two texts apart, which ONNX cannot express"):
        written(student, tmp_path / "out", pairs)


def test_predict_py_needs_neither_torch_nor_tutelage(
    tiny: str, easy: list[Row], encoder: Encoder, bare_python: Python, tmp_path: Path
) -> None:
    loaded, _ = written(train(easy, LABELS, config(tiny), seed=0, encoder=encoder), tmp_path / "out", TEXTS)
    for missing in ("torch", "tutelage", "transformers"):
        assert f"No module named '{missing}'" in bare_python("-c", f"import {missing}").stderr
    done = bare_python("out/predict.py", *TEXTS)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["label"] for line in lines] == loaded.predict(TEXTS).answers
    assert [line["confidence"] for line in lines] == pytest.approx(loaded.predict(TEXTS).confidence, abs=1e-3)
    assert "pip install onnxruntime tokenizers numpy" in bare_python("out/predict.py", "--help").stdout
    wrong = bare_python("out/predict.py", "--file", "x")
    assert (wrong.returncode, wrong.stderr.strip()) == (
        1,
        "unknown option --file; the options are --int8 and --help",
    )
    empty = bare_python("out/predict.py", input=f"{TEXTS[0]}\n\n \n")
    assert empty.stderr.strip() == "text 2 is empty, 2 of 3 in all; leave empty texts out"
    again = bare_python("out/predict.py", "--int8", input=f"{TEXTS[0]}\n")
    assert json.loads(again.stdout)["text"] == TEXTS[0]
    assert np.isfinite(json.loads(again.stdout)["confidence"])


SENTENCES = ["maria novak paid", "the C++ parcel of maria novak, from rome", "nothing", "rome " * 200, "!"]


@pytest.fixture(scope="module")
def tagger(tiny: str, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tagger, Path]:
    """Return a trained tagger and the folder to which it was exported, with its ONNX models."""
    person, city = Span(0, 11, "person"), Span(17, 21, "city")
    given = [("maria novak left rome", [person, city]), ("the parcel is late", [])] * 8
    rows = [Row(id=str(i), text=text, label=as_label(found)) for i, (text, found) in enumerate(given)]
    fields: dict[str, Any] = {"kind": "ner", "min_steps": 60, "learning_rate": 5e-3}
    student = train(rows, ["person", "city"], config(tiny, **fields), seed=0, encoder=encoder)
    folder = tmp_path_factory.mktemp("tagger") / "out"
    student.export(folder)
    loaded = load_student(folder, device_name="cpu")
    assert isinstance(loaded, Tagger)
    assert write_onnx(loaded, folder, SENTENCES)["difference"] < 1e-5
    return loaded, folder


def test_a_tagger_finds_the_same_entities_as_onnx(tagger: tuple[Tagger, Path]) -> None:
    student, folder = tagger
    expected = student.predict(SENTENCES)
    assert spans(expected.answers[0]) == [Span(0, 11, "person")]  # it has learnt something
    found = load_predictor(folder)
    assert isinstance(found, OnnxTagger)
    assert (found.kind, found.labels, found.fields) == ("ner", ["person", "city"], student.fields)
    got = found.predict(SENTENCES, gold=expected.answers)
    assert got.answers == expected.answers
    assert got.confidence == pytest.approx(expected.confidence, abs=1e-5)
    assert got.nll == pytest.approx(student.predict(SENTENCES, gold=expected.answers).nll, abs=1e-5)
    assert found.count_truncated(SENTENCES) == student.count_truncated(SENTENCES) == 1
    assert found.predict([]).answers == []
    assert isinstance(load_predictor(folder, "torch"), Tagger)


def test_predict_py_of_a_tagger_needs_neither_torch_nor_tutelage(
    tagger: tuple[Tagger, Path], bare_python: Python
) -> None:
    student, folder = tagger
    done = bare_python(str(folder / "predict.py"), *SENTENCES)
    assert done.returncode == 0, done.stderr
    for text, line, label in zip(
        SENTENCES, done.stdout.splitlines(), student.predict(SENTENCES).answers, strict=True
    ):
        entities = json.loads(line)["entities"]
        assert [Span(one["start"], one["end"], one["type"]) for one in entities] == spans(label)
        assert all(text[one["start"] : one["end"]] == one["text"] for one in entities)
