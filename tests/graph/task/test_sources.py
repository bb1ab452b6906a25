"""The forms of data on docs/data.md: each source of its table is read by a task."""

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tutelage.graph.task.load import load_task
from tutelage.graph.task.splits import load_splits
from tutelage.student.errors import InputError

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
ROWS = [{"text": f"message {i} é", "label": ("refund", "status")[i % 2]} for i in range(60)]
POOL = [{"text": f"unlabelled {i}"} for i in range(200)]


def sources() -> list[str]:
    """Return the sources of the page's table; the wheel has no pages."""
    if not PAGE.exists():
        return []
    return re.findall(r"^\|[^|]+\| `(\{.+\})` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every file that the page names, written by the tools that users use."""
    import datasets
    import openpyxl

    folder = tmp_path_factory.mktemp("data")
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "tickets.jsonl").write_text(lines)
    (folder / "tickets.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "tickets.json").write_text(json.dumps({"data": ROWS}))
    (folder / "texts.txt").write_text("".join(row["text"] + "\n" for row in POOL))
    _table(folder / "tickets.csv", ROWS, delimiter=";", encoding="utf-8-sig")
    _table(folder / "latin.csv", ROWS, delimiter=";", encoding="windows-1252")
    _table(folder / "tickets.tsv", ROWS, delimiter="\t")
    _table(folder / "columns.csv", [{"message": row["text"], "queue": row["label"]} for row in ROWS])
    numbers = [{**row, "label": i % 2} for i, row in enumerate(ROWS)]
    _table(folder / "numbers.csv", numbers)
    booleans = [json.dumps({**row, "label": row["label"] == "refund"}) + "\n" for row in ROWS]
    (folder / "booleans.jsonl").write_text("".join(booleans))
    for name, records in _exports().items():
        export = "".join(json.dumps(record) + "\n" for record in records)
        (folder / name).write_text(export if name.endswith("l") else json.dumps(records))
    book = openpyxl.Workbook()
    for row in [("text", "label"), *((row["text"], row["label"]) for row in ROWS)]:
        book.active.append(row)
    book.save(folder / "tickets.xlsx")
    names = datasets.ClassLabel(names=["refund", "status"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    data = datasets.Dataset.from_list(numbers, features=features)
    data.to_parquet(folder / "tickets.parquet")
    data.save_to_disk(folder / "plain")
    next((folder / "plain").glob("*.arrow")).rename(folder / "tickets.arrow")
    datasets.DatasetDict({"train": data.select([0]), "validation": data}).save_to_disk(folder / "saved")
    (folder / "hub-set").mkdir()
    (folder / "hub-set" / "train.jsonl").write_text(lines)
    return folder


def _exports() -> dict[str, list[dict[str, Any]]]:
    """Return ROWS as annotation tools export them; see tests/student/data/test_annotation_tools.py."""
    studio, argilla, doccano, prodigy = [], [], [], []
    for row in ROWS:
        text, label = {"text": row["text"]}, row["label"]
        result = [{"type": "choices", "value": {"choices": [label]}}]
        studio.append({"data": text, "annotations": [{"result": result, "was_cancelled": False}]})
        argilla.append({"fields": text, "responses": {"queue": [{"value": label, "user_id": "u"}]}})
        doccano.append({**text, "label": [label]})
        prodigy.append({**text, "accept": [label], "answer": "accept", "_input_hash": 1})
    return {
        "label-studio.json": studio,
        "argilla.json": argilla,
        "doccano.jsonl": doccano,
        "prodigy.jsonl": prodigy,
    }


def _table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def task_of(folder: Path, source: dict[str, Any]) -> Path:
    """Write a task.yaml whose labelled rows are the source, or its unlabelled texts for a .txt file."""
    pool_only = str(source.get("path")).endswith(".txt")
    raw = {
        "name": "forms",
        "instruction": "Say which queue a message belongs in.",
        "labels": {"refund": "money back", "status": "where it is"},
        "data": {
            "labelled": "tickets.jsonl" if pool_only else source,
            "unlabelled": source if pool_only else "texts.txt",
        },
        "teacher": {"model": "openai:any", "base_url": "http://127.0.0.1:9/v1"},
    }
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize("source", sources())
def test_every_form_on_the_page_is_read(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # a local data set folder is found from where the program runs
    parsed = yaml.safe_load(source)
    splits = load_splits(load_task(task_of(folder, parsed)))
    found = {row["text"]: row["label"] for row in splits.labelled}
    assert found.items() <= {row["text"]: row["label"] for row in ROWS}.items()
    assert len(found) == parsed.get("rows", len(ROWS))
    assert len(splits.unlabelled) == len(POOL)


def test_names_of_classes_may_be_a_list(folder: Path) -> None:
    source = {"path": "numbers.csv", "label_names": ["refund", "status"]}
    assert load_task(task_of(folder, source)).data.labelled.label_names == {"0": "refund", "1": "status"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "tickets.csv", "config": "default"}, "`config` applies to `hub`; leave it out"),
        ({"path": "tickets.csv", "revision": "main"}, "`revision` applies to `hub`; leave it out"),
        ({"hub": "hub-set", "encoding": "utf-8"}, "`encoding` applies to text files"),
    ],
)
def test_fields_that_do_not_belong_together_are_refused(
    source: dict[str, str], message: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_task(task_of(folder, source))
