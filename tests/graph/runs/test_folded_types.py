"""The loop on folds for every task type and every selection of texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from tutelage.graph.context import open_context
from tutelage.graph.history.trace import trace_sample
from tutelage.graph.nodes.pool import pool
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.students.committee import mean_predictions
from tutelage.graph.task.load import Task, load_task, parse_task
from tutelage.graph.task.samples import demo_task
from tutelage.student.encoder import Encoder
from tutelage.student.models.load import load_student
from tutelage.student.models.predictions import Predictions
from tutelage.student.selection import NEEDS_NO_STUDENT, Selection
from tutelage.student.tasks.fields import TaskTypeName

Make = Callable[..., Task]
QUICK: dict[TaskTypeName, dict[str, Any]] = {
    "pairs": {"mode": "head"},
    "multilabel": {"mode": "head"},
    "ner": {"epochs": 1, "min_steps": 5, "training": "weighted"},
    "seq2seq": {"epochs": 1, "min_steps": 10, "training": "plain"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUICK)
def test_every_task_type_runs_on_folds_with_unlabelled_texts(
    kind: TaskTypeName, tiny_bert: Callable[..., str], tmp_path: Path
) -> None:
    raw = json.loads(demo_task(kind, tmp_path / "task").model_dump_json(exclude_none=True))
    base = {"base": tiny_bert(tmp_path / "tiny") if kind == "ner" else raw["student"]["base"]}
    raw |= {"student": {**base, **QUICK[kind]}, "strategy": {"base": "auto", "samples": 12, "attempts": 0}}
    raw["teacher"]["label_noise"] = 0.0
    raw["data"]["folds"] = 2
    lines = (tmp_path / "task" / "unlabelled.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "task" / "unlabelled.jsonl").write_text("".join(lines[:150]))
    raw["teacher"] |= {"force": True, "calibrate": 12}
    raw["budget"] = {"rounds": 1}
    folder = run(parse_task(raw, "test", tmp_path / "task"), tmp_path / "run")
    about, rounds = folder.about(), folder.read_rounds()
    assert about["stop"] == "1 round is done"
    assert [line["round"] for line in rounds] == [0, 1]
    names = [arm["name"] for arm in about["comparison"]["arms"]]
    assert "labels_alone" in names
    assert ("chosen" in names) == rounds[1]["accepted"], "twelve samples may also do harm"
    assert ("self_trained" in names) == (kind in ("pairs", "multilabel"))
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    kept = [s for s in samples if s["status"] == "kept"]
    assert any(s["kind"] == "pool" for s in kept)
    shown = kind in ("ner", "seq2seq")  # the labeler is shown labelled rows, and a drawn text gets their fold
    assert all(("fold" in s) == shown for s in kept if s["kind"] == "pool")
    history = trace_sample(folder, kept[0]["id"])[0]["history"]
    assert history["label"] == history["statements"][0]["said"] != ""
    assert history["origin"]["place"] or history["origin"]["shown"]
    assert load_student(folder.student).kind == kind


@pytest.mark.parametrize("selection", get_args(Selection))
def test_every_selection_draws_from_the_unlabelled_texts(
    selection: Selection, folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "leave" and event["node"] == "evaluate":
            raise Killed

    task = folded(strategy={"base": "auto", "samples": 10, "selection": selection})
    with pytest.raises(Killed):
        run(task, tmp_path / "run", encoder=encoder, listener=listener)
    ctx = open_context(task, RunFolder(tmp_path / "run"), encoder=encoder)
    pool(ctx, {"round": 1, "attempt": 0, "best": 0, "weaknesses": []})
    drawn = ctx.corpus.drafts(round=1)
    assert len({s["id"] for s in drawn}) == 10
    assert all(("uncertainty" in s) == (selection not in NEEDS_NO_STUDENT) for s in drawn)
    ctx.close()


def test_a_committee_predicts_the_majority_label_with_the_mean_confidence() -> None:
    def predictions(answers: list[str], confidence: list[float]) -> Predictions:
        score = np.array(confidence)
        return Predictions(answers, score, 1 - score, score, -score)

    found = mean_predictions(
        [
            predictions(["a", "a"], [0.9, 0.4]),
            predictions(["b", "b"], [0.5, 0.9]),
            predictions(["b", "c"], [0.5, 0.3]),
        ]
    )
    assert found.answers == ["b", "b"], "the majority; without one, the most confident member"
    assert found.confidence == pytest.approx([1.9 / 3, 1.6 / 3])


def test_the_task_file_of_the_demo_can_be_loaded(tmp_path: Path) -> None:
    task = demo_task("classification", tmp_path / "task")
    assert load_task(tmp_path / "task" / "task.yaml") == task
    assert len(Path(str(task.data.labelled.path)).read_text().splitlines()) == 90  # type: ignore[union-attr]
