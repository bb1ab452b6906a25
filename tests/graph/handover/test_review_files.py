"""Test the files for review: annotation tools can import them, and what they export is read again."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.handover.review_files import Tool, write_for_review
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.schema import Task
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.tasks.registry import TASK_TYPES


@pytest.fixture(scope="module")
def done(
    folded: Callable[..., Task], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    task = folded(budget={"rounds": 1}, strategy={"base": "random", "pool_share": 1.0, "samples": 12})
    return run(task, tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def kept(folder: RunFolder) -> dict[str, str]:
    """Return the labels of the kept samples by text."""
    return {one["text"]: one["label"] for one in folder.read_lines(folder.samples) if one["status"] == "kept"}


def reviewed(tool: Tool, path: Path) -> Columns:
    """Accept every label of a file, as a reviewer would in the tool, and return the columns of its export."""
    if tool == "csv":
        rows = list(csv.DictReader(path.open(newline="")))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({**row, "right_label": row["label"]} for row in rows)
        return Columns(label="right_label")
    records = json.loads(path.read_text())
    for record in records:
        if tool == "label-studio":
            record["annotations"] = [{"result": one["result"]} for one in record.pop("predictions")]
        else:
            record["responses"] = {"label": [{"value": record["suggestions"]["label"]["value"]}]}
    path.write_text(json.dumps(records))
    return Columns()


@pytest.mark.parametrize("tool", ["label-studio", "argilla", "csv"])
def test_a_file_for_review_comes_back_with_the_same_labels(
    tool: Tool, done: RunFolder, tmp_path: Path
) -> None:
    path = tmp_path / ("review.csv" if tool == "csv" else "review.json")
    assert write_for_review(done.path, path, tool) == len(kept(done)) == 12
    labels = list(done.about()["task"]["labels"])
    if tool != "csv":
        assert read_rows(path, labels) == [], "nobody has reviewed it yet"
    rows = read_rows(path, labels, columns=reviewed(tool, path))
    assert {row["text"]: row["label"] for row in rows} == kept(done)


def test_the_least_certain_labels_come_first(done: RunFolder, tmp_path: Path) -> None:
    write_for_review(done.path, tmp_path / "review.csv", "csv")
    with (tmp_path / "review.csv").open(newline="") as file:
        confidence = [float(row["confidence"]) for row in csv.DictReader(file)]
    assert confidence == sorted(confidence)


def other_run(done: RunFolder, folder: Path, kind: str, samples: list[dict[str, Any]]) -> RunFolder:
    """Return a run folder of another task type with these kept samples."""
    folder.mkdir()
    about = json.loads(done.run_json.read_text())
    about["task"]["kind"] = kind
    (folder / "run.json").write_text(json.dumps(about))
    other = RunFolder(folder)
    other.write_lines(other.samples, [{"id": "a", "round": 1, "status": "kept", **one} for one in samples])
    return other


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
@pytest.mark.parametrize(
    ("kind", "label", "names"),
    [
        ("multilabel", {"labels": ["a", "b"]}, ["a", "b"]),
        ("ner", {"entities": [{"start": 0, "end": 5, "type": "person", "text": "Maria"}]}, ["person"]),
    ],
)
def test_sets_of_labels_and_entities_come_back_too(
    tool: Tool, kind: str, label: dict[str, Any], names: list[str], done: RunFolder, tmp_path: Path
) -> None:
    folder = other_run(done, tmp_path / "run", kind, [{"text": "Maria is here", **label}])
    write_for_review(folder.path, tmp_path / "review.json", tool)
    columns = reviewed(tool, tmp_path / "review.json")
    [row] = read_rows(tmp_path / "review.json", names, task_type=TASK_TYPES[kind], columns=columns)
    assert TASK_TYPES[kind].to_file(row["label"], row["text"]) == next(iter(label.values()))


def test_target_texts_are_written_into_a_text_area(done: RunFolder, tmp_path: Path) -> None:
    folder = other_run(done, tmp_path / "run", "seq2seq", [{"text": "on 3 May", "target": "05-03"}])
    write_for_review(folder.path, tmp_path / "review.json", "label-studio")
    [task] = json.loads((tmp_path / "review.json").read_text())
    assert task["predictions"][0]["result"][0]["value"] == {"text": ["05-03"]}


def test_a_run_without_samples_is_refused(done: RunFolder, tmp_path: Path) -> None:
    folder = other_run(done, tmp_path / "run", "classification", [])
    with pytest.raises(InputError, match="has no kept samples yet"):
        write_for_review(folder.path, tmp_path / "review.csv", "csv")
    assert not (tmp_path / "review.csv").exists()
