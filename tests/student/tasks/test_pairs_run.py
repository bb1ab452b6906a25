"""Test whole runs of a task with pairs of texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, parse_task
from tutelage.prompts import ROLES
from tutelage.student.data.rows import content_id
from tutelage.student.encoder import Encoder

LABELS = ["fits", "other"]


def changed(pairs_task: Task, **parts: Any) -> Task:
    raw = pairs_task.model_dump(exclude_none=True)
    raw |= {"student": {"mode": "head"}, "budget": {"rounds": 2}, **parts}
    raw["teacher"]["calibrate"] = 24
    return parse_task(raw, "task.yaml", Path())


@pytest.fixture(scope="module")
def done(pairs_task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "auto", "samples": 24, "critic": "all"}
    return run(
        changed(pairs_task, strategy=strategy), tmp_path_factory.mktemp("run") / "run", encoder=encoder
    )


def test_the_loop_runs_on_pairs_and_the_student_learns(done: RunFolder) -> None:
    about = done.about()
    assert about["stop"] == "2 rounds are done"
    assert about["test"]["metric"] > about["test_untrained"] + 0.1
    assert about["overlap"]["test"]["exact"] == about["overlap"]["gate"]["exact"] == 0
    assert about["samples"]["kept"] >= 40


def test_every_role_gets_both_texts_as_separate_named_fields(done: RunFolder, read_payloads: Any) -> None:
    for role in ROLES:
        sent = read_payloads(done, role)
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
    weaknesses = [w for payload in read_payloads(done, "generator") for w in payload["weaknesses"]]
    assert all(set(example) == {"message", "queue"} for w in weaknesses for example in w["examples"])


def test_samples_are_exported_with_both_fields(done: RunFolder, read_lines: Any) -> None:
    for sample in read_lines(done.samples):
        assert sample["text"] == f"{sample['message']} ␞ {sample['queue']}"
        assert sample["id"] == content_id(sample["text"])


def test_predict_takes_pairs_as_arguments_lines_and_files(
    command: Callable[..., Any], done: RunFolder, tmp_path: Path
) -> None:
    pair = ("Where is my parcel?", "late or lost parcels")
    result = command("predict", done.path, *pair, "--json")
    answer = json.loads(result.stdout)
    assert (answer["message"], answer["queue"]) == pair
    assert answer["label"] in LABELS
    assert command("predict", done.path, "--json", input="\t".join(pair) + "\n").stdout == result.stdout
    file = tmp_path / "pairs.csv"
    file.write_text("a,b\n" + ",".join(pair) + "\n")
    assert (
        command("predict", done.path, "--file", file, "--text", "a", "--text", "b", "--json").stdout
        == result.stdout
    )
    plain = command("predict", done.path, *pair).stdout.rstrip("\n").split("\t")
    assert plain[2:] == list(pair)


def test_predict_refuses_an_incomplete_pair(command: Callable[..., Any], done: RunFolder) -> None:
    result = command("predict", done.path, "Where is my parcel?")
    assert result.returncode == 2
    assert "labels pairs (message, queue), but 1 texts were given" in result.stderr
    for odd, message in ((" ", "' ' is empty"), ("a ␞ b", "contains '␞', which separates the texts")):
        answer = command("predict", done.path, "Where is it?", odd)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert message in answer.stderr
    assert "--text names 1 columns" in command("predict", done.path, "--file", "x.csv", "--text", "a").stderr


def test_evaluate_scores_a_pair_student_like_the_run(
    command: Callable[..., Any], done: RunFolder, pairs_task: Task
) -> None:
    assert pairs_task.data.test
    result = command("evaluate", done.path, pairs_task.data.test.path or "", "--json")
    assert json.loads(result.stdout)["metric"] == pytest.approx(done.about()["test"]["metric"], abs=1e-6)


def test_pairs_are_selected_from_unlabelled_pairs(
    pairs_task: Task, encoder: Encoder, tmp_path: Path, read_lines: Any
) -> None:
    data = pairs_task.model_dump(exclude_none=True)["data"]
    data["unlabelled"] = {"path": pairs_task.teacher.corpus}
    pooled = changed(pairs_task, data=data, strategy={"base": "entropy", "samples": 16}, budget={"rounds": 1})
    folder = run(pooled, tmp_path / "run", encoder=encoder)
    kept = [s for s in read_lines(folder.samples) if s["status"] == "kept"]
    assert len(kept) == 16
    assert all(s["message"] and s["queue"] for s in kept)
