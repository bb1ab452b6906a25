"""Test the task.yaml that `init --data` makes from a file of the user's."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tutelage.graph.task.from_data import task_from_data
from tutelage.graph.task.load import load_task, override
from tutelage.graph.task.splits import Splits, load_splits, undescribed
from tutelage.student.errors import InputError

TEXTS = [f"message number {i} about an order" for i in range(400)]


def silent(question: str, columns: Sequence[str]) -> None:
    """Answer as a program without a terminal does."""


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path


def made(folder: Path) -> Splits:
    return load_splits(load_task(folder / "task.yaml"))


def test_columns_labels_and_a_test_set_are_taken_from_the_file(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": i, "Message": text, "queue": ("refund", "status")[i % 2], "day": i % 7}
        for i, text in enumerate(TEXTS)
    ]
    data = table(tmp_path / "tickets.csv", rows)
    written, found = task_from_data(tmp_path / "mine", data, silent)
    assert written == [tmp_path / "mine" / "task.yaml"], "the data stay where they are"
    assert found == [
        f"{data}: 400 rows, text in 'Message', label in 'queue'",
        "2 labels: refund 200, status 200",
    ]
    splits = made(tmp_path / "mine")
    assert (len(splits.labelled), len(splits.test)) == (320, 80)
    assert {row["label"] for row in splits.test} == {"refund", "status"}
    assert not {row["id"] for row in splits.labelled} & {row["id"] for row in splits.test}


def test_rows_that_cannot_be_used_are_counted_and_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": text, "label": ("a", "b")[i % 2]} for i, text in enumerate(TEXTS[:40])
    ]
    rows += [{"text": TEXTS[0], "label": "a"}, {"text": TEXTS[1], "label": "a"}, {"text": " ", "label": "a"}]
    rows += [{"text": "a rare one", "label": "c"}, {"text": "long " * 200, "label": "a"}]
    rows += [{"text": text, "label": ""} for text in TEXTS[50:90]]
    written, found = task_from_data(tmp_path / "mine", table(tmp_path / "data.csv", rows), silent)
    assert [path.name for path in written] == ["task.yaml", "labelled.jsonl", "unlabelled.jsonl"]
    assert found[2:] == [
        "labels with fewer than 10 rows: c 1; label more, or merge them",
        "rows without text, left out: 1",
        "rows that repeat a text, left out: 2",
        f"texts with several labels, left out: 1, e.g. {TEXTS[1]!r}",
        "rows without a label, which become the unlabelled texts: 40",
        "texts longer than 128 tokens, of which the student reads only the beginning: 1;"
        " `student: {max_tokens: 256}` reads more, `{long: window}` all; both take longer",
    ]
    splits = made(tmp_path / "mine")
    assert (len(splits.labelled), len(splits.unlabelled), len(splits.test)) == (41, 40, 0)
    assert TEXTS[1] not in {row["text"] for row in splits.labelled}


def test_lists_of_labels_make_a_multilabel_task(tmp_path: Path) -> None:
    rows = [{"text": text, "labels": [["a"], ["a", "b"], []][i % 3]} for i, text in enumerate(TEXTS[:60])]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    _, found = task_from_data(tmp_path / "mine", tmp_path / "data.json", silent)
    assert found[1] == "2 labels: a 40, b 20"
    assert load_task(tmp_path / "mine" / "task.yaml").kind == "multilabel"
    assert len(made(tmp_path / "mine").labelled) == 60


def test_numbers_become_the_names_of_labels(tmp_path: Path) -> None:
    rows = [{"review": text, "stars": i % 5 + 1} for i, text in enumerate(TEXTS[:50])]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    task_from_data(tmp_path / "mine", tmp_path / "data.json", silent)
    assert sorted({row["label"] for row in made(tmp_path / "mine").labelled}) == ["1", "2", "3", "4", "5"]


def test_a_file_without_labels_is_the_pool(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    _, found = task_from_data(tmp_path / "mine", tmp_path / "texts.txt", silent)
    assert "no column of labels" in found[1]
    assert '"first": "first"' in (tmp_path / "mine" / "task.yaml").read_text()
    splits = made(tmp_path / "mine")
    assert (len(splits.labelled), len(splits.unlabelled)) == (0, 400)


def test_a_column_that_cannot_be_guessed_is_asked_for(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"subject": f"about order {i} again", "note": text, "team": "xy"[i % 2], "place": "pq"[i // 9 % 2]}
        for i, text in enumerate(TEXTS[:60])
    ]
    data = table(tmp_path / "data.csv", rows)
    asked: list[str] = []

    def answer(question: str, columns: Sequence[str]) -> str:
        asked.append(question)
        return "note" if "text" in question else "team"

    task_from_data(tmp_path / "mine", data, answer)
    assert asked == ["Which column has the text?", "Which column has the label?"]
    assert {row["label"] for row in made(tmp_path / "mine").labelled} == {"x", "y"}
    task_from_data(tmp_path / "named", data, answer, text="note", label="team")
    assert len(asked) == 2, "nothing is asked that is given"
    with pytest.raises(InputError, match="name the column of the text by --text; one of subject, note, team"):
        task_from_data(tmp_path / "silent", data, silent)
    assert not (tmp_path / "silent").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"text": "body"}, "has no column 'body'; its columns are text, label"),
        ({"label": "class"}, "has no column 'class'; its columns are text, label"),
        ({"text": "empty"}, "has no column 'empty'"),
    ],
)
def test_a_wrong_column_is_reported_with_the_right_ones(
    names: dict[str, str], message: str, tmp_path: Path
) -> None:
    data = table(tmp_path / "data.csv", [{"text": "Where is it?", "label": "status"}])
    with pytest.raises(InputError, match=message):
        task_from_data(tmp_path / "mine", data, silent, **names)


def test_a_file_in_another_encoding_keeps_it_in_task_yaml(tmp_path: Path) -> None:
    data = tmp_path / "tickets.csv"
    lines = ["Text;Warteschlange", *(f"Wo bleibt mein Päckchen {i}?;{'ab'[i % 2]}" for i in range(24))]
    data.write_bytes("\n".join(lines).encode("windows-1252"))
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        task_from_data(tmp_path / "task", data, silent, label="Warteschlange")
    task_from_data(tmp_path / "task", data, silent, label="Warteschlange", encoding="windows-1252")
    texts = {row["text"] for row in made(tmp_path / "task").labelled}
    assert texts == {f"Wo bleibt mein Päckchen {i}?" for i in range(24)}


def test_what_is_left_as_it_was_written_is_noted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": text, "label": "no" if "1" in text else "yes"} for text in TEXTS
    ]
    task_from_data(tmp_path / "mine", table(tmp_path / "rows.csv", rows), silent)
    first, second, *_ = made(tmp_path / "mine").notes
    assert first.startswith("the instruction is still 'Say which label fits the text.'")
    assert second.startswith("labels that are described by their name alone: yes, no;")
    labels = {"yes": "about money", "no": "about a parcel"}
    task = load_task(tmp_path / "mine" / "task.yaml")
    assert undescribed(override(task, {"instruction": "Route the message.", "labels": labels})) == []


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_a_file_without_rows_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text(content)
    with pytest.raises(InputError, match=r"empty\.csv has no rows"):
        task_from_data(tmp_path / "task", tmp_path / "empty.csv", silent)
    assert not (tmp_path / "task").exists()


def test_a_file_whose_texts_all_have_several_labels_is_refused(tmp_path: Path) -> None:
    rows = [f"same text,{i}" for i in range(5)]
    (tmp_path / "data.csv").write_text("\n".join(["topic,number", *rows]))
    with pytest.raises(InputError, match="every text has several labels in the column 'number'"):
        task_from_data(tmp_path / "task", tmp_path / "data.csv", silent, text="topic", label="number")


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", [{"text": " ", "label": "status"}])
    with pytest.raises(InputError, match="has no text in the column 'text'"):
        task_from_data(tmp_path / "mine", data, silent)
