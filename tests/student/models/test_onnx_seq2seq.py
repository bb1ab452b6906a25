"""Encoder-decoders as ONNX: the same targets as torch, and none that differ are written."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.graph.task.load import Task
from tutelage.student.data.readers import read_rows
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models import onnx as onnx_models
from tutelage.student.models.causal import CausalStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import Parity, why_no_onnx, write_onnx
from tutelage.student.models.onnx_student import OnnxWriter, load_predictor
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.standalone import Writer
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.seq2seq import SEQ2SEQ
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

Python = Callable[..., subprocess.CompletedProcess[str]]
Exported = tuple[Seq2seqStudent, Path, Parity]


def exported(student: Any, folder: Path, texts: list[str]) -> Exported:
    """Export a student, write it as ONNX, and return the loaded student, the folder and the comparison."""
    student.export(folder)
    loaded = load_student(folder, device_name="cpu")
    assert isinstance(loaded, Seq2seqStudent)
    return loaded, folder, write_onnx(loaded, folder, texts)


@pytest.fixture(scope="module")
def rows(seq2seq_task: Task) -> list[Row]:
    assert seq2seq_task.teacher.corpus
    return read_rows(seq2seq_task.teacher.corpus, [], task_type=SEQ2SEQ)


@pytest.fixture(scope="module")
def texts(rows: list[Row]) -> list[str]:
    """Return texts of many lengths that no student was trained on, one of them too long."""
    return [row["text"] for row in rows[400:440]] + ["x", "3 May 2024, " * 60]


@pytest.fixture(scope="module")
def t5(
    seq2seq_task: Task,
    rows: list[Row],
    texts: list[str],
    encoder: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """Return a trained T5 that uses beams, with its ONNX models."""
    config = TrainingConfig(
        kind="seq2seq",
        base=seq2seq_task.student.base,
        epochs=8,
        learning_rate=3e-3,
        max_target=16,
        beams=3,
        device="cpu",
    )
    student = train(rows[:400], [], config, seed=0, encoder=encoder)
    return exported(student, tmp_path_factory.mktemp("t5") / "out", texts)


@pytest.mark.slow
def test_a_t5_writes_the_same_as_onnx(t5: Exported, texts: list[str]) -> None:
    student, folder, parity = t5
    expected = student.predict(texts, gold=texts[::-1])
    assert len(set(expected.answers)) > 20  # it has learnt something
    found = load_predictor(folder, "onnx")
    assert isinstance(found, OnnxWriter)
    assert (found.kind, found.labels, found.fields) == ("seq2seq", [], student.fields)
    got = found.predict(texts, gold=texts[::-1], best=True)
    assert got.answers == expected.answers
    assert expected.nll is not None
    for name in ("confidence", "entropy", "margin", "energy", "nll"):
        assert getattr(got, name) == pytest.approx(getattr(expected, name), abs=1e-4), name
    assert found.predict(texts[:1]).answers == expected.answers[:1]
    assert found.count_truncated(texts) == student.count_truncated(texts) == 1
    assert found.predict([]).answers == []
    assert (parity["texts"], parity["same"]) == (len(texts), 1.0)
    assert parity["difference"] < 1e-4
    assert set(parity["milliseconds"]) == {"torch", "onnx", "int8"}
    assert parity["megabytes"]["int8"] < parity["megabytes"]["onnx"] / 2


@pytest.mark.slow
def test_a_student_with_beams_is_run_by_torch_unless_onnx_is_asked_for(
    t5: Exported, texts: list[str]
) -> None:
    student, folder, _ = t5
    best = student.predict_best(texts)
    assert best != student.predict(texts).answers
    assert load_predictor(folder).predict(texts, best=True).answers == best


@pytest.mark.slow
def test_a_model_that_writes_otherwise_than_torch_is_refused(
    t5: Exported, texts: list[str], tmp_path: Path
) -> None:
    import onnx

    student, exported_to, _ = t5
    folder = shutil.copytree(exported_to, tmp_path / "out")
    full, small = folder / "onnx" / "decoder.onnx", folder / "onnx" / "decoder_int8.onnx"

    def copy_full_to_small() -> None:
        for name in ("encoder", "decoder"):
            shutil.copy(folder / "onnx" / f"{name}.onnx", folder / "onnx" / f"{name}_int8.onnx")

    copy_full_to_small()
    parity = onnx_models._compare_with_torch(student, folder, texts)
    assert (parity["int8_same"], parity["int8_difference"]) == (1.0, parity["difference"])
    assert "int8_refused" not in parity
    assert small.exists()

    wrong = onnx.load(str(full))  # its output layer prefers the least probable token
    size = len(student.tokenizer)
    head = next(one for one in wrong.graph.initializer if list(one.dims)[1:] == [size])
    head.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(head), head.name))
    onnx.save(wrong, str(small))
    parity = onnx_models._compare_with_torch(student, folder, texts)
    assert parity["int8_same"] < onnx_models.INT8_SAME
    assert "of its answers are those of the full model" in parity["int8_refused"]
    assert sorted(path.name for path in (folder / "onnx").iterdir()) == ["decoder.onnx", "encoder.onnx"]
    with pytest.raises(InputError, match=r"encoder_int8\.onnx was not written; README\.md says why"):
        load_predictor(folder, "int8")

    copy_full_to_small()
    onnx.save(wrong, str(full))
    with pytest.raises(InputError, match="the ONNX model predicts differently from torch"):
        onnx_models._compare_with_torch(student, folder, texts)


@pytest.mark.slow
def test_predict_py_writes_targets_without_torch_and_tutelage(
    t5: Exported, texts: list[str], bare_python: Python
) -> None:
    student, folder, _ = t5
    done = bare_python(str(folder / "predict.py"), input="\n".join(texts))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    expected = student.predict(texts)
    assert [line["text"] for line in lines] == texts
    assert [line["target"] for line in lines] == expected.answers
    assert [line["confidence"] for line in lines] == pytest.approx(expected.confidence, abs=1e-3)


@pytest.mark.slow
def test_a_bart_begins_and_ends_with_the_tokens_that_it_has_to(
    rows: list[Row], texts: list[str], encoder: Encoder, tmp_path: Path
) -> None:
    from transformers import BartConfig, BartForConditionalGeneration

    base = tiny_seq2seq(tmp_path / "base", [row["text"] for row in rows[:100]], width=32, words=300)
    config = BartConfig(
        vocab_size=300,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=1,
        forced_bos_token_id=None,
        forced_eos_token_id=1,
    )
    model = BartForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = 20  # as multilingual models do
    model.save_pretrained(base)
    fields: dict[str, Any] = {"epochs": 2, "learning_rate": 3e-3, "max_target": 5, "max_tokens": 64}
    settings = TrainingConfig(kind="seq2seq", base=str(base), device="cpu", **fields)
    student = train(rows[:100], [], settings, seed=0, encoder=encoder)
    loaded, folder, parity = exported(student, tmp_path / "out", texts)
    assert (parity["same"], parity["texts"]) == (1.0, len(texts))
    expected = loaded.predict(texts)
    first = loaded.tokenizer.decode([20]).strip()
    assert all(answer.startswith(first) for answer in expected.answers)
    found = load_predictor(folder)
    assert isinstance(found, OnnxWriter)
    assert found.predict(texts).answers == expected.answers
    written = Writer(folder)._greedy(texts[:4])
    assert written.shape == (4, 5)
    assert np.isin(1, written)


def test_students_that_write_but_have_no_onnx_are_named(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    small: dict[str, Any] = {"vocab_size": 384, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1}
    model = T5ForConditionalGeneration(T5Config(num_heads=2, decoder_start_token_id=0, **small))
    bytes_student = Seq2seqStudent(model, ByT5Tokenizer(), 32, 8, 1)
    assert why_no_onnx(bytes_student) == "the tokenizer of the base has no tokenizer.json"
    with pytest.raises(InputError, match=r"no ONNX model can be written: .*; leave it out with --no-onnx"):
        write_onnx(bytes_student, tmp_path, ["a", "b"])
    causal = GPT2LMHeadModel(GPT2Config(vocab_size=384, n_embd=8, n_layer=1, n_head=2, n_positions=64))
    assert why_no_onnx(CausalStudent(causal, ByT5Tokenizer(), 32, 8, 1)) == "causal models are not converted"
    assert list(tmp_path.iterdir()) == []
