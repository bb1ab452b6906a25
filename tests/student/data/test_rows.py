"""Test how rows are read from files, and how bad files are reported."""

import csv
import gzip
import json
import sys
from pathlib import Path

import pytest
from tutelage.student.data.readers import Columns, HubSplit, make_row, read_hub, read_rows
from tutelage.student.data.rows import content_id, normal_form, without_repeats
from tutelage.student.errors import InputError
from tutelage.student.tasks.registry import TASK_TYPES

LABELS = ["refund", "status"]
GOOD = '{"text": "Where is it?", "label": "status"}'


def line(text: object, label: object = "status") -> str:
    return json.dumps({"text": text, "label": label})


def bad_lines() -> dict[str, tuple[str | bytes, list[str]]]:
    """Return for each case the second line of a file, and what the message must say beside file and line."""
    return {
        "not JSON": ("{text: hello}", ["not JSON", "one JSON object per line"]),
        "an array": ('["Where is it?", "status"]', ["list", "expected an object"]),
        "a bare string": ('"Where is it?"', ["str", "expected an object"]),
        "no label field": (
            '{"text": "a", "intent": "b"}',
            ["no field 'label'", "'text', 'intent'", "rename"],
        ),
        "an empty object": ("{}", ["no field 'text'", "got nothing", "rename"]),
        "a number for a text": (line(7), ["field 'text'", "int", "expected a string"]),
        "null for a label": (line("Hello", None), ["label is NoneType", "expected the name of a label"]),
        "an empty text": (line(" \n "), ["the text is empty", "remove it"]),
        "a megabyte": (line("a" * 1_000_000), ["1,000,000 characters", "at most 20,000", "shorten"]),
        "a NUL byte": (line("a\0b"), ["NUL", "damaged"]),
        "half a surrogate pair": ('{"text": "a \\ud83d", "label": "status"}', ["surrogate"]),
        "a misspelt label": (line("a", "refnd"), ["'refnd'", "2 labels", "did you mean 'refund'?"]),
        "a foreign label": (line("a", "weather"), ["'weather'", "add it to `labels`"]),
        "broken UTF-8": (
            b'{"text": "caf\xe9", "label": "status"}',
            ["not UTF-8", "0xe9", "save the file as UTF-8"],
        ),
    }


@pytest.mark.parametrize("case", bad_lines())
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_bad_line_is_reported_with_its_file_its_line_and_what_to_do(
    tmp_path: Path, case: str, ending: str
) -> None:
    bad, expected = bad_lines()[case]
    content = GOOD.encode() + b"\n" + (bad if isinstance(bad, bytes) else bad.encode()) + b"\n"
    path = tmp_path / f"data.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    with pytest.raises(InputError) as caught:
        read_rows(path, LABELS)
    for part in [str(path), "line 2", *expected]:
        assert part in str(caught.value)


