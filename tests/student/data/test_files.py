"""Test the forms of data files, each written by the tool that users write it with."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from tutelage.student.data.files import read_records
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.errors import InputError
from tutelage.student.tasks.registry import TASK_TYPES

LABELS = ["refund", "status"]
ROWS = [("Où est mon colis ?", "status"), ("My money; back!\tNow, please", "refund")]
RECORDS = [{"text": text, "label": label} for text, label in ROWS]


def table(delimiter: str) -> str:
    return "\r\n".join(
        delimiter.join(f'"{part}"' for part in row) for row in [("text", "label"), *ROWS, ("NA", "status")]
    )


def written(path: Path, name: str) -> Path:
    """Write RECORDS, and a text that looks like a missing value, in the form of the file's name."""
    import datasets
    import openpyxl

    records = [*RECORDS, {"text": "NA", "label": "status"}]
    lines = "\n".join(json.dumps(record) for record in records)
    file = path / name
    if name == "saved":
        datasets.Dataset.from_list(records).save_to_disk(file)
    elif name == "saved-splits":
        parts = {
            "validation": datasets.Dataset.from_list(records),
            "test": datasets.Dataset.from_list(records[:1]),
        }
        datasets.DatasetDict(parts).save_to_disk(file)
    elif name.endswith(".parquet"):
        datasets.Dataset.from_list(records).to_parquet(file)
    elif name.endswith(".arrow"):
        datasets.Dataset.from_list(records).save_to_disk(path / "set")
        next((path / "set").glob("*.arrow")).rename(file)
    elif name.endswith(".xlsx"):
        book = openpyxl.Workbook()
        for row in [("text", "label"), *ROWS, ("NA", "status")]:
            book.active.append(row)
        book.save(file)
    else:
        content, encode = {
            "data.jsonl": (lines, "utf-8"),
            "data.ndjson": (lines, "utf-8"),
            "lines.json": (lines, "utf-8"),
            "array.json": (json.dumps(records, indent=1), "utf-8"),
            "object.json": (json.dumps({"version": 1, "data": records}), "utf-8"),
            "comma.csv": (table(","), "utf-8"),
            "semicolon.csv": (table(";"), "utf-8-sig"),
            "excel.csv": ("sep=;\r\n" + table(";"), "utf-8-sig"),
            "bar.csv": (table("|"), "utf-8"),
            "unicode.csv": (table("\t"), "utf-16"),
            "data.tsv": (table("\t"), "utf-8"),
        }[name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")]
        packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
        pack: Callable[[bytes], bytes] = packers.get(file.suffix, bytes)
        file.write_bytes(pack(content.encode(encode)))
    return file


@pytest.mark.parametrize(
    "name",
    [
        *("data.jsonl", "data.ndjson", "lines.json", "array.json", "object.json"),
        *("comma.csv", "semicolon.csv", "excel.csv", "bar.csv", "unicode.csv", "data.tsv"),
        *("data.jsonl.gz", "semicolon.csv.bz2", "array.json.xz"),
        *("data.parquet", "data.arrow", "data.xlsx", "saved"),
    ],
)
def test_every_form_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, name), LABELS)
    assert [(row["text"], row["label"]) for row in rows] == [*ROWS, ("NA", "status")]


