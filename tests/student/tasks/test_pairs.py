"""Text pairs: two fields go in, and both come through every prompt, file and student."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.schemas import drafts_schema
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.graph.task.templates import scaffold
from tutelage.prompts import ROLES, read_payload
from tutelage.student.data.rows import Row, content_id, read_rows
from tutelage.student.encoder import Encoder, PairEncoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student, features
from tutelage.student.models.load import load_student
from tutelage.student.tasks.fields import columns, join, split
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student

FIELDS = ("message", "queue")
LABELS = ["fits", "other"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return sample_task("pairs", tmp_path_factory.mktemp("pairs") / "task")


def changed(task: Task, **parts: Any) -> Task:
    raw = task.model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "budget": {"rounds": 2}, **parts}
    raw["teacher"]["calibrate"] = 24
    return parse_task(raw, "task.yaml", Path())


@pytest.fixture(scope="module")
def done(task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "auto", "samples": 24, "critic": "all"}
    return run(changed(task, strategy=strategy), tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def payloads(folder: RunFolder, role: str) -> list[dict[str, Any]]:
    with sqlite3.connect(folder.journal) as journal:
        rows = journal.execute("SELECT request FROM replies WHERE role = ?", (role,)).fetchall()
    return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows]


def test_the_loop_runs_on_pairs_and_the_student_learns(done: RunFolder) -> None:
    about = done.about()
    assert about["stop"] == "2 rounds are done"
    assert about["test"]["metric"] > about["test_untouched"] + 0.1
    assert about["overlap"]["test"]["exact"] == about["overlap"]["gate"]["exact"] == 0
    assert about["samples"]["kept"] >= 40


def test_every_role_sees_both_texts_under_their_names_and_no_joined_one(done: RunFolder) -> None:
    for role in ROLES:
        sent = payloads(done, role)
        assert sent, role
        for payload in sent:
            assert payload["fields"] == ["message", "queue"]
            assert "␞" not in json.dumps(payload, ensure_ascii=False)
            entries = [
                entry
                for name in ("right", "wrong", "shots", "avoid", "texts", "samples")
                for entry in payload.get(name, [])
            ]
            assert entries
            assert all({"message", "queue"} <= set(entry) and "text" not in entry for entry in entries)
    told = [w for payload in payloads(done, "generator") for w in payload["weaknesses"]]
    assert all(set(example) == {"message", "queue"} for w in told for example in w["examples"])


def test_samples_are_exported_with_both_fields(done: RunFolder) -> None:
    for sample in lines(done.samples):
        assert sample["text"] == f"{sample['message']} ␞ {sample['queue']}"
        assert sample["id"] == content_id(sample["text"])


def test_predict_takes_pairs_as_arguments_lines_and_files(
    command: Callable[..., Any], done: RunFolder, tmp_path: Path
) -> None:
    pair = ("Where is my parcel?", "late or lost parcels")
    told = command("predict", done.path, *pair, "--json")
    answer = json.loads(told.stdout)
    assert (answer["message"], answer["queue"]) == pair
    assert answer["label"] in LABELS
    assert command("predict", done.path, "--json", input="\t".join(pair) + "\n").stdout == told.stdout
    file = tmp_path / "pairs.csv"
    file.write_text("a,b\n" + ",".join(pair) + "\n")
    assert (
        command("predict", done.path, "--file", file, "--text", "a", "--text", "b", "--json").stdout
        == told.stdout
    )
    plain = command("predict", done.path, *pair).stdout.rstrip("\n").split("\t")
    assert plain[2:] == list(pair)


def test_predict_refuses_half_a_pair(command: Callable[..., Any], done: RunFolder) -> None:
    told = command("predict", done.path, "Where is my parcel?")
    assert told.returncode == 2
    assert "labels pairs (message, queue), but 1 texts were given" in told.stderr
    for odd, told in ((" ", "' ' is empty"), ("a ␞ b", "contains '␞', which separates the texts")):
        answer = command("predict", done.path, "Where is it?", odd)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert told in answer.stderr
    assert "--text names 1 columns" in command("predict", done.path, "--file", "x.csv", "--text", "a").stderr


def test_evaluate_grades_a_pair_student_as_the_run_did(
    command: Callable[..., Any], done: RunFolder, task: Task
) -> None:
    assert task.data.test
    told = command("evaluate", done.path, task.data.test.path or "", "--json")
    assert json.loads(told.stdout)["metric"] == pytest.approx(done.about()["test"]["metric"], abs=1e-6)


def test_pairs_are_drawn_from_a_pool_too(task: Task, encoder: Encoder, tmp_path: Path) -> None:
    data = task.model_dump(exclude_none=True)["data"]
    data["unlabelled"] = {"path": task.teacher.corpus}
    pooled = changed(task, data=data, strategy={"base": "entropy", "samples": 16}, budget={"rounds": 1})
    folder = run(pooled, tmp_path / "run", encoder=encoder)
    kept = [s for s in lines(folder.samples) if s["status"] == "kept"]
    assert len(kept) == 16
    assert all(s["message"] and s["queue"] for s in kept)


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


def test_a_student_learns_what_only_both_texts_together_tell(student: Student) -> None:
    # Each message and each queue stands as often with one label as with the other.
    answers = student.probabilities([row["text"] for row in EASY]).argmax(1)
    right = np.mean([LABELS[answer] == row["label"] for answer, row in zip(answers, EASY, strict=True)])
    assert right > 0.95


def test_a_saved_pair_student_answers_as_before(student: Student, tmp_path: Path) -> None:
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
    expected = student.probabilities(texts)
    assert [[scores[label] for label in LABELS] for scores in found] == pytest.approx(expected, abs=1e-3)
    again = load_student(tmp_path / "student", device_name="cpu")
    assert again.probabilities(texts) == pytest.approx(expected, abs=1e-3)


def test_an_untouched_pair_student_answers(encoder: Encoder) -> None:
    found = untrained_student(LABELS, TrainingConfig(mode="head", fields=FIELDS), seed=0, encoder=encoder)
    assert found.probabilities([EASY[0]["text"]]).shape == (1, 2)


def test_features_of_a_pair_are_both_vectors_their_distance_and_their_product(encoder: Encoder) -> None:
    text = join({"message": "one", "queue": "two"}, FIELDS)
    [found] = features(encoder, [text], FIELDS)
    u, v = encoder.encode(["one", "two"])
    assert found == pytest.approx(np.concatenate([u, v, abs(u - v), 384**0.5 * u * v]), abs=1e-6)


def test_two_pairs_are_as_near_as_their_texts_are_on_average(encoder: Encoder) -> None:
    made = PairEncoder(encoder, FIELDS)
    one, other = (join({"message": "where is my parcel", "queue": q}, FIELDS) for q in ("late", "refund"))
    a, b = made.encode([one, other])
    late, refund = encoder.encode(["late", "refund"])
    assert a @ a == pytest.approx(1, abs=1e-5)
    assert a @ b == pytest.approx((1 + late @ refund) / 2, abs=1e-5)
    assert made.fingerprint != encoder.fingerprint


def test_where_a_pair_is_cut_matters_for_what_counts_as_the_same() -> None:
    one = join({"message": "a", "queue": "b c"}, FIELDS)
    other = join({"message": "a b", "queue": "c"}, FIELDS)
    assert content_id(one) != content_id(other)
    assert split(one, FIELDS) == {"message": "a", "queue": "b c"}


@pytest.mark.parametrize(
    ("record", "told"),
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
def test_a_bad_pair_is_told_in_one_line(tmp_path: Path, record: dict[str, Any], told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(path, LABELS, fields=FIELDS)
    assert told in str(raised.value)
    assert str(raised.value).startswith(f"{path} line 1: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("parts", "told"),
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
def test_fields_that_cannot_be_are_told_in_one_line(task: Task, parts: dict[str, Any], told: str) -> None:
    raw = task.model_dump(exclude_none=True)
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **parts}, "task.yaml", Path())
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_source_of_pairs_names_two_columns(task: Task) -> None:
    raw = task.model_dump(exclude_none=True)
    raw["data"]["test"]["text"] = "message"
    with pytest.raises(InputError, match=r"`data\.test\.text` names 1 columns, expected 2"):
        parse_task(raw, "task.yaml", Path())


def test_other_columns_are_read_as_the_task_s_fields(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("asked,found,label\nwhere is it,late parcels,fits\n")
    raw = task.model_dump(exclude_none=True)
    raw["data"]["test"] = {"path": path, "text": ["asked", "found"]}
    [row] = load_splits(parse_task(raw, "task.yaml", Path())).test
    assert split(row["text"], FIELDS) == {"message": "where is it", "queue": "late parcels"}


def test_a_draft_of_a_pair_has_both_texts_and_none_that_holds_the_mark() -> None:
    form = drafts_schema(("fits", "other"), FIELDS)
    order = {"label": "fits", "kind": "easy", "weakness": ""}
    good = {**order, "message": " where is it ", "queue": "late parcels"}
    reply = {
        "drafts": [good, {**order, "message": "alone"}, {**good, "queue": "a ␞ b"}, {**good, "queue": " "}]
    }
    found, problems = form.read(json.dumps(reply))
    assert [one.item.written for one in found] == ["where is it ␞ late parcels"]
    assert len(problems) == 3
    schema = form.json_schema["properties"]["drafts"]["items"]  # type: ignore[index]
    assert schema["required"] == ["label", "kind", "weakness", "message", "queue"]


def test_init_writes_a_pair_task_that_can_be_planned(tmp_path: Path, monkeypatch: Any) -> None:
    from tutelage.graph.planning.plan import plan
    from tutelage.graph.task.load import load_task

    scaffold(tmp_path, "pairs")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, made.fields) == ("pairs", ("question", "passage"))
    assert plan(made)["roles"]["labeler"]["calls"][0] > 0
