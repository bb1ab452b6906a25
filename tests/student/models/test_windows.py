"""Students that read long texts in overlapping windows."""

import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.graph.task.load import parse_task
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import write_onnx
from tutelage.student.models.prediction_inputs import truncation_note
from tutelage.student.models.standalone import Model
from tutelage.student.models.windows import encode
from tutelage.student.training.adapters.window_batches import WindowBatches
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import continue_training, train

LABELS = ["refund", "status"]
FILLER = "please now it the a " * 6  # thirty words; the students read sixteen tokens
ENDS = {"refund": "want my money back", "status": "where is parcel late"}


def long_rows(*, repeat: int = 1) -> list[Row]:
    """Return twenty-four rows whose telling words come last, after thirty others or more."""
    words = FILLER.split()
    texts = [(" ".join(words[i:] + words[:i]) + " ") * repeat for i in range(12)]
    pairs = [(f"{text}{ENDS[label]} {i}", label) for i, text in enumerate(texts) for label in LABELS]
    return [Row(id=content_id(text), text=text, label=label) for text, label in pairs]


ROWS = long_rows()
TEXTS = [row["text"] for row in ROWS]
MIXED = ["money back", TEXTS[0], "", "please " * 200, TEXTS[1], "where is it"]


@pytest.fixture(scope="module")
def quick(tiny_bert: Any, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny", pooling="mean_tokens")
    rate = {"learning_rate": 2e-3, "epochs": 1, "min_steps": 60, "batch": 8}
    return TrainingConfig(base=base, device="cpu", max_tokens=16, long="window", **rate)


def trained(training_config: TrainingConfig, rows: list[Row] = ROWS) -> FullStudent:
    encoder = Encoder(training_config.base, device="cpu")
    student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
    assert isinstance(student, FullStudent)
    return student


@pytest.fixture(scope="module")
def windowed(quick: TrainingConfig) -> FullStudent:
    return trained(quick)


def right(student: FullStudent, rows: list[Row] = ROWS) -> float:
    answers = student.predict([row["text"] for row in rows]).answers
    return float(np.mean([answer == row["label"] for answer, row in zip(answers, rows, strict=True)]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"pooling": "mean"},
        {"probe_first": True, "epochs": 0, "min_steps": None},
        {"probe_first": True, "epochs": 0, "min_steps": None, "contrastive_steps": 20},
    ],
    ids=["cls", "mean", "probe", "contrastive"],
)
def test_words_at_the_end_of_a_long_text_are_read_in_windows_only(
    quick: TrainingConfig, fields: dict[str, Any]
) -> None:
    assert right(trained(replace(quick, **fields))) == 1.0
    assert right(trained(replace(quick, **fields, long="cut"))) < 0.8


def test_a_student_of_windows_can_be_trained_further(quick: TrainingConfig, windowed: FullStudent) -> None:
    turned = [Row(**{**row, "label": LABELS[row["label"] == "refund"]}) for row in ROWS]
    encoder = Encoder(quick.base, device="cpu")
    again = continue_training(windowed, turned, replace(quick, epochs=40), seed=0, encoder=encoder)
    assert isinstance(again, FullStudent)
    assert (again.long, right(again, turned)) == ("window", 1.0)


def test_several_labels_are_read_in_windows(quick: TrainingConfig) -> None:
    rows = [Row(**{**row, "label": json.dumps([row["label"]])}) for row in ROWS]
    assert right(trained(replace(quick, kind="multilabel"), rows), rows) == 1.0


def test_a_window_repeats_a_quarter_of_the_one_before_it(windowed: FullStudent) -> None:
    [whole] = windowed.tokenizer([TEXTS[0]])["input_ids"]
    encoded, owners = encode(windowed, ["money", TEXTS[0]])
    assert owners == [0, *[1] * (len(owners) - 1)]
    windows = [ids[1:-1] for ids in encoded["input_ids"][1:]]
    assert all(first[-4:] == second[:4] for first, second in pairwise(windows))
    assert windows[0] + [token for window in windows[1:] for token in window[4:]] == whole[1:-1]
    assert max(map(len, encoded["input_ids"])) == 16


def test_the_logits_of_a_text_are_the_mean_over_its_windows(windowed: FullStudent) -> None:
    encoded, owners = encode(windowed, TEXTS[:1], padding=True, return_tensors="pt")
    windowed.model.eval()
    with torch.no_grad():
        expected = windowed.model(**encoded).logits.mean(0).numpy()
    assert len(owners) > 1
    assert windowed.logits(TEXTS[:1])[0] == pytest.approx(expected, abs=1e-5)


