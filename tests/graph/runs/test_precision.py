"""Predictions with a wanted precision, and the calibrated student that a run delivers."""

from collections.abc import Callable
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.predict_file import PredictionRequest
from tutelage.graph.runs.run import run
from tutelage.graph.runs.use import predict_texts
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.confidence import load_reliability

TEXTS = ["Where is my parcel?", "I want to return the shoes and get my money back.", "hm"]


@pytest.fixture(scope="module")
def finished(
    folded: Callable[..., Task], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    task = folded(data={"labelled": "labelled.jsonl"}, budget={"rounds": 0})
    return run(task, tmp_path_factory.mktemp("precision") / "run", encoder=encoder)


def predicted(folder: RunFolder, precision: float | None) -> list[tuple[dict[str, Any], str]]:
    return list(predict_texts(PredictionRequest(folder.path, precision=precision), TEXTS, print))


def test_labels_below_the_precision_are_left_out(finished: RunFolder) -> None:
    every, sure = predicted(finished, None), predicted(finished, 0.9)
    least = load_reliability(finished.student).threshold(0.9)
    for (row, line), (left, shown) in zip(every, sure, strict=True):
        if row["confidence"] >= least:
            assert (row, line) == (left, shown)
        else:
            assert left == {**row, "label": None}
            assert shown.startswith("-\t")
    assert {row["label"] is None for row, _ in sure} == {True, False}, "one is sure, one is not"


def test_the_delivered_student_is_calibrated_on_the_users_rows(finished: RunFolder) -> None:
    found = load_reliability(finished.student)
    assert len(found.right) == 210
    assert found.error < found.error_before
    assert sum(found.right) / 210 == pytest.approx(sum(found.confidence) / 210, abs=0.05)
