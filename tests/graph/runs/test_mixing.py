"""Rounds that draw some texts from the unlabelled ones and have the others written."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.schema import Task
from tutelage.prompts import read_payload
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.tasks.fields import TaskTypeName


def mixed(
    folder: Path, strategy: dict[str, Any], *, kind: TaskTypeName = "classification", **parts: Any
) -> Task:
    """Return a sample task of one round whose unlabelled texts are those of the rehearsal teacher."""
    raw = sample_task(kind, folder / "task").model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    raw["teacher"]["calibrate"] = 0
    raw |= {"strategy": strategy, "budget": {"rounds": 1}, "student": {"mode": "head"}, **parts}
    return parse_task(raw, "test", Path())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def count_labelled(folder: RunFolder) -> int:
    """Return how many texts the labeler was sent."""
    with sqlite3.connect(folder.journal) as journal:
        rows = journal.execute("SELECT request FROM replies WHERE role = 'labeler'").fetchall()
    sent = (read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows)
    return sum(len(payload["texts"]) for payload in sent)


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(TaskTypeName))
def test_half_of_a_round_is_drawn_and_half_is_written(
    kind: TaskTypeName, tiny_bert: Callable[..., str], encoder: Encoder, tmp_path: Path
) -> None:
    student: dict[str, Any] = {"mode": "head"}
    if kind == "ner":
        student = {"base": tiny_bert(tmp_path / "tiny"), "epochs": 1, "min_steps": 5, "device": "cpu"}
    if kind == "seq2seq":
        student = {"base": str(tmp_path / "task" / "base"), "epochs": 1, "device": "cpu"}
    strategy = {"base": "auto", "samples": 24, "pool_share": 0.5, "critic": "all"}
    task = mixed(tmp_path, strategy, kind=kind, student=student)
    folder = run(task, tmp_path / "run", encoder=encoder)
    samples = lines(folder.samples)
    kinds = Counter(s["kind"] for s in samples if s["attempt"] == 1)
    assert kinds["pool"] == 12
    assert 0 < kinds["hard"] + kinds["easy"] <= 12, "the rehearsal teacher has no text for some requests"
    assert set(kinds) <= {"pool", "hard", "easy"}
    assert task.teacher.corpus
    rows = read_rows(
        task.teacher.corpus, list(task.labels), task_type=task.type, columns=Columns(task.fields)
    )
    drawn = [s for s in samples if s["kind"] == "pool"]
    assert {s["id"] for s in drawn} <= {row["id"] for row in rows}
    kept = [s for s in drawn if s["status"] == "kept"]
    assert kept
    assert all(s["requested"] == "" and s["labelled_by"] and s["judged_by"] for s in kept)
    nodes = [e["node"] for e in lines(folder.trace) if e["event"] == "enter"]
    assert nodes[nodes.index("analyst") :][:4] == ["analyst", "pool", "generator", "screen"]


def test_only_drawn_texts_are_labelled_if_written_texts_come_with_labels(
    encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "zerogen", "samples": 20, "pool_share": 0.25, "attempts": 0}
    folder = run(mixed(tmp_path, strategy), tmp_path / "run", encoder=encoder)
    samples = lines(folder.samples)
    assert count_labelled(folder) == 5
    assert Counter(s["kind"] for s in samples) == {"pool": 5, "any": 15}
    assert all(s["label"] == s["requested"] for s in samples if s["kind"] == "any" and s["status"] == "kept")


def test_texts_that_an_empty_pool_lacks_are_written(encoder: Encoder, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    rows = lines(sample_task().teacher.corpus or Path())[:10]
    few.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    raw = mixed(tmp_path, {"base": "random", "samples": 16, "pool_share": 0.5}).model_dump(exclude_none=True)
    raw["data"]["unlabelled"], raw["budget"]["rounds"] = {"path": few}, 2
    folder = run(parse_task(raw, "test", Path()), tmp_path / "run", encoder=encoder)
    samples = [s for s in lines(folder.samples) if s["attempt"] == 1]
    first, second = (Counter(s["kind"] for s in samples if s["round"] == number) for number in (1, 2))
    assert first["pool"] == 8
    assert second["pool"] <= 2
    assert second.total() == 16
    assert folder.about()["stop"] == "2 rounds are done"


def test_uncertain_texts_are_chosen_from_each_source_separately(encoder: Encoder, tmp_path: Path) -> None:
    strategy = {"base": "entropy", "samples": 16, "pool_share": 0.25, "oversample": 2, "min_kept_share": 1.0}
    folder = run(mixed(tmp_path, strategy), tmp_path / "run", encoder=encoder)
    samples = lines(folder.samples)
    first = [s for s in samples if s["attempt"] == 1]
    assert Counter(s["kind"] == "pool" for s in first)[True] == 8
    assert sum(s["status"] == "kept" for s in first if s["kind"] == "pool") == 4
    assert {"pool", "hard", "any", "easy"} & {s["kind"] for s in first if s["status"] == "surplus"} > {"pool"}
    assert sum(s["status"] == "kept" for s in samples) <= 16


def test_a_later_attempt_requests_no_more_texts_than_the_round_lacks(
    encoder: Encoder, tmp_path: Path
) -> None:
    near = tmp_path / "near.jsonl"
    rows = lines(sample_task().teacher.corpus or Path())[:4]
    texts = [f"{row['text']} {'!' * n} {n}" for row in rows for n in range(1, 20)]
    near.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    strategy = {"base": "random", "samples": 16, "pool_share": 0.5, "oversample": 3, "min_kept_share": 1.0}
    raw = mixed(tmp_path, strategy).model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": near}
    folder = run(parse_task(raw, "test", Path()), tmp_path / "run", encoder=encoder)
    samples = lines(folder.samples)
    for attempt in {s["attempt"] for s in samples}:
        kept = sum(s["status"] == "kept" for s in samples if s["attempt"] < attempt)
        assert sum(s["attempt"] == attempt for s in samples) <= 16 - kept or attempt == 1
    assert sum(s["status"] == "kept" for s in samples) > 8, "the pool gives four at most"


@pytest.mark.slow
def test_a_killed_mixed_run_resumes_with_the_same_results(encoder: Encoder, tmp_path: Path) -> None:
    task = mixed(tmp_path, {"base": "auto", "samples": 16, "pool_share": 0.5})
    whole = run(task, tmp_path / "whole", encoder=encoder)

    class Killed(Exception):  # noqa: N818
        pass

    def kill(event: dict[str, Any]) -> None:
        if (event["event"], event["node"]) == ("leave", "generator"):
            raise Killed

    with pytest.raises(Killed):
        run(task, tmp_path / "run", encoder=encoder, listener=kill)
    resumed = resume(tmp_path / "run")
    assert lines(resumed.samples) == lines(whole.samples)
    assert resumed.about()["test"] == whole.about()["test"]


def test_a_note_says_that_the_unlabelled_texts_are_not_used(encoder: Encoder, tmp_path: Path) -> None:
    task = mixed(tmp_path, {"base": "random"}, budget={"rounds": 0})
    notes = run(task, tmp_path / "run", encoder=encoder).about()["notes"]
    assert any(note.startswith("the pool is not used: strategy random") for note in notes)