def test_a_text_file_has_one_text_per_line(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("Where is it?\r\n\n01\n")
    assert [row["text"] for row in read_rows(tmp_path / "texts.txt", None)] == ["Where is it?", "01"]
    with pytest.raises(InputError, match=r"texts\.txt line 1: no field 'label', got 'text'"):
        read_rows(tmp_path / "texts.txt", LABELS)


def test_a_split_of_a_saved_data_set_is_read_by_its_name(tmp_path: Path) -> None:
    folder = written(tmp_path, "saved-splits")
    assert len(read_rows(folder, LABELS, split="validation")) == 3
    with pytest.raises(InputError, match=r"has no split 'train'; name one of them as `split`: validation, t"):
        read_rows(folder, LABELS)


def test_another_encoding_has_to_be_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(table(";").encode("windows-1252"))
    with pytest.raises(InputError, match=r"line 2 is not UTF-8 \(byte 0xf9\); .*`encoding: windows-1252`"):
        read_rows(path, LABELS)
    assert read_rows(path, LABELS, encoding="windows-1252")[0]["text"] == ROWS[0][0]
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        read_rows(path, LABELS, encoding="klingon")


def test_class_numbers_of_a_table_become_their_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=LABELS)}
    )
    data = datasets.Dataset.from_dict({"text": ["Where?", "Money!"], "label": [1, 0]}, features=features)
    data.to_parquet(tmp_path / "data.parquet")
    data.save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "data.parquet", tmp_path / "saved"):
        assert [row["label"] for row in read_rows(path, LABELS)] == ["status", "refund"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 0], {"0": "refund", "1": "status"}),
        ([1.0, 0.0], {"0": "refund", "1": "status"}),
        (["1", "0"], {"0": "refund", "1": "status"}),
        ([True, False], {"true": "status", "false": "refund"}),
        (["Where", "refund"], {"Where": "status"}),
    ],
)
def test_values_are_mapped_to_labels(values: list[object], names: dict[str, str], tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"text {i}", "label": value}) for i, value in enumerate(values)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    rows = read_rows(tmp_path / "data.jsonl", LABELS, columns=Columns(names=names))
    assert [row["label"] for row in rows] == ["status", "refund"]


def test_lists_of_values_are_mapped_too(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "Where is my money?", "labels": [0, 1]}')
    columns = Columns(names={"0": "refund", "1": "status"})
    [row] = read_rows(tmp_path / "data.jsonl", LABELS, task_type=TASK_TYPES["multilabel"], columns=columns)
    assert TASK_TYPES["multilabel"].labels_in(row["label"]) == ["refund", "status"]


def test_numbers_that_are_the_names_of_labels_need_no_mapping(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "five stars", "label": 5}')
    assert read_rows(tmp_path / "data.jsonl", ["1", "5"])[0]["label"] == "5"


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, r"label is 3, expected the name of a label; say what each value means with `label_names`"),
        (True, r"label is True, expected the name of a label"),
        ("REFUND", r"label 'REFUND' is not one of the task's 2 labels; did you mean 'refund'\?"),
        (" status ", r"label ' status ' is not one of the task's 2 labels; did you mean 'status'\?"),
    ],
)
def test_a_label_of_another_form_is_reported_with_the_remedy(
    label: object, message: str, tmp_path: Path
) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": "a", "label": label}))
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / "data.jsonl", LABELS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"text": "a"}, 3]', r"a\.json item 2 is a JSON int, expected an object"),
        ("a.json", '[{"text": "a"}', r"a\.json is not JSON: .*; write an array of objects"),
        ("a.json", '{"text": "a"}\n{"text"', r"a\.json line 2 is not JSON"),
        ("a.parquet", "text", r"a\.parquet cannot be read: "),
        ("a.arrow", "text", r"a\.arrow cannot be read: "),
        ("a.xlsx", "text", r"a\.xlsx cannot be read: "),
        ("a.docx", "text", r"a\.docx: unknown ending \.docx; data files are \.jsonl, \.json, \.csv, \.tsv"),
        ("a.tsv", 'text\tlabel\n"open', r"a\.tsv is not well-formed CSV"),
    ],
)
def test_a_damaged_file_is_reported_with_its_name(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / name, None)


def test_a_column_without_a_name_is_left_out_of_a_sheet(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(("text", None, "label"))
    book.active.append(("Where is it?", 7, "status"))
    book.save(tmp_path / "data.xlsx")
    assert [record for _, record in read_records(tmp_path / "data.xlsx", "label")] == [
        {"text": "Where is it?", "label": "status"}
    ]


def test_a_json_file_may_hold_a_single_record(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{\n "text": "a",\n "tokens": []\n}')
    assert [record["text"] for _, record in read_records(tmp_path / "one.json", "label")] == ["a"]
