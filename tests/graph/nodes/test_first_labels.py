"""A run without labelled rows: the teacher labels a first set, and the report says what the scores mean."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.history.trace import trace_sample
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError

Make = Callable[..., Task]
NOTE = "no row was labelled by a person: "


def without_labels(folded: Make, **parts: Any) -> Task:
    """Return the bundled task with unlabelled texts and a test set, and without labelled rows."""
    data = folded().data
    return folded(
        data={"unlabelled": str(data.unlabelled.path), "test": str(data.test.path)},  # type: ignore[union-attr]
        budget={"rounds": 1},
        **parts,
    )


@pytest.fixture(scope="module")
def from_pool(folded: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(without_labels(folded), tmp_path_factory.mktemp("pool") / "run", encoder=encoder)


def test_with_unlabelled_texts_alone_the_teacher_labels_a_first_set(from_pool: RunFolder) -> None:
    about = from_pool.about()
    first = [json.loads(line) for line in from_pool.first_labels.read_text().splitlines()]
    assert len(first) == 100
    assert about["stop"] == "1 round is done"
    assert about["test"]["metric"] > about["test_untrained"] + 0.4
    samples = [json.loads(line) for line in from_pool.samples.read_text().splitlines()]
    kept = {sample["id"] for sample in samples if sample["status"] == "kept"}
    history = trace_sample(from_pool, first[0]["id"])[0]["history"]
    assert (history["purpose"], history["label"]) == ("first_label", first[0]["label"])
    assert "pool.jsonl line " in history["origin"]["place"]
    assert [one["node"] for one in history["statements"]] == ["first_labels"]
    assert kept
    assert not {row["id"] for row in first} & kept, "no text is labelled twice"


def test_scores_are_called_agreement_until_rows_are_checked(from_pool: RunFolder) -> None:
    assert [note for note in from_pool.about()["notes"] if note.startswith(NOTE)]
    assert NOTE in from_pool.report.read_text()
    with from_pool.rows_to_check.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    assert list(rows[0]) == ["text", "label", "right_label"]
    assert all(row["right_label"] == "" for row in rows)
    assert not from_pool.labels_to_check.exists(), "the labels are not the user's"
    assert not from_pool.calibration.exists(), "the teacher cannot be measured by its own labels"


def test_the_first_texts_cover_every_label(from_pool: RunFolder) -> None:
    first = [json.loads(line) for line in from_pool.first_labels.read_text().splitlines()]
    assert len(Counter(row["label"] for row in first)) == 6


def test_with_descriptions_of_the_labels_alone_the_teacher_writes_the_first_set(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(folded(data={}, budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    first = [json.loads(line) for line in folder.first_labels.read_text().splitlines()]
    assert len(first) >= 50
    assert len(Counter(row["label"] for row in first)) == 6
    notes = folder.about()["notes"]
    assert any(note.startswith(NOTE) for note in notes)
    assert folder.about()["test"] is None
    found = folder.about()["comparison"]
    assert found is None or found["measured_on"] == "out of fold"


@pytest.mark.slow
def test_a_run_killed_after_the_first_labels_resumes_and_pays_for_nothing_twice(
    from_pool: RunFolder, folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "leave" and event["node"] == "first_labels":
            raise Killed

    with pytest.raises(Killed):
        run(without_labels(folded), tmp_path / "run", encoder=encoder, listener=listener)
    resumed = resume(tmp_path / "run", encoder=encoder)
    assert _labels(resumed) == _labels(from_pool)
    assert resumed.about()["spent"] == from_pool.about()["spent"]


def _labels(folder: RunFolder) -> list[tuple[str, str, str]]:
    """Return samples without the student's scores, which depend on the batch in their last digits."""
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    return [(s["text"], s["status"], s.get("label", "")) for s in samples]


@pytest.mark.slow
def test_a_budget_too_small_for_the_first_labels_is_an_error_and_can_be_raised(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = without_labels(folded).model_copy(
        update={"budget": folded(budget={"rounds": 1, "calls": 0}).budget}
    )
    words = r"labelled 0 of 100 first texts.*budget of 0 calls.*raise the budget"
    with pytest.raises(InputError, match=words):
        run(task, tmp_path / "run", encoder=encoder)
    finished = resume(tmp_path / "run", budget={"calls": 500})
    assert finished.about()["stop"] == "1 round is done"


def test_a_task_without_labels_texts_and_descriptions_is_refused(folded: Make) -> None:
    with pytest.raises(InputError, match="no labelled rows, no unlabelled texts"):
        folded(kind="seq2seq", labels={}, data={}, metric="exact_match", student={"mode": "full"})
