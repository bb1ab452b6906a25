"""Review by a table: what is written comes back as decisions, also from Excel; a wrong line keeps nothing."""

import csv
import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tutelage.graph.review.decisions import Queue, Review
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.table import read_table, write_table
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.reviewing import review_by_table
from tutelage.student.errors import InputError

Waiting = Callable[..., OpenReview]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path: Path, *changes: dict[str, str], **options: str) -> None:
    """Fill in the first rows of a table; options are of the file that is saved."""
    filled = [{**row, **change} for row, change in zip(rows(path), [*changes, *[{}] * 99], strict=False)]
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        writer = csv.DictWriter(file, list(filled[0]), **options)
        writer.writeheader()
        writer.writerows(filled)


def save_sheet(path: Path, *lines: list[object]) -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    for line in lines:
        workbook.active.append(line)
    workbook.save(path)


def test_decisions_come_back(waiting: Waiting, tmp_path: Path) -> None:
    review, path = waiting(count=6), tmp_path / "texts.csv"
    assert write_table(review, path) == 6
    written = rows(path)
    columns = ["id", "text", "label", "confidence", "answered", "reason", "right_label", "action"]
    assert list(written[0]) == columns
    assert [row["text"] for row in written] == [item["text"] for item in review.waiting]
    other = next(name for name in review.task.labels if name != written[1]["label"])
    same = written[2]["label"]
    changes = [{"action": "accept"}, {"right_label": other}, {"right_label": same}, {"action": " Refuse "}]
    fill(path, *changes, {"action": "skip"})
    assert read_table(review, path) == 5
    made = [review.decisions.get(row["id"], {"action": "none"}) for row in written]
    assert [one["action"] for one in made] == ["accept", "relabel", "accept", "refuse", "skip", "none"]
    assert made[1]["label"] == other
    assert read_table(review, path) == 0, "the same table again changes nothing"
    assert write_table(review, tmp_path / "rest.csv") == 1, "only the text without a decision"


@pytest.mark.parametrize("kind", ["pairs", "multilabel", "ner", "seq2seq"])
def test_labels_of_every_type_come_back(kind: str, waiting: Waiting, tmp_path: Path) -> None:
    review, path = waiting(kind, 3, own=False), tmp_path / "texts.csv"
    write_table(review, path)
    assert set(review.task.fields) < set(rows(path)[0])
    fill(path, *({"right_label": row["label"]} for row in rows(path)))
    assert read_table(review, path) == 3
    assert [made["action"] for made in review.decisions.values()] == ["accept"] * 3


def test_entities_are_changed_in_a_table(waiting: Waiting, tmp_path: Path) -> None:
    review = waiting("ner", 1, own=False, first={"text": "Anna is in São Paulo", "label": "[]"})
    name, path = next(iter(review.task.labels)), tmp_path / "texts.csv"
    write_table(review, path)
    fill(path, {"right_label": json.dumps([{"text": "Anna", "type": name}])})
    read_table(review, path)
    assert [json.loads(made["label"]) for made in review.decisions.values()] == [[[0, 4, name]]]


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8-sig", ";"), ("utf-8", "\t"), ("utf-16", ";"), ("utf-8-sig", ",")]
)
def test_files_that_excel_saved_are_read(
    encoding: str, delimiter: str, waiting: Waiting, tmp_path: Path
) -> None:
    review = waiting(count=2, first={"text": "Wo ist mein Päckchen; oder, äh,\n„Paket“?"})
    path = tmp_path / "texts.csv"
    write_table(review, path)
    fill(path, {"action": "accept"}, {"action": "refuse"}, encoding=encoding, delimiter=delimiter)
    assert read_table(review, path) == 2