def test_a_text_alone_and_among_others_has_the_same_probabilities(windowed: FullStudent) -> None:
    texts = [*MIXED, "please now " * 3000]  # more windows than one forward pass has
    alone = np.concatenate([windowed.predict_proba([text]) for text in texts])
    assert windowed.predict_proba(texts) == pytest.approx(alone, abs=1e-5)
    assert windowed.predict_proba(texts[::-1]) == pytest.approx(alone[::-1], abs=1e-5)
    assert windowed.predict_proba([]).shape == (0, 2)


def test_short_texts_are_read_as_by_a_student_that_cuts(quick: TrainingConfig, easy: list[Row]) -> None:
    texts = [row["text"] for row in easy]
    found = [trained(replace(quick, long=long), easy).predict_proba(texts) for long in ("cut", "window")]
    assert (found[0] == found[1]).all()


def test_a_step_reads_at_most_eight_windows_of_a_text(quick: TrainingConfig, windowed: FullStudent) -> None:
    text = " ".join(random.Random(0).choices(FILLER.split(), k=300))
    batches = WindowBatches([text, "money"], windowed)
    inputs, owners = batches.inputs([1, 0])
    assert (owners, len(inputs["input_ids"])) == ([0, *[1] * 8], 9)
    first, second = (batches.inputs([0])[0]["input_ids"].tolist() for _ in range(2))
    assert first != second
    few, rows = replace(quick, min_steps=3), long_rows(repeat=10)
    assert (trained(few, rows).logits(MIXED) == trained(few, rows).logits(MIXED)).all()


def test_nothing_is_noted_as_truncated(windowed: FullStudent, quick: TrainingConfig) -> None:
    assert truncation_note(windowed, TEXTS) == ""
    cut = trained(replace(quick, long="cut", min_steps=1))
    assert truncation_note(cut, TEXTS).startswith("note: 24 of 24 texts are too long")


def test_a_saved_student_reads_windows_again(windowed: FullStudent, tmp_path: Path) -> None:
    windowed.save(tmp_path / "student")
    assert json.loads((tmp_path / "student" / "config.json").read_text())["long_texts"] == "window"
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert (loaded.long, loaded.max_tokens) == ("window", 16)
    assert loaded.predict_proba(MIXED) == pytest.approx(windowed.predict_proba(MIXED), abs=1e-6)


def test_a_base_that_read_windows_makes_a_student_that_cuts(
    windowed: FullStudent, quick: TrainingConfig, tmp_path: Path
) -> None:
    windowed.save(tmp_path / "base")
    again = trained(replace(quick, base=str(tmp_path / "base"), long="cut", min_steps=1))
    again.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert loaded.long == "cut"


@pytest.mark.slow
def test_onnx_without_torch_reads_windows_too(windowed: FullStudent, tmp_path: Path) -> None:
    windowed.export(tmp_path / "out")
    assert write_onnx(windowed, tmp_path / "out", MIXED)["difference"] < 1e-5
    model = Model(tmp_path / "out")
    texts = [*MIXED, "please now " * 600]
    assert model.predict_proba(texts) == pytest.approx(windowed.predict_proba(texts), abs=1e-5)
    assert model.predict_proba(texts[-1:]) == pytest.approx(model.predict_proba(texts)[-1:], abs=1e-5)
    assert model.predict(TEXTS) == [row["label"] for row in ROWS]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "ner"}, "`long` is not for tasks of type ner; leave it out"),
        ({"kind": "seq2seq"}, "`long` is not for tasks of type seq2seq"),
        ({"kind": "pairs", "fields": ("a", "b")}, "`long` is not for tasks of type pairs"),
        ({"mode": "head"}, "`long` is not for a student of mode `head`; leave it out"),
    ],
)
def test_students_that_cannot_read_windows_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(long="window", **fields)


def test_a_task_sets_windows_and_a_strategy_of_layers_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    teacher = {"model": "openai:none"}
    fields = {"name": "ends", "instruction": "Sort.", "labels": ENDS, "teacher": teacher}
    fields["student"] = {"long": "window"}
    task = parse_task({**fields, "data": {"labelled": "rows.jsonl"}}, "task", tmp_path)
    assert task.training_config().long == "window"
    data = dict.fromkeys(("seed", "diagnose", "gate", "unlabelled"), "rows.jsonl")
    with pytest.raises(InputError, match="compares the layers of one sequence for each text"):
        parse_task({**fields, "data": data, "strategy": "ksm"}, "task", tmp_path)