def test_invalid_utf8_after_a_byte_order_mark_is_reported_with_the_right_byte(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\n\xff")
    with pytest.raises(InputError, match=r"line 2 is not UTF-8 \(byte 0xff\)"):
        read_rows(path, LABELS)


def test_json_nested_too_deeply_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(GOOD + "\n" + "[" * 100 * sys.getrecursionlimit())
    with pytest.raises(InputError, match="line 2"):
        read_rows(path, LABELS)


def test_a_missing_file_is_reported_with_what_paths_are_relative_to(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl does not exist; paths in task\.yaml are relative"):
        read_rows(tmp_path / "nowhere.jsonl", LABELS)


def test_a_folder_that_is_no_data_set_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").mkdir()
    with pytest.raises(InputError, match=r"data\.jsonl cannot be read"):
        read_rows(tmp_path / "data.jsonl", LABELS)


@pytest.mark.parametrize("damage", ["cut off", "a flipped byte", "not gzip at all"])
def test_a_damaged_gzip_file_is_reported(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress((GOOD + "\n").encode() * 2000)
    flipped = bytes([*whole[:30], whole[30] ^ 0xFF, *whole[31:]])
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes({"cut off": whole[:-20], "a flipped byte": flipped, "not gzip at all": b"hello"}[damage])
    with pytest.raises(InputError, match=r"data\.jsonl\.gz cannot be read"):
        read_rows(path, LABELS)


def test_a_csv_with_other_columns_is_reported_with_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("utterance,intent\nWhere is it?,status\n")
    with pytest.raises(
        InputError, match=r"data\.csv line 2: no field 'text', got 'utterance', 'intent'; rename"
    ):
        read_rows(path, LABELS)


def test_a_csv_row_without_a_label_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\nWhere is it?,status\nMy money back!\n")
    with pytest.raises(InputError, match=r"data\.csv line 3: label is NoneType"):
        read_rows(path, LABELS)


def test_a_csv_with_an_open_quote_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"Where is it?,status\n')
    with pytest.raises(InputError, match=r"data\.csv is not well-formed CSV: unexpected end of data"):
        read_rows(path, LABELS)


def test_a_bad_csv_row_after_a_multiline_text_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"Where\nis\nit?",status\nHello,weather\n')
    with pytest.raises(InputError, match=r"data\.csv line 5: label 'weather'"):
        read_rows(path, LABELS)


def test_jsonl_is_read_in_file_order_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(f"{GOOD}\r\n\r\n{line('Grüße, 世界', 'refund')}\r\n".encode())
    assert read_rows(path, LABELS) == [
        {"id": content_id("Where is it?"), "text": "Where is it?", "label": "status"},
        {"id": content_id("Grüße, 世界"), "text": "Grüße, 世界", "label": "refund"},
    ]


def test_reading_a_csv_does_not_lower_the_field_size_limit_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\nhi,status\n")
    before = csv.field_size_limit()
    read_rows(path, LABELS)
    assert csv.field_size_limit() >= before


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "jsonl.gz", "csv.gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_every_file_ending_gives_the_same_rows(tmp_path: Path, ending: str, mark: bytes) -> None:
    as_csv, jsonl = 'text,label\n"Where, oh where?",status\n', line("Where, oh where?") + "\n"
    content = mark + (as_csv if "csv" in ending else jsonl).encode()
    path = tmp_path / f"data.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    [row] = read_rows(path, LABELS)
    assert (row["text"], row["label"]) == ("Where, oh where?", "status")


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,intent,utterance\n7,status,Where is it?\n")
    [row] = read_rows(path, LABELS, columns=Columns(("utterance",), "intent"))
    assert row == {"id": content_id("Where is it?"), "text": "Where is it?", "label": "status"}


def test_unlabelled_texts_are_read_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "Where is it?"}\n{"text": "Hm", "label": "weather"}\n')
    assert [(row["text"], row["label"]) for row in read_rows(path, None)] == [
        ("Where is it?", ""),
        ("Hm", ""),
    ]


def test_a_text_of_maximum_length_is_accepted() -> None:
    record: dict[str, object] = {"text": "a" * 20_000, "label": "status"}
    assert len(make_row(record, LABELS, "here")["text"]) == 20_000


def test_case_punctuation_and_spacing_do_not_change_the_id() -> None:
    same = ["Where is it?", "where is it", "  WHERE,   is... it!!! ", "where_is_it", "Where is it\n"]
    assert {normal_form(text) for text in same} == {"where is it"}
    assert len({content_id(text) for text in same}) == 1


@pytest.mark.parametrize("name", ["ner", "seq2seq"])
@pytest.mark.parametrize(
    ("one", "other"), [("12 / 3", "12 * 3"), ("(3 + 4) * 2", "3 + 4 * 2"), ("ls -l", "ls l"), ("us", "US")]
)
def test_case_and_punctuation_change_the_id_where_they_carry_the_answer(
    name: str, one: str, other: str
) -> None:
    task_type = TASK_TYPES[name]
    assert content_id(one, task_type) != content_id(other, task_type)
    assert content_id(one, task_type) == content_id(f" {one.replace(' ', '  ')}\n", task_type)
    assert content_id("Cafe\u0301", task_type) == content_id("Café", task_type)
    rows = [make_row({"text": text}, None, "here", task_type=task_type) for text in (one, other)]
    assert without_repeats(rows, "here") == rows


def test_ids_are_sixteen_digits_of_the_hash_of_the_normal_form() -> None:
    assert content_id("Abc!") == "ba7816bf8f01cfea"  # SHA-256 of "abc", FIPS 180-2, appendix B.1


def test_different_words_give_different_ids() -> None:
    assert content_id("Where is it?") != content_id("Where was it?")


def test_texts_of_only_punctuation_or_emoji_stay_distinct() -> None:
    texts = ["?", "!", "...", "😀", "😡", "👍🏽", "👍🏿"]
    assert len({content_id(text) for text in texts}) == len(texts)


def test_vowel_signs_are_part_of_a_word() -> None:
    assert content_id("दिन") != content_id("दान")  # Hindi: day, gift
    assert content_id("กิน") != content_id("กัน")  # Thai: eat, together


def test_of_texts_that_repeat_with_the_same_label_the_first_is_kept() -> None:
    rows = [make_row({"text": t, "label": "status"}, LABELS, "") for t in ("Hello?", "hello", "Hello you")]
    assert without_repeats(rows, "seed.jsonl") == [rows[0], rows[2]]


def test_a_text_with_two_labels_is_refused() -> None:
    rows = [make_row({"text": "Hello", "label": label}, LABELS, "") for label in LABELS]
    with pytest.raises(InputError, match=r"seed\.jsonl: 'Hello' occurs as 'refund' and as 'status'; keep"):
        without_repeats(rows, "seed.jsonl")


def test_distinct_texts_are_accepted() -> None:
    texts = ("Hello", "Hello you", "😀", "😡")
    rows = [make_row({"text": t, "label": "status"}, LABELS, "") for t in texts]
    assert without_repeats(rows, "seed.jsonl") == rows


def data_set(folder: Path, records: list[dict[str, object]], classes: list[str] | None = None) -> str:
    """Write a data set folder with a split `train`; with `classes`, its labels are class numbers."""
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if classes:
        names = "\n".join(f"          '{i}': {name}" for i, name in enumerate(classes))
        (folder / "README.md").write_text(
            "---\ndataset_info:\n  features:\n  - name: utterance\n    dtype: string\n  - name: intent\n"
            f"    dtype:\n      class_label:\n        names:\n{names}\n---\n"
        )
    return str(folder)


def test_a_local_data_set_folder_is_read(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [{"text": "Where is it?", "label": "status", "more": 1}]
    name = data_set(tmp_path / "set", records)
    [row] = read_hub(HubSplit(name, "train"), LABELS)
    assert row == {"id": content_id("Where is it?"), "text": "Where is it?", "label": "status"}


def test_class_numbers_of_a_data_set_become_their_names(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {"utterance": "Where?", "intent": 1},
        {"utterance": "Money!", "intent": 0},
    ]
    name = data_set(tmp_path / "set", records, LABELS)
    rows = read_hub(HubSplit(name, "train"), LABELS, columns=Columns(("utterance",), "intent"))
    assert [(row["text"], row["label"]) for row in rows] == [("Where?", "status"), ("Money!", "refund")]


def test_a_row_without_a_class_is_refused(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {"utterance": "Where?", "intent": 1},
        {"utterance": "Money!", "intent": -1},
    ]
    name = data_set(tmp_path / "set", records, LABELS)
    with pytest.raises(InputError, match="row 2"):
        read_hub(HubSplit(name, "train"), LABELS, columns=Columns(("utterance",), "intent"))


def test_a_bad_row_of_a_data_set_is_reported_with_its_number(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [{"text": "a", "label": "status"}, {"text": "b", "label": "statsu"}]
    name = data_set(tmp_path / "set", records)
    with pytest.raises(InputError, match=r"set\[train\] row 2: label 'statsu' .* did you mean 'status'\?"):
        read_hub(HubSplit(name, "train"), LABELS)


def test_a_missing_data_set_or_split_is_reported(tmp_path: Path) -> None:
    name = data_set(tmp_path / "set", [{"text": "a", "label": "status"}])
    with pytest.raises(InputError, match=r"set', split 'tset' cannot be loaded: .*train"):
        read_hub(HubSplit(name, "tset"), LABELS)
    with pytest.raises(InputError, match="data set 'nobody/nothing', split 'train' cannot be loaded"):
        read_hub(HubSplit("nobody/nothing", "train"), LABELS)