def test_cells_that_a_spreadsheet_would_compute_are_guarded(waiting: Waiting, tmp_path: Path) -> None:
    first = {"id": "12345678e9012345", "text": '=HYPERLINK("http://evil")', "label": "-1"}
    review = waiting(count=2, own=False, labels={"-1": "", "1": ""}, first=first)
    path = tmp_path / "texts.csv"
    write_table(review, path)
    [row, _] = rows(path)
    assert row["id"] == "'12345678e9012345", "it would become a number"
    assert row["text"] == '\'=HYPERLINK("http://evil")'
    assert row["label"] == "'-1"
    fill(path, {"right_label": row["label"]})
    assert read_table(review, path) == 1
    assert review.decisions["12345678e9012345"]["action"] == "accept"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"right_label": "nowhere"}, "the label 'nowhere'"),
        ({"action": "praise"}, "the action is 'praise', expected accept, refuse, skip or nothing"),
        ({"id": "x", "action": "skip"}, "no text with the id 'x' waits for review"),
        ({"action": "skip", "right_label": "LABEL"}, "the action is skip, but right_label is"),
        ({"action": "relabel"}, "`relabel` needs the right label"),
        ({"action": "accept", "right_label": "OTHER"}, "the action is accept, but right_label is another"),
        ({"id": "FIRST", "action": "skip"}, "a second decision about the text"),
    ],
)  # fmt: skip
def test_one_wrong_line_keeps_nothing(
    change: dict[str, str], words: str, waiting: Waiting, tmp_path: Path
) -> None:
    review, path = waiting(count=3), tmp_path / "texts.csv"
    write_table(review, path)
    first, second, _ = rows(path)
    other = next(name for name in review.task.labels if name != second["label"])
    names = {"LABEL": second["label"], "OTHER": other, "FIRST": first["id"]}
    fill(path, {"action": "accept"}, {key: names.get(value, value) for key, value in change.items()})
    with pytest.raises(InputError) as refused:
        read_table(review, path)
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"{path} line 3: ")
    assert review.decisions == {}


def test_after_a_table_the_texts_that_wait_next_are_named(waiting: Waiting, tmp_path: Path) -> None:
    review, path, said = waiting(count=2), tmp_path / "texts.csv", list[str]()
    run = review.folder.path
    write_table(review, path)
    fill(path, {"action": "accept"}, {"action": "skip"})

    def choose_others() -> RunFolder:
        later = [{**item, "id": f"later {item['id']}"} for item in review.queue["items"]]
        Review(review.folder).put(Queue(round=2, attempt=0, items=later))  # type: ignore[typeddict-item]
        return review.folder

    assert review_by_table(run, choose_others, said.append, path) is None
    waits = f"2 texts of round 2 wait now; to go on: tutelage review {run}"
    assert said == [f"kept 2 decisions of {path}", waits]


def test_own_rows_cannot_be_refused_in_a_table(waiting: Waiting, tmp_path: Path) -> None:
    review, path = waiting(count=2), tmp_path / "texts.csv"
    write_table(review, path)
    fill(path, {"action": "refuse"})
    with pytest.raises(InputError, match="line 2: this is a row of your own data"):
        read_table(review, path)


@pytest.mark.parametrize("name", ["texts.xlsx", "texts.txt", "texts", "texts.csv.gz"])
def test_only_csv_is_written(name: str, waiting: Waiting, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not end in \.csv, and the table is written as CSV"):
        write_table(waiting(count=1), tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    "cell", [datetime.datetime(2025, 12, 26), datetime.date(2025, 12, 26), datetime.time(9, 30)]
)
def test_a_date_of_a_spreadsheet_is_not_taken_for_a_label(
    cell: object, waiting: Waiting, tmp_path: Path
) -> None:
    review, path = waiting("seq2seq", 3, own=False), tmp_path / "texts.xlsx"
    ids = [item["id"] for item in review.waiting]
    save_sheet(path, ["id", "right_label", "action"], [ids[0], "as text", None], [ids[1], cell, None])
    with pytest.raises(InputError, match=r"row 3: right_label is a date or a time, .* column as text"):
        read_table(review, path)
    assert review.decisions == {}


def test_a_number_of_a_spreadsheet_is_a_label(waiting: Waiting, tmp_path: Path) -> None:
    labels = {"2": "", "1": ""}
    review = waiting(count=2, own=False, judged=False, labels=labels, first={"near": []})
    path = tmp_path / "texts.xlsx"
    id = review.waiting[0]["id"]
    save_sheet(path, ["id", "right_label", "action"], [id, 2, None])
    assert read_table(review, path) == 1
    assert review.decisions[id]["label"] == "2"


def test_other_tables_and_files_are_refused(waiting: Waiting, tmp_path: Path) -> None:
    review, path = waiting(count=1), tmp_path / "texts.csv"
    with pytest.raises(InputError, match=r"does not exist; write it with `tutelage review .* --out"):
        read_table(review, path)
    path.write_text("id,text\nx,y\n")
    with pytest.raises(InputError, match="line 2 has no column 'right_label'; keep the columns id,"):
        read_table(review, path)
    with pytest.raises(InputError, match="exists already"):
        write_table(review, path)
    with pytest.raises(InputError, match=r"the folder .*missing does not exist"):
        write_table(review, tmp_path / "missing" / "texts.csv")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"the folder .*file does not exist"):
        write_table(review, tmp_path / "file" / "texts.csv")
    review.decide(review.waiting[0]["id"], "accept")
    with pytest.raises(InputError, match=r"all texts of .* are decided; nothing is written"):
        write_table(review, tmp_path / "rest.csv")
