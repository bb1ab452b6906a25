"""A run that begins without a label: the teacher labels a first set, and the scores say what they are."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError

Make = Callable[..., Task]
NOTE = "no row was labelled by a person: "


def pool_alone(folded: Make, **parts: Any) -> Task:
    """The shop task with unlabelled texts and a test set, and no labelled row."""
    data = folded().data
    return folded(
        data={"unlabelled": str(data.unlabelled.path), "test": str(data.test.path)},  # type: ignore[union-attr]
        budget={"rounds": 1},
        **parts,
    )


@pytest.fixture(scope="module")
def from_pool(folded: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(pool_alone(folded), tmp_path_factory.mktemp("pool") / "run", encoder=encoder)


def test_with_a_pool_alone_the_teacher_labels_a_first_set_and_the_run_goes_on(from_pool: RunFolder) -> None:
    about = from_pool.about()
    first = [json.loads(line) for line in from_pool.first_labels.read_text().splitlines()]
    assert len(first) == 100
    assert about["stop"] == "1 round is done"
    assert about["test"]["metric"] > about["test_untouched"] + 0.4
    samples = [json.loads(line) for line in from_pool.samples.read_text().splitlines()]
    kept = {sample["id"] for sample in samples if sample["status"] == "kept"}
    assert kept
    assert not {row["id"] for row in first} & kept, "none is labelled again"


def test_every_score_is_called_agreement_until_rows_are_checked(from_pool: RunFolder) -> None:
    assert [note for note in from_pool.about()["notes"] if note.startswith(NOTE)]
    assert NOTE in from_pool.report.read_text()
    with from_pool.rows_to_check.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    assert list(rows[0]) == ["text", "label", "right_label"]
    assert all(row["right_label"] == "" for row in rows)
    assert not from_pool.labels_to_check.exists(), "the labels are none of the user's"
    assert not from_pool.calibration.exists(), "its own labels tell nothing of the teacher"


def test_the_first_texts_are_varied(from_pool: RunFolder) -> None:
    first = [json.loads(line) for line in from_pool.first_labels.read_text().splitlines()]
    assert len(Counter(row["label"] for row in first)) == 6


def test_with_descriptions_alone_the_teacher_writes_the_first_set(
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


def test_killed_after_the_first_labels_it_goes_on_and_pays_nothing_twice(
    from_pool: RunFolder, folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "leave" and event["node"] == "first_labels":
            raise Killed

    with pytest.raises(Killed):
        run(pool_alone(folded), tmp_path / "run", encoder=encoder, listener=listener)
    again = resume(tmp_path / "run")
    assert _chosen(again) == _chosen(from_pool)
    assert again.about()["spent"] == from_pool.about()["spent"]


def _chosen(folder: RunFolder) -> list[tuple[str, str, str]]:
    """Samples without the student's own figures, whose vectors were read in other company."""
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    return [(s["text"], s["status"], s.get("label", "")) for s in samples]


def test_a_budget_too_small_for_the_first_labels_says_what_to_do(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = pool_alone(folded).model_copy(update={"budget": folded(budget={"rounds": 1, "calls": 0}).budget})
    words = r"labelled 0 of 100 first texts.*budget of 0 calls.*raise the budget"
    with pytest.raises(InputError, match=words):
        run(task, tmp_path / "run", encoder=encoder)
    finished = resume(tmp_path / "run", budget={"calls": 500})
    assert finished.about()["stop"] == "1 round is done"


def test_without_labels_texts_or_descriptions_there_is_nothing_to_begin_with(folded: Make) -> None:
    with pytest.raises(InputError, match="no labelled rows, no unlabelled texts"):
        folded(kind="seq2seq", labels={}, data={}, metric="exact_match", student={"mode": "full"})
