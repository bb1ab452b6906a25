"""Test whole runs of a task with named entities."""

import json
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, parse_task
from tutelage.student.data.readers import read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.models.load import load_student
from tutelage.student.tasks.registry import TASK_TYPES

pytestmark = pytest.mark.slow

NER = TASK_TYPES["ner"]
TYPES = ["product", "order", "person", "city", "date"]


@pytest.fixture(scope="module")
def short(ner_task: Task, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the fields of the sample task with smaller test sets and one round."""
    raw, folder = ner_task.model_dump(exclude_none=True), tmp_path_factory.mktemp("short")
    for name, size in {"diagnose": 40, "gate": 20, "test": 40}.items():
        lines = raw["data"][name]["path"].read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:size]), encoding="utf-8")
        raw["data"][name] = {"path": folder / f"{name}.jsonl"}
    raw["teacher"]["calibrate"] = 12
    return {**raw, "budget": {"rounds": 1}, "student": {"batch": 8, "min_steps": 30, "device": "cpu"}}


@pytest.fixture(scope="module")
def done(short: dict[str, Any], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    few = parse_task(
        {**short, "strategy": {"base": "auto", "samples": 16, "critic": "all"}}, "task.yaml", Path()
    )
    return run(few, tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def positions_match_texts(sample: dict[str, Any], key: str = "entities") -> bool:
    """Return whether each entity's text is at its position."""
    return all(
        set(one) == {"start", "end", "type", "text"}
        and one["type"] in TYPES
        and sample["text"][one["start"] : one["end"]] == one["text"]
        for one in sample[key]
    )


def test_the_task_sets_the_number_of_training_steps(short: dict[str, Any]) -> None:
    with_default = {**short, "student": {}}
    steps = [parse_task(raw, "task.yaml", Path()).training_config().steps for raw in (short, with_default)]
    assert steps == [30, 200]
    assert (
        parse_task({**short, "student": {"min_steps": 0}}, "task.yaml", Path()).training_config().steps == 0
    )


def test_a_run_with_entities_improves_the_student(done: RunFolder) -> None:
    about = done.about()
    assert about["stop"] == "1 round is done"
    assert about["test"]["metric"] == about["test"]["figures"]["micro_f1"]
    assert about["test"]["metric"] > about["test_untrained"] + 0.3
    assert about["overlap"]["test"]["exact"] == about["overlap"]["gate"]["exact"] == 0
    assert about["samples"]["kept"] >= 12


def test_samples_are_exported_with_the_positions_of_their_entities(done: RunFolder, read_lines: Any) -> None:
    kept = [sample for sample in read_lines(done.samples) if sample["status"] == "kept"]
    assert kept
    for sample in kept:
        assert positions_match_texts(sample)
        assert positions_match_texts(sample, "answered")
        assert "label" not in sample
        types = {one["type"] for one in sample["entities"]} or {""}
        assert sample["requested"] in types, "generator and labeler agree"
    assert any(sample["entities"] for sample in kept)


def test_exported_samples_can_be_read_as_rows(done: RunFolder, tmp_path: Path, read_lines: Any) -> None:
    kept = [sample for sample in read_lines(done.samples) if sample["status"] == "kept"]
    path = tmp_path / "kept.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in kept))
    read = read_rows(path, TYPES, task_type=NER)
    assert [NER.to_file(row["label"], row["text"]) for row in read] == [s["entities"] for s in kept]


def test_weaknesses_name_an_entity_type_and_its_confusion(done: RunFolder) -> None:
    cards = json.loads(done.weaknesses.read_text())
    assert cards
    assert {card["label"] for card in cards} <= {*TYPES}
    assert {card["confused_with"] for card in cards} <= {*TYPES, "missed", "boundary", "invented"}
    assert {card["confused_with"] for card in cards} & {"missed", "boundary", "invented"}
    assert all(0 < card["errors"] <= card["support"] for card in cards)


def test_every_role_gets_entities_as_texts_without_positions(done: RunFolder, read_payloads: Any) -> None:
    for role in ("analyst", "generator", "labeler", "critic"):
        sent = read_payloads(done, role)
        assert sent, role
        for payload in sent:
            assert payload["kind"] == "ner"
            shown = [x for name in ("right", "wrong", "shots", "samples") for x in payload.get(name, [])]
            assert shown, "the labeler too is shown what counts as an entity"
            for entry in shown:
                for one in [*entry["entities"], *entry.get("predicted", [])]:
                    assert set(one) == {"text", "type"}
                    assert one["text"] in entry["text"]
    assert all(
        set(text) == {"id", "text"} for payload in read_payloads(done, "labeler") for text in payload["texts"]
    )


def test_the_report_shows_entities(done: RunFolder, read_lines: Any) -> None:
    page = done.report.read_text(encoding="utf-8")
    assert "micro-F1" in page
    kept = [sample for sample in read_lines(done.samples) if sample["status"] == "kept"]
    for entity in (entity for sample in kept for entity in sample["entities"]):
        assert f"{entity['type']}: {escape(entity['text'])}" in page


def test_predict_prints_positions_as_json_and_entities_as_text(
    command: Callable[..., Any], done: RunFolder
) -> None:
    text = "Maria ordered a kettle, and Tom Becker a wall clock, for Leeds."
    answer = json.loads(command("predict", done.path, "--json", text).stdout)
    predictions = load_student(done.student, device_name="cpu").predict([text])
    assert list(answer) == ["text", "entities", "confidence"]
    assert answer["entities"]
    assert answer["entities"] == NER.to_file(predictions.answers[0], text)
    assert positions_match_texts(answer)
    assert answer["confidence"] == pytest.approx(predictions.confidence[0], abs=1e-3)
    [plain] = command("predict", done.path, text, "no").stdout.splitlines()[:1]
    words = "; ".join(f"{one['type']}: {one['text']}" for one in answer["entities"])
    assert plain.split("\t")[::2] == [words, text]


def test_evaluate_scores_a_student_like_the_run(
    command: Callable[..., Any], done: RunFolder, short: dict[str, Any]
) -> None:
    scores = json.loads(command("evaluate", done.path, short["data"]["test"]["path"], "--json").stdout)
    assert scores["metric"] == pytest.approx(done.about()["test"]["metric"], abs=1e-6)
    assert scores["figures"] == pytest.approx(done.about()["test"]["figures"], abs=1e-6)


def quick_task(short: dict[str, Any], tiny_base: str, strategy: str, **data: Any) -> Task:
    """Return a task whose student is trained in a second, and learns little."""
    student = {"base": tiny_base, "epochs": 1, "min_steps": 5, "device": "cpu"}
    raw = {**short, "student": student, "strategy": {"base": strategy, "samples": 12}}
    return parse_task({**raw, "data": {**short["data"], **data}}, "task.yaml", Path())


def test_gold_has_texts_written_with_their_entities(
    short: dict[str, Any],
    tiny_base: str,
    encoder: Encoder,
    tmp_path: Path,
    read_lines: Any,
    read_payloads: Any,
) -> None:
    folder = run(quick_task(short, tiny_base, "gold"), tmp_path / "run", encoder=encoder)
    asked = read_payloads(folder, "generator")
    assert asked
    assert all(payload["answers"] is True for payload in asked)
    assert read_payloads(folder, "critic") == []
    assert sum(len(payload["texts"]) for payload in read_payloads(folder, "labeler")) == 12, (
        "those of the calibration"
    )
    kept = [sample for sample in read_lines(folder.samples) if sample["status"] == "kept"]
    assert len(kept) >= 8
    assert all(positions_match_texts(sample) and "confidence" not in sample for sample in kept)


def test_unlabelled_texts_are_selected_where_the_student_is_unsure(
    short: dict[str, Any],
    tiny_base: str,
    encoder: Encoder,
    tmp_path: Path,
    read_lines: Any,
    read_payloads: Any,
) -> None:
    pooled = quick_task(short, tiny_base, "entropy", unlabelled={"path": short["teacher"]["corpus"]})
    folder = run(pooled, tmp_path / "run", encoder=encoder)
    samples = read_lines(folder.samples)
    status_counts = Counter(sample["status"] for sample in samples)
    assert status_counts["kept"] == 12 < status_counts["surplus"]
    assert read_payloads(folder, "generator") == read_payloads(folder, "analyst") == []
    assert all(positions_match_texts(sample) for sample in samples if sample["status"] == "kept")
    reasons = [sample["reason"] for sample in samples if sample["status"] == "surplus"]
    assert all(reason.startswith("other texts were chosen for labelling (entropy") for reason in reasons)
