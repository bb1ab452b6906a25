"""Test how pairs of texts are read, encoded, learnt and written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.schemas import drafts_schema
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.splits import load_splits
from tutelage.graph.task.templates import scaffold
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder, PairEncoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student, features
from tutelage.student.models.load import load_student
from tutelage.student.tasks.fields import columns, join, split
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student

FIELDS = ("message", "queue")
LABELS = ["fits", "other"]


def pairs(*given: tuple[str, str, str]) -> list[Row]:
    rows = []
    for first, second, label in given:
        text = join({"message": first, "queue": second}, FIELDS)
        rows.append(Row(id=content_id(text), text=text, label=label))
    return rows


EASY = pairs(
    *[(f"where is my parcel {i}", "late parcel", "fits") for i in range(8)],
    *[(f"i want my money back {i}", "late parcel", "other") for i in range(8)],
    *[(f"i want my money back {i}", "refund money", "fits") for i in range(8)],
    *[(f"where is my parcel {i}", "refund money", "other") for i in range(8)],
)


@pytest.fixture(scope="module", params=["head", "full"])
def student(
    request: Any, tiny_bert: Any, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Student:
    if request.param == "head":
        return train(EASY, LABELS, TrainingConfig(mode="head", fields=FIELDS), seed=0, encoder=encoder)
    base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny")
    training_config = TrainingConfig(base=base, epochs=40, learning_rate=3e-3, fields=FIELDS, device="cpu")
    return train(EASY, LABELS, training_config, seed=0, encoder=encoder)


def test_a_student_learns_labels_that_depend_on_both_texts(student: Student) -> None:
    # Each message and each queue occurs equally often with each label.
    answers = student.predict_proba([row["text"] for row in EASY]).argmax(1)
    right = np.mean([LABELS[answer] == row["label"] for answer, row in zip(answers, EASY, strict=True)])
    assert right > 0.95


def test_a_saved_pair_student_predicts_the_same_after_loading(student: Student, tmp_path: Path) -> None:
    texts = [row["text"] for row in EASY]
    student.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert loaded.fields == FIELDS
    assert loaded.logits(texts) == pytest.approx(student.logits(texts), abs=1e-4)


def test_an_exported_pair_student_opens_as_a_transformers_pipeline(student: Student, tmp_path: Path) -> None:
    from transformers import pipeline

    student.export(tmp_path / "student")
    pipe = pipeline(
        "text-classification", str(tmp_path / "student"), top_k=None, device="cpu", trust_remote_code=True
    )
    texts = [row["text"] for row in EASY[::5]]
    first, second = columns(texts, FIELDS)
    given = [{"text": a, "text_pair": b} for a, b in zip(first, second, strict=True)]
    found = [{one["label"]: one["score"] for one in pipe(pair)} for pair in given]
    expected = student.predict_proba(texts)
    assert [[scores[label] for label in LABELS] for scores in found] == pytest.approx(expected, abs=1e-3)
    again = load_student(tmp_path / "student", device_name="cpu")
    assert again.predict_proba(texts) == pytest.approx(expected, abs=1e-3)


def test_an_untrained_pair_student_predicts(encoder: Encoder) -> None:
    found = untrained_student(LABELS, TrainingConfig(mode="head", fields=FIELDS), seed=0, encoder=encoder)
    assert found.predict_proba([EASY[0]["text"]]).shape == (1, 2)


def test_features_of_a_pair_are_both_vectors_their_distance_and_their_product(encoder: Encoder) -> None:
    text = join({"message": "one", "queue": "two"}, FIELDS)
    [found] = features(encoder, [text], FIELDS)
    u, v = encoder.encode(["one", "two"])
    assert found == pytest.approx(np.concatenate([u, v, abs(u - v), 384**0.5 * u * v]), abs=1e-6)


def test_the_similarity_of_pairs_is_the_mean_similarity_of_their_texts(encoder: Encoder) -> None:
    made = PairEncoder(encoder, FIELDS)
    one, other = (join({"message": "where is my parcel", "queue": q}, FIELDS) for q in ("late", "refund"))
    a, b = made.encode([one, other])
    late, refund = encoder.encode(["late", "refund"])
    assert a @ a == pytest.approx(1, abs=1e-5)
    assert a @ b == pytest.approx((1 + late @ refund) / 2, abs=1e-5)
    assert made.fingerprint != encoder.fingerprint


def test_pairs_split_at_different_places_have_different_ids() -> None:
    one = join({"message": "a", "queue": "b c"}, FIELDS)
    other = join({"message": "a b", "queue": "c"}, FIELDS)
    assert content_id(one) != content_id(other)
    assert split(one, FIELDS) == {"message": "a", "queue": "b c"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"message": "a", "queue": " ", "label": "fits"}, "field 'queue' of the pair is empty"),
        ({"message": "", "queue": "b", "label": "fits"}, "field 'message' of the pair is empty"),
        ({"message": "a", "label": "fits"}, "no field 'queue', got 'message', 'label'"),
        ({"message": "a ␞ c", "queue": "b", "label": "fits"}, "contains '␞', which separates"),
        ({"message": "a", "queue": 3, "label": "fits"}, "field 'queue' is int, expected a string"),
        ({"message": "a", "queue": "b" * 20_001, "label": "fits"}, "has 20,001 characters"),
        ({"message": "a", "queue": "b", "label": "fit"}, "did you mean 'fits'?"),
    ],
)
def test_an_invalid_pair_is_reported_in_one_line(
    tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(path, LABELS, columns=Columns(FIELDS))
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{path} line 1: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"fields": ["one"]}, "`fields` names the two texts of a pair"),
        ({"fields": ["one", "one"]}, "`fields` names the two texts of a pair"),
        ({"fields": ["one", "label"]}, "'label' cannot name a text"),
        ({"fields": ["one", "written"]}, "'written' cannot name a text"),
        ({"fields": ["one", "model_config"]}, "'model_config' cannot name a text"),
        ({"fields": ["one", "_two"]}, "'_two' cannot name a text"),
        ({"kind": "classification"}, "is for `kind: pairs`"),
        ({"kind": "pair"}, "`kind`"),
    ],
)
def test_invalid_fields_are_reported_in_one_line(
    pairs_task: Task, parts: dict[str, Any], message: str
) -> None:
    raw = pairs_task.model_dump(exclude_none=True)
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **parts}, "task.yaml", Path())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_data_source_of_pairs_must_name_two_columns(pairs_task: Task) -> None:
    raw = pairs_task.model_dump(exclude_none=True)
    raw["data"]["test"]["text"] = "message"
    with pytest.raises(InputError, match=r"`data\.test\.text` names 1 columns, expected 2"):
        parse_task(raw, "task.yaml", Path())


def test_other_columns_are_read_as_the_fields_of_the_task(pairs_task: Task, tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("asked,found,label\nwhere is it,late parcels,fits\n")
    raw = pairs_task.model_dump(exclude_none=True)
    raw["data"]["test"] = {"path": path, "text": ["asked", "found"]}
    [row] = load_splits(parse_task(raw, "task.yaml", Path())).test
    assert split(row["text"], FIELDS) == {"message": "where is it", "queue": "late parcels"}


def test_a_draft_of_a_pair_needs_both_texts_without_the_separator() -> None:
    reply_schema = drafts_schema(("fits", "other"), FIELDS)
    fields = {"label": "fits", "kind": "easy", "weakness": ""}
    good = {**fields, "message": " where is it ", "queue": "late parcels"}
    reply = {
        "drafts": [good, {**fields, "message": "alone"}, {**good, "queue": "a ␞ b"}, {**good, "queue": " "}]
    }
    found, problems = reply_schema.read(json.dumps(reply))
    assert [one.item.written for one in found] == ["where is it ␞ late parcels"]
    assert len(problems) == 3
    schema = reply_schema.json_schema["properties"]["drafts"]["items"]  # type: ignore[index]
    assert schema["required"] == ["label", "kind", "weakness", "message", "queue"]


def test_init_writes_a_pair_task_that_can_be_planned(tmp_path: Path, monkeypatch: Any) -> None:
    from tutelage.graph.planning.plan import plan
    from tutelage.graph.task.load import load_task

    scaffold(tmp_path, "pairs")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, made.fields) == ("pairs", ("question", "passage"))
    assert plan(made)["roles"]["labeler"]["calls"][0] > 0
