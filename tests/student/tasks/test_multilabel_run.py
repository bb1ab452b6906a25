"""Test whole runs of a task with several labels a text."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.analyst import LabelledPrediction, Weakness
from tutelage.graph.requests.generation_requests import plan_requests
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.strategies import STRATEGIES
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.weaknesses import open_cards
from tutelage.prompts import ROLES
from tutelage.student.data.readers import read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.models.load import load_student
from tutelage.student.models.predictions import sigmoid
from tutelage.student.tasks.multilabel import INVENTED, MISSED, MULTILABEL, written
from tutelage.student.training.decision_thresholds import tune_thresholds

pytestmark = pytest.mark.slow


def changed(multilabel_task: Task, **parts: Any) -> Task:
    raw = multilabel_task.model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "budget": {"rounds": 1}, **parts}
    raw["teacher"] |= {"calibrate": 24, "label_noise": 0.0}
    return parse_task(raw, "task.yaml", Path())


@pytest.fixture(scope="module")
def done(multilabel_task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "auto", "samples": 24, "critic": "all"}
    return run(
        changed(multilabel_task, strategy=strategy), tmp_path_factory.mktemp("run") / "run", encoder=encoder
    )


def test_a_run_with_several_labels_per_text_improves_the_student(
    done: RunFolder, multilabel_task: Task, read_lines: Any
) -> None:
    about = done.about()
    assert about["stop"] == "1 round is done"
    assert about["test"]["metric"] > about["test_untrained"] + 0.1
    assert about["samples"]["kept"] >= 18
    assert multilabel_task.data.test
    assert multilabel_task.data.test.path
    held = [len(line["labels"]) for line in read_lines(multilabel_task.data.test.path)]
    assert about["test"]["items"][0] == pytest.approx(np.mean(held))


def test_thresholds_are_tuned_on_the_gate_set_before_the_refit_trains_on_it(
    done: RunFolder, multilabel_task: Task, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "samples": 24, "critic": "all", "refit": False}
    without_refit = run(changed(multilabel_task, strategy=strategy), tmp_path / "run", encoder=encoder)
    student: Any = load_student(without_refit.student, device_name="cpu")
    assert multilabel_task.data.gate
    assert multilabel_task.data.gate.path
    gate, before = (
        read_rows(multilabel_task.data.gate.path, list(multilabel_task.labels), task_type=MULTILABEL),
        student.thresholds,
    )
    assert len(set(before)) > 1
    assert tune_thresholds(student, gate).thresholds.tolist() == before.tolist()  # type: ignore[attr-defined]
    refitted: Any = load_student(done.student, device_name="cpu")
    assert refitted.thresholds.tolist() == before.tolist(), (
        "those of the best round, which was not trained on gate"
    )
    text = "Where is my parcel?"
    assert np.abs(refitted.logits([text]) - student.logits([text])).max() > 0.01


def test_every_role_except_the_labeler_gets_lists_of_labels(
    done: RunFolder, multilabel_task: Task, read_payloads: Any
) -> None:
    for role in ROLES:
        sent = read_payloads(done, role)
        assert sent, role
        assert all(payload["kind"] == "multilabel" for payload in sent)
        entries = [
            entry
            for payload in sent
            for name in ("right", "wrong", "shots", "samples")
            for entry in payload.get(name, [])
        ]
        assert bool(entries) == (role != "labeler")
        assert all(
            set(entry["labels"]) <= set(multilabel_task.labels) and "label" not in entry for entry in entries
        )
    assert all(isinstance(x["predicted"], list) for p in read_payloads(done, "analyst") for x in p["wrong"])
    assert all(set(text) == {"id", "text"} for p in read_payloads(done, "labeler") for text in p["texts"])
    assert not any("answers" in payload for payload in read_payloads(done, "generator"))


def test_samples_are_exported_with_their_list_of_labels(
    done: RunFolder, multilabel_task: Task, read_lines: Any
) -> None:
    samples = [sample for sample in read_lines(done.samples) if sample["status"] == "kept"]
    for sample in samples:
        assert "label" not in sample
        assert set(sample["labels"]) | set(sample["answered"]) <= set(multilabel_task.labels)
        assert sample["requested"] in (sample["labels"] or [""])  # generator and labeler agree
    assert {len(sample["labels"]) for sample in samples} == {0, 1, 2}


def test_weaknesses_concern_missed_or_invented_or_confused_labels(
    done: RunFolder, multilabel_task: Task
) -> None:
    cards = json.loads(done.weaknesses.read_text())
    assert cards
    assert all(card["label"] in multilabel_task.labels for card in cards)
    assert {card["confused_with"] for card in cards} <= {*multilabel_task.labels, MISSED, INVENTED}
    assert {card["confused_with"] for card in cards} & {MISSED, INVENTED}


def test_the_report_shows_the_number_of_labels_per_text(done: RunFolder) -> None:
    page, (gold, answered) = done.report.read_text(), done.about()["test"]["items"]
    assert f"labels per text: {gold:.2f} gold, {answered:.2f} predicted" in page
    assert "is missed" in page or "is invented" in page
    assert "Confusion" not in page


def weakness(label: str, confused_with: str) -> Weakness:
    made = {"id": f"{label} {confused_with}", "name": "n", "hypothesis": "h", "found_by": "call", "round": 1}
    parts = {"label": label, "confused_with": confused_with, "evidence": ["0"], "examples": ["x"]}
    return Weakness(**{**made, **parts})  # type: ignore[typeddict-item]


def test_an_invented_label_requests_texts_without_labels_and_a_missed_one_texts_with_it() -> None:
    f1 = {"a": 0.5, "b": 0.5, "": 1.0}
    for other, expected in {INVENTED: {"a": 2, "": 4}, MISSED: {"a": 6}, "b": {"a": 4, "b": 2}}.items():
        requests = plan_requests(STRATEGIES["auto"], 12, [weakness("a", other)], f1, random.Random(0))
        assert sum(request["count"] for request in requests) == 12
        assert {
            request["label"]: request["count"] for request in requests if request["kind"] == "hard"
        } == expected


def test_an_invented_label_is_measured_on_the_texts_without_it() -> None:
    pairs = [([], ["a"]), (["b"], ["b"]), (["a"], []), (["b"], ["a"])]
    answers = [
        LabelledPrediction(id=str(i), text="", label=written(gold), predicted=written(given))
        for i, (gold, given) in enumerate(pairs)
    ]
    found = [weakness("a", INVENTED), weakness("a", MISSED), weakness("b", "a")]
    cards, _ = open_cards(MULTILABEL, [], found, answers)
    assert [(card["errors"], card["support"]) for card in cards] == [(1, 3), (1, 1), (1, 2)]


def test_predict_prints_all_labels_and_the_confidence_of_the_whole_set(
    command: Callable[..., Any], done: RunFolder, multilabel_task: Task, tmp_path: Path
) -> None:
    text = "Where is my parcel? And please delete my account."
    result = command("predict", done.path, text, "--json")
    answer = json.loads(result.stdout)
    assert list(answer) == ["text", "labels", "confidence"]
    assert set(answer["labels"]) <= set(multilabel_task.labels)
    student: Any = load_student(done.student, device_name="cpu")
    p = sigmoid(student.logits([text]))[0]
    chosen = [
        label
        for label, one, threshold in zip(multilabel_task.labels, p, student.thresholds, strict=True)
        if one >= threshold
    ]
    assert answer["labels"] == sorted(chosen)
    assert answer["confidence"] == pytest.approx(
        np.prod(
            [
                one if label in chosen else 1 - one
                for label, one in zip(multilabel_task.labels, p, strict=True)
            ]
        ),
        abs=1e-3,
    )
    plain = command("predict", done.path, input=f"{text}\n").stdout.rstrip("\n").split("\t")
    assert plain == [", ".join(answer["labels"]) or "none", f"{answer['confidence']:.3f}", text]


def test_evaluate_scores_a_student_like_the_run(
    command: Callable[..., Any], done: RunFolder, multilabel_task: Task
) -> None:
    assert multilabel_task.data.test
    scores = json.loads(command("evaluate", done.path, multilabel_task.data.test.path, "--json").stdout)
    expected = done.about()["test"]
    assert scores["figures"] == pytest.approx(expected["figures"], abs=1e-6)
    assert scores["metric"] == pytest.approx(expected["metric"], abs=1e-6)
    assert scores["items"] == expected["items"]


def test_texts_written_with_labels_are_not_labelled_again(
    multilabel_task: Task, encoder: Encoder, tmp_path: Path, read_lines: Any, read_payloads: Any
) -> None:
    strategy = {"base": "zerogen", "samples": 24}
    folder = run(changed(multilabel_task, strategy=strategy), tmp_path / "run", encoder=encoder)
    sent = read_payloads(folder, "generator")
    assert all(payload["answers"] is True for payload in sent)
    assert {request["label"] for payload in sent for request in payload["requests"]} == {
        *multilabel_task.labels,
        "",
    }
    kept = [sample for sample in read_lines(folder.samples) if sample["status"] == "kept"]
    assert len(kept) >= 20
    assert all(sample["labelled_by"] == sample["written_by"] for sample in kept)
    assert all(sample["requested"] in (sample["labels"] or [""]) for sample in kept)
    assert {len(sample["labels"]) for sample in kept} == {0, 1, 2}


def test_unlabelled_texts_get_sets_of_labels(
    multilabel_task: Task, encoder: Encoder, tmp_path: Path, read_lines: Any
) -> None:
    data = multilabel_task.model_dump(exclude_none=True)["data"]
    data["unlabelled"] = {"path": multilabel_task.teacher.corpus}
    pooled = changed(multilabel_task, data=data, strategy={"base": "entropy", "samples": 16})
    folder = run(pooled, tmp_path / "run", encoder=encoder)
    samples = read_lines(folder.samples)
    kept = [sample for sample in samples if sample["status"] == "kept"]
    truth = {
        row["id"]: row["label"]
        for row in read_rows(
            multilabel_task.teacher.corpus, list(multilabel_task.labels), task_type=MULTILABEL
        )
    }  # type: ignore[arg-type]
    assert len(kept) == 16
    assert all(written(sample["labels"]) == truth[sample["id"]] for sample in kept)
    left = [sample["reason"] for sample in samples if sample["status"] == "surplus"]
    assert left
    assert all("other texts were chosen for labelling (entropy" in reason for reason in left)
