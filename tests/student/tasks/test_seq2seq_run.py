"""Test whole runs of a task with target texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, parse_task
from tutelage.student.data.readers import read_rows
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.models.load import load_student
from tutelage.student.tasks.seq2seq import SEQ2SEQ

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory, quick_seq2seq_task: Any) -> RunFolder:
    raw = quick_seq2seq_task(strategy={"base": "auto", "samples": 60, "critic": "all"}, budget={"rounds": 1})
    raw["student"] |= {"epochs": 16, "beams": 3}
    made = parse_task(raw, "task.yaml", Path())
    return run(made, tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def test_a_run_with_target_texts_improves_the_student(done: RunFolder) -> None:
    about = done.about()
    assert about["stop"] == "1 round is done"
    assert about["test_untrained"] == 0
    assert about["test"]["figures"]["chrf"] > 0.25
    assert about["overlap"]["test"]["exact"] == about["overlap"]["gate"]["exact"] == 0
    assert about["samples"]["kept"] >= 40


def test_samples_are_exported_with_their_target_and_the_answer_of_the_student(
    done: RunFolder, read_lines: Any
) -> None:
    kept = [sample for sample in read_lines(done.samples) if sample["status"] == "kept"]
    for sample in kept:
        assert "label" not in sample
        assert sample["target"]
        assert isinstance(sample["answered"], str)
        assert sample["nll"] > 0
        assert sample["energy"] < 0
    dates = [sample["target"] for sample in kept if len(sample["target"]) == 10]
    assert len(dates) > 0.9 * len(kept), "the rehearsal teacher truncates the others"


def test_the_labeler_is_shown_three_seed_rows_with_their_targets(
    done: RunFolder, seq2seq_task: Task, read_lines: Any, read_payloads: Any
) -> None:
    assert seq2seq_task.data.seed.path
    seeds = {row["text"]: row["target"] for row in read_lines(seq2seq_task.data.seed.path)}
    sent = read_payloads(done, "labeler")
    assert sent
    for payload in sent:
        assert payload["kind"] == "seq2seq"
        assert len(payload["shots"]) == 3
        assert all(seeds[shot["text"]] == shot["target"] for shot in payload["shots"])
        assert all(set(entry) == {"id", "text"} for entry in payload["texts"])


def test_a_weakness_is_measured_on_the_ten_texts_nearest_to_its_evidence(
    done: RunFolder, seq2seq_task: Task, encoder: Encoder
) -> None:
    assert seq2seq_task.data.diagnose
    assert seq2seq_task.data.diagnose.path
    asked = read_rows(seq2seq_task.data.diagnose.path, [], task_type=SEQ2SEQ)
    cards = json.loads(done.weaknesses.read_text(encoding="utf-8"))
    assert cards
    place = {row["id"]: i for i, row in enumerate(asked)}
    vectors = encoder.encode([row["text"] for row in asked])
    wrong = {
        round: {
            row["id"]
            for row, given in zip(asked, done.load_predictions(f"round-0{round}", "diagnose"), strict=True)
            if given != row["label"]
        }
        for round in (0, 1)
    }
    for card in cards:
        measured, shown = set(card["slice"]), set(card["evidence"])
        assert len(card["slice"]) == len(measured) == card["support"] == 10
        assert not measured & shown
        near = vectors @ vectors[[place[key] for key in shown]].T
        others = set(place) - measured - shown
        assert min(near[place[key]].max() for key in measured) >= max(
            near[place[key]].max() for key in others
        )
        assert card["errors"] == len(measured & wrong[0])
        assert card["history"] == [[1, len(measured & wrong[1])]]


def test_the_report_names_the_metrics_of_target_texts(done: RunFolder) -> None:
    page = done.report.read_text(encoding="utf-8")
    assert all(name in page for name in ("exact match", "ROUGE-L", "chrF", "wrong answers"))


def test_predict_prints_the_best_beam(
    command: Callable[..., Any], done: RunFolder, seq2seq_test_rows: list[Row]
) -> None:
    student = load_student(done.student, device_name="cpu")
    all_texts = [row["text"] for row in seq2seq_test_rows[:60]]
    best, quick = student.predict_best(all_texts), student.predict(all_texts).answers
    chosen = [i for i in range(60) if best[i] != quick[i]][:2]
    assert chosen, "three beams find better answers than one"
    texts, expected = [all_texts[i] for i in chosen], [best[i] for i in chosen]
    result = command("predict", done.path, *texts, "--json")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(answer["text"], answer["target"]) for answer in answers] == list(
        zip(texts, expected, strict=True)
    )
    assert all(0 < answer["confidence"] < 1 for answer in answers)
    plain = command("predict", done.path, input="\n".join(texts) + "\n").stdout.splitlines()
    for line, answer in zip(plain, answers, strict=True):
        target, sure, text = line.split("\t")
        assert (target, text) == (answer["target"], answer["text"])
        assert float(sure) == pytest.approx(answer["confidence"], abs=0.001)


def test_evaluate_scores_a_student_like_the_run(
    command: Callable[..., Any], done: RunFolder, seq2seq_task: Task
) -> None:
    assert seq2seq_task.data.test
    scores = json.loads(command("evaluate", done.path, seq2seq_task.data.test.path or "", "--json").stdout)
    of_run = done.about()["test"]
    assert scores["metric"] == pytest.approx(of_run["metric"], abs=1e-6)
    assert scores["figures"] == pytest.approx(of_run["figures"], abs=1e-6)


def test_gold_has_texts_written_with_targets_and_feeds_back_its_energy_band(
    encoder: Encoder, tmp_path: Path, read_lines: Any, read_payloads: Any, quick_seq2seq_task: Any
) -> None:
    raw = quick_seq2seq_task(strategy={"base": "gold", "samples": 24}, budget={"rounds": 2})
    folder = run(parse_task(raw, "task.yaml", Path()), tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == "2 rounds are done"
    sent = read_payloads(folder, "generator")
    assert sent
    assert all(payload["answers"] for payload in sent)
    samples = {sample["text"]: sample for sample in read_lines(folder.samples)}
    fed = [entry for payload in sent for entry in payload.get("feedback", [])]
    assert fed
    assert all(samples[entry["text"]]["target"] == entry["target"] for entry in fed)
    # `samples` does not serve here: in it a refused repetition of a text replaces the kept one.
    batch = [
        s for s in read_lines(folder.samples) if (s["round"], s["kind"], s["status"]) == (1, "ood", "kept")
    ]
    ranked = sorted(batch, key=lambda sample: sample["energy"])
    band = ranked[int(0.5 * len(ranked)) : int(0.8 * len(ranked))]
    assert {entry["text"] for entry in fed} <= {sample["text"] for sample in band}


def test_unlabelled_texts_are_selected_by_entropy_and_scored_by_a_user_metric(
    encoder: Encoder, tmp_path: Path, read_lines: Any, quick_seq2seq_task: Any
) -> None:
    (tmp_path / "own_year.py").write_text(
        "def same(answer, target, text):\n    return answer[:4] == target[:4]\n"
    )
    raw = quick_seq2seq_task(strategy={"base": "entropy", "samples": 16}, budget={"rounds": 1})
    raw |= {"metric": "own_year.py:same"}
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    folder = run(parse_task(raw, "task.yaml", tmp_path), tmp_path / "run", encoder=encoder)
    status_counts = [(sample["status"], sample.get("reason", "")) for sample in read_lines(folder.samples)]
    assert [status for status, _ in status_counts].count("kept") == 16
    passed = [reason for status, reason in status_counts if status == "surplus"]
    assert len(passed) == 48
    assert all(reason.startswith("other texts were chosen for labelling (entropy ") for reason in passed)
    test = folder.about()["test"]
    assert test["metric"] == test["figures"]["own_year:same"] >= test["figures"]["exact_match"]
    assert "own_year:same on test" in folder.report.read_text(encoding="utf-8")
