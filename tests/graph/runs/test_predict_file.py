"""`tutelage predict --file … --to …`: every form, rows without a text, and a killed prediction."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from tutelage.graph.runs.file_columns import FileColumns
from tutelage.graph.runs.predict_file import PredictionRequest, predict_file
from tutelage.graph.runs.shard import BLOCK, Shard
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import write_onnx
from tutelage.student.models.onnx_student import OnnxStudent, load_predictor
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

Rows = Sequence[dict[str, Any]]
ROWS: Rows = [
    {"id": 7, "text": "i want my money back", "paid": True, "price": 2, "tags": ["a"]},
    {"id": 8, "text": "  ", "paid": None, "price": 2.5, "tags": []},
    {"id": 9, "text": "where is the late parcel,\nplease", "paid": False, "price": 1, "tags": ["b"]},
]


@pytest.fixture(scope="module")
def model(easy: list[Row], tiny_bert: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an exported folder with a student and its ONNX models."""
    folder = tmp_path_factory.mktemp("predict")
    tiny = tiny_bert(folder / "tiny", pooling="mean_tokens")
    config = TrainingConfig(base=tiny, device="cpu", mode="head")
    train(easy, ["refund", "status"], config, seed=0, encoder=Encoder(tiny, device="cpu")).export(
        folder / "out"
    )
    loaded = load_student(folder / "out", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    write_onnx(loaded, folder / "out", [row["text"] for row in easy])
    return folder / "out"


def lines(path: Path, rows: Rows = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def stored(part: Path) -> int:
    """Return the number of rows in the file while another process writes it, the last of them uncommitted."""
    if not part.exists() or part.stat().st_size < 30 * BLOCK:
        return 0
    with closing(sqlite3.connect(f"file:{part}?mode=ro&immutable=1", uri=True)) as db:
        try:
            return int(db.execute("SELECT COUNT(*) FROM predictions").fetchone()[0])
        except sqlite3.DatabaseError:  # in the middle of a write
            return 0


def filled(model: Path, file: Path, to: Path, **fields: Any) -> list[str]:
    """Predict a file and return the notes."""
    notes: list[str] = []
    predict_file(PredictionRequest(model, **fields), file, to, notes.append)
    assert sorted(path.name for path in to.parent.glob(f"{to.name}*")) == [to.name]
    return notes


def test_rows_keep_their_columns_and_order_and_get_the_predictions_of_the_student(
    model: Path, tmp_path: Path
) -> None:
    [note] = filled(model, lines(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")
    got = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    student = load_student(model, device_name="cpu")
    expected = student.predict([row["text"] for row in (ROWS[0], ROWS[2])])
    assert [{k: v for k, v in row.items() if k not in ("predicted", "confidence")} for row in got] == ROWS
    assert [row["predicted"] for row in got] == [expected.answers[0], None, expected.answers[1]]
    assert got[1]["confidence"] is None
    assert [got[0]["confidence"], got[2]["confidence"]] == pytest.approx(expected.confidence, abs=1e-4)
    assert "1 of 3 rows get no prediction; the first: " in note
    assert "in.jsonl line 2: the text is empty" in note


@pytest.mark.parametrize("source", ["jsonl", "csv", "parquet"])
def test_every_form_comes_from_every_other(source: str, model: Path, tmp_path: Path) -> None:
    filled(model, lines(tmp_path / "rows.jsonl"), tmp_path / f"first.{source}")
    table = pyarrow.parquet.read_table(tmp_path / "first.parquet") if source == "parquet" else None
    if table is not None:
        types = [str(one) for one in table.schema.types]
        assert types == ["int64", "string", "bool", "double", "string", "string", "double"]
        assert table["tags"].to_pylist() == ['["a"]', "[]", '["b"]']
    if source == "csv":
        with (tmp_path / "first.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert rows[2]["text"] == ROWS[2]["text"]
        assert [row["paid"] for row in rows] == ["true", "", "false"]
    again = tmp_path / f"again.{source}"
    again.write_bytes((tmp_path / f"first.{source}").read_bytes())
    if source == "parquet":
        assert table is not None
        pyarrow.parquet.write_table(table.drop(["predicted", "confidence"]), again)
    else:
        renamed = (
            again.read_text(encoding="utf-8").replace("predicted", "before").replace("confidence", "sure")
        )
        again.write_text(renamed, encoding="utf-8")
    for form in ("jsonl", "csv", "parquet"):
        filled(model, again, tmp_path / f"{source}.{form}")
    got = [json.loads(line) for line in (tmp_path / f"{source}.jsonl").read_text().splitlines()]
    assert [row["predicted"] is None for row in got] == [False, True, False]
    assert [row["text"] for row in got] == [row["text"] for row in ROWS]
    with pytest.raises(InputError, match="has a column 'predicted' already; rename it"):
        filled(model, tmp_path / f"first.{source}", tmp_path / "second.jsonl")


def test_the_onnx_models_answer_like_torch_and_are_taken_without_a_gpu(model: Path) -> None:
    texts = ["i want my money back", "where is the late parcel, and why has nobody answered me?"]
    expected = load_predictor(model, "torch").predict(texts)
    for engine in ("onnx", "int8"):
        found = load_predictor(model, engine).predict(texts)
        assert found.answers == expected.answers
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-4 if engine == "onnx" else 0.1)
    student = load_predictor(model)
    assert isinstance(student, OnnxStudent)
    assert student.count_truncated([*texts, "late " * 500]) == 1


def test_a_student_without_onnx_says_where_it_comes_from(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no ONNX model; give a folder that `tutelage export"):
        load_predictor(tmp_path, "onnx")


@pytest.mark.parametrize(
    ("rows", "fields", "to", "says"),
    [
        ([], {}, "out.csv", "holds no rows; there is nothing to predict"),
        ([{"text": " "}], {}, "out.csv", "line 1: the text is empty"),
        ([{"body": "x"}], {}, "out.csv", "no field 'text', got 'body'"),
        (ROWS, {"columns": FileColumns(["body"])}, "out.csv", "no field 'body', got 'id', 'text'"),
        (ROWS, {}, "out.xlsx", "predictions go to .jsonl, .csv, .parquet"),
        (ROWS, {}, "no/out.csv", "does not exist; create it"),
        (ROWS, {}, "in.jsonl", "exists already; choose another file, or delete it"),
        (ROWS, {"precision": 0.9}, "out.csv", "has no confidence.json"),
    ],
)
def test_what_cannot_be_predicted_is_refused_and_leaves_nothing(
    rows: Rows, fields: dict[str, Any], to: str, says: str, model: Path, tmp_path: Path
) -> None:
    file = lines(tmp_path / "in.jsonl", rows)
    with pytest.raises(InputError, match=says):
        predict_file(PredictionRequest(model, **fields), file, tmp_path / to, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_killed_prediction_continues_and_ends_as_if_it_had_not_been_killed(
    model: Path, tmp_path: Path
) -> None:
    words = ["money", "back", "parcel", "late", "where", "please", "now", "want"]
    rows = [{"text": f"{words[i % 8]} {words[i // 8 % 8]} {i}"} for i in range(12 * BLOCK)]
    file, to = lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "tutelage.cli", "predict", model, "--file", file, "--to", to]
    with subprocess.Popen([*map(str, command)], env=dict(os.environ), stderr=subprocess.DEVNULL) as process:
        part = tmp_path / "out.jsonl.part"
        while stored(part) < 2 * BLOCK:  # the last block that is seen may still be rolled back
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    seen: list[int] = []
    predict_file(PredictionRequest(model), file, to, print, listener=lambda n, _: seen.append(n))
    assert BLOCK <= seen[0] < len(rows), "it goes on where the killed process was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    whole = tmp_path / "whole.jsonl"
    predict_file(PredictionRequest(model), file, whole, print)
    assert to.read_text() == whole.read_text()


def test_stored_predictions_of_another_file_are_not_continued(model: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "in.jsonl")
    part = tmp_path / "out.csv.part"
    with closing(sqlite3.connect(part)) as db:
        db.execute("CREATE TABLE about (identity TEXT, truncated INTEGER)")
        db.execute("INSERT INTO about VALUES ('of another file', 0)")
        db.commit()
    with pytest.raises(
        InputError, match="of another file, student, column, encoding or engine; repeat the command"
    ):
        predict_file(PredictionRequest(model), file, tmp_path / "out.csv", print)
    part.write_text("no predictions")
    with pytest.raises(InputError, match="holds no predictions; delete it to begin again"):
        predict_file(PredictionRequest(model), file, tmp_path / "out.csv", print)
    assert not (tmp_path / "out.csv").exists()


def test_a_second_process_on_the_same_file_is_refused(model: Path, tmp_path: Path) -> None:
    file, to = lines(tmp_path / "in.jsonl"), tmp_path / "out.csv"
    refused: list[str] = []

    def second(done: int, rows: int) -> None:
        if not refused:
            with pytest.raises(InputError, match="another process predicts this file") as error:
                predict_file(PredictionRequest(model), file, to, print)
            refused.append(str(error.value))

    assert predict_file(PredictionRequest(model), file, to, print, listener=second) == 3
    assert refused


def test_values_that_a_form_cannot_hold_become_text_or_are_refused_before_the_work(
    model: Path, tmp_path: Path
) -> None:
    odd = {"text": "money", "big": 2**70, "nothing": float("nan"), "when": None}
    filled(model, lines(tmp_path / "in.jsonl", [odd]), tmp_path / "out.parquet")
    [row] = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert row["big"] == str(2**70)
    filled(model, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert '"nothing": null' in (tmp_path / "out.jsonl").read_text()
    (tmp_path / "half.jsonl").write_text('{"text": "money", "tags": ["\\ud83d"]}\n')
    with pytest.raises(InputError, match="row 1: field 'tags' contains half of a surrogate pair"):
        filled(model, tmp_path / "half.jsonl", tmp_path / "half.csv")


def test_rows_of_annotation_tools_keep_their_columns(model: Path, tmp_path: Path) -> None:
    task = {"id": 3, "data": {"text": "money back"}, "annotations": []}
    (tmp_path / "in.json").write_text(json.dumps([task]))
    filled(model, tmp_path / "in.json", tmp_path / "out.jsonl")
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row["predicted"] in ("refund", "status")
    assert {name: row[name] for name in task} == task


def test_control_c_says_how_to_continue(model: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "in.jsonl", [{"text": f"money {i}"} for i in range(40 * BLOCK)])
    to = tmp_path / "out.parquet"
    command = [sys.executable, "-m", "tutelage.cli", "predict", model, "--file", file, "--to", to]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        part = tmp_path / "out.parquet.part"
        while stored(part) < 2 * BLOCK:  # the last block that is seen may still be rolled back
            assert process.poll() is None, "it ended before it was interrupted"
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown.strip().endswith("rows; the same command continues")
    assert not to.exists()


def test_parts_one_after_the_other_are_the_whole_in_whatever_order_they_are_made(
    model: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"money back {i}" if i % 7 else " ", "n": i} for i in range(3 * BLOCK + 5)]
    file = lines(tmp_path / "in.jsonl", [*rows, {"text": "late", "n": "last"}])  # the type of n becomes text
    for ending, counts in {"jsonl": (2, 7), "parquet": (3,)}.items():
        whole = tmp_path / f"whole.{ending}"
        predict_file(PredictionRequest(model), file, whole, lambda _: None)
        for count in counts:
            made = {
                shard: predict_file(
                    PredictionRequest(model), file, tmp_path / f"p.{ending}", lambda _: None, shard=shard
                )
                for shard in (Shard(number, count) for number in reversed(range(1, count + 1)))
            }
            parts = sorted(tmp_path.glob(f"p-?-of-{count}.{ending}"))
            assert [path.name for path in parts] == [f"p-{i + 1}-of-{count}.{ending}" for i in range(count)]
            assert sum(made.values()) == len(rows) + 1
            if ending == "jsonl":
                assert "".join(path.read_text() for path in parts) == whole.read_text()
            else:
                tables = [pyarrow.parquet.read_table(path) for path in parts]
                assert pyarrow.concat_tables(tables).equals(pyarrow.parquet.read_table(whole))


@pytest.mark.parametrize("count", [1, 2, 3, 16, 100])
@pytest.mark.parametrize("total", [0, 1, BLOCK, 10 * BLOCK + 1, 40 * BLOCK - 1])
def test_every_row_is_in_one_part(total: int, count: int) -> None:
    parts = [Shard(number, count).rows(total) for number in range(1, count + 1)]
    assert [row for part in parts for row in part] == [*range(total)]
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 2 * BLOCK


def test_parts_are_named_in_the_order_of_the_rows(tmp_path: Path) -> None:
    names = [Shard(number, 16).file(tmp_path / "a.b.csv").name for number in range(1, 17)]
    assert names[0] == "a.b-01-of-16.csv"
    assert names == sorted(names)
    for bad in ("0/4", "5/4", "3", "a/b", "-1/4", "1/0"):
        with pytest.raises(InputError, match=f"--shard {bad}: expected a part and the number of parts"):
            Shard.parse(bad)


@pytest.mark.slow
def test_of_parts_that_are_predicted_at_once_one_is_killed_and_continued(model: Path, tmp_path: Path) -> None:
    words = ["money", "back", "parcel", "late", "where", "please", "now", "want"]
    rows = [{"text": f"{words[i % 8]} {words[i // 8 % 8]} {i}"} for i in range(24 * BLOCK)]
    file, to = lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "tutelage.cli", "predict", model, "--file", file, "--to", to, "--shard"]

    def started(shard: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*map(str, command), shard], stderr=subprocess.DEVNULL)

    with started("2/2") as killed, started("1/2") as other:
        part = tmp_path / "out-2-of-2.jsonl.part"
        while stored(part) < 2 * BLOCK:  # the last block that is seen may still be rolled back
            assert killed.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
        assert other.wait() == 0
    again = subprocess.run([*map(str, command), "2/2"], capture_output=True, text=True, check=True)
    noted = re.search(r"out-2-of-2.jsonl.part has (\d+) of 12288 rows already", again.stderr)
    assert noted
    assert BLOCK <= int(noted[1]) < 12 * BLOCK
    assert again.stdout == f"wrote 12288 rows to {tmp_path / 'out-2-of-2.jsonl'}\n"
    whole = tmp_path / "whole.jsonl"
    predict_file(PredictionRequest(model), file, whole, print)
    assert "".join(path.read_text() for path in sorted(tmp_path.glob("out-*"))) == whole.read_text()
