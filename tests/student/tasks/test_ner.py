"""Test how named entities are read from files and replies, and shown."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.schemas import drafts_schema, labels_schema
from tutelage.student.data.readers import Columns, HubSplit, read_hub, read_rows
from tutelage.student.errors import InputError
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.spans import Span, spans, written

NER = TASK_TYPES["ner"]
LABELS = ["person", "city"]
TEXT = "Maria Novak moved from New York to York"
TAGS = ["B-person", "I-person", "O", "O", "B-city", "I-city", "O", "B-city"]
PLACES = [
    {"start": 0, "end": 11, "type": "person"},
    {"start": 23, "end": 31, "type": "city"},
    {"start": 35, "end": 39, "type": "city"},
]
MENTIONS = [
    {"text": "Maria Novak", "type": "person"},
    {"text": "New York", "type": "city"},
    {"text": "York", "type": "city"},
]
WANTED = [Span(0, 11, "person"), Span(23, 31, "city"), Span(35, 39, "city")]


def read(value: object, text: str = TEXT) -> list[Span]:
    return spans(NER.parse_label(value, text, LABELS))


def record(folder: Path, value: object, text: object = TEXT) -> Path:
    """Write a file with one row."""
    path = folder / "rows.jsonl"
    path.write_text(json.dumps({"text": text, "entities": value}) + "\n")
    return path


@pytest.mark.parametrize(
    "value",
    [TAGS, PLACES, [{**place, **mention} for place, mention in zip(PLACES, MENTIONS, strict=True)], MENTIONS],
    ids=["BIO tags", "places", "places with texts", "texts"],
)
def test_every_notation_in_a_file_gives_the_same_entities(value: list[Any]) -> None:
    assert read(value) == read(json.dumps(value)) == WANTED


@pytest.mark.parametrize("value", [PLACES, MENTIONS], ids=["places", "texts"])
def test_entities_can_be_in_any_order(value: list[Any]) -> None:
    assert read(value[::-1]) == WANTED


def test_the_type_can_be_given_as_label() -> None:
    assert read([{"text": "Maria Novak", "label": "person"}]) == WANTED[:1]


@pytest.mark.parametrize("value", [[], "[]", ["O"] * 8], ids=["a list", "JSON", "tags"])
def test_a_text_can_have_no_entity(value: object) -> None:
    assert NER.parse_label(value, TEXT, LABELS) == "[]"
    assert NER.to_text("[]", TEXT) == "none"
    assert NER.to_payload("[]", TEXT) == NER.to_file("[]", TEXT) == []


def test_adjacent_entities_stay_separate() -> None:
    assert read(["B-city", "B-city", "I-city"], "York New York") == [Span(0, 4, "city"), Span(5, 13, "city")]


def test_entities_have_texts_in_payloads_and_positions_in_files() -> None:
    given = written(WANTED)
    assert NER.to_payload(given, TEXT) == MENTIONS
    assert NER.to_file(given, TEXT) == [
        {**place, **mention} for place, mention in zip(PLACES, MENTIONS, strict=True)
    ]
    assert NER.to_text(given, TEXT) == "person: Maria Novak; city: New York; city: York"
    assert NER.labels_in(given) == ["person", "city"]
    assert NER.labels_in("[]") == [""]


def test_tokens_and_tags_can_be_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"tokens": TEXT.split(), "tags": TAGS}) + "\n")
    [row] = read_rows(path, LABELS, task_type=NER, columns=Columns(("tokens",), "tags"))
    assert (row["text"], spans(row["label"])) == (TEXT, WANTED)


@pytest.mark.parametrize("value", [TAGS, PLACES, MENTIONS], ids=["tags", "places", "texts"])
def test_a_csv_holds_entities_as_json(tmp_path: Path, value: object) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "entities"], [TEXT, json.dumps(value)]])
    [row] = read_rows(path, LABELS, task_type=NER)
    assert spans(row["label"]) == WANTED


def test_numbered_tags_of_a_data_set_become_their_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-person", "I-person", "B-city", "I-city"]
    tags = datasets.List(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
    made = {"tokens": [TEXT.split()], "ner_tags": [[names.index(tag) for tag in TAGS]]}
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(made, features=features).to_parquet(tmp_path / "set" / "train.parquet")
    hub = HubSplit(str(tmp_path / "set"))
    [row] = read_hub(hub, LABELS, task_type=NER, columns=Columns(("tokens",), "ner_tags"))
    assert (row["text"], spans(row["label"])) == (TEXT, WANTED)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["O"], "has 1 tags for 8 tokens; give each token one tag, O outside"),
        (["O"] * 9, "has 9 tags for 8 tokens"),
        (["I-city", *["O"] * 7], "'I-city' (token 1) follows nothing: an entity begins with B-city"),
        (["O", "O", "O", "I-city", *["O"] * 4], "'I-city' (token 4) follows O"),
        (["B-person", "I-city", *["O"] * 6], "'I-city' (token 2) follows an entity of person"),
        (["B-city", "E-city", *["O"] * 6], "'E-city' (token 2) is not a BIO tag; expected O, B-TYPE"),
        (["city", *["O"] * 7], "'city' (token 1) is not a BIO tag"),
        (["B-", *["O"] * 7], "'B-' (token 1) is not a BIO tag"),
        (["B-ctiy", *["O"] * 7], "'ctiy' is not one of the task's 2 labels; did you mean 'city'?"),
        ([{**PLACES[0], "type": "persn"}], "did you mean 'person'?"),
        ([{"text": "York", "type": "river"}], "add it to `labels` in task.yaml or correct the row"),
        ([{**PLACES[0], "end": 99}], "0 to 99 is not a valid range in a text of 39 characters"),
        ([{**PLACES[0], "start": -4}], "-4 to 11 is not a valid range"),
        ([{**PLACES[0], "start": 11}], "11 to 11 is not a valid range"),
        ([{**PLACES[0], "text": "Mario Novak"}], "'Mario Novak' is not the text from 0 to 11, which is 'Mar"),
        ([{**PLACES[0], "end": 3}], "'Mar' (0 to 3) cuts a word, or begins or ends with a space"),
        ([{**PLACES[0], "end": 12}], "'Maria Novak ' (0 to 12) cuts a word, or begins or ends with a space"),
        ([PLACES[0], {**PLACES[0], "start": 6}], "'Maria Novak' and 'Novak' overlap; keep one"),
        ([PLACES[0], PLACES[0]], "'Maria Novak' and 'Maria Novak' overlap; keep one"),
        ([PLACES[0], MENTIONS[1]], "gives positions for some entities and not for others; give them for all"),
        ([*TAGS[:7], PLACES[0]], "holds 'B-person'; give a BIO tag for each token, or entities, each with"),
        ([["Maria", "person"]], "holds ['Maria', 'person']; give"),
        ([{"start": 0, "end": 5}], "has no `type`"),
        ([{"type": "city"}], "has neither `start` and `end` nor `text`"),
        ([{"text": "Paris", "type": "city"}], "the entity 'Paris' is not in the text"),
        ([{"text": "New", "type": "city"}, {"text": "w York", "type": "city"}], "only as a part of a word"),
        (3, "is int, expected a list of entities, or of BIO tags"),
        ({"text": "York", "type": "city"}, "is dict, expected a list of entities, or of BIO tags"),
        (None, "is NoneType, expected a list of entities"),
        (" ".join(TAGS), "is not a JSON list"),
    ],
)
def test_invalid_entities_are_reported_in_one_line(tmp_path: Path, value: object, message: str) -> None:
    path = record(tmp_path, value)
    with pytest.raises(InputError) as raised:
        read_rows(path, LABELS, task_type=NER)
    assert str(raised.value).startswith(f"{path} line 1: entities ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_token_that_contains_a_space_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path, ["B-city"], ["New York"])
    with pytest.raises(InputError, match="has 1 tags for 2 tokens"):
        read_rows(path, LABELS, task_type=NER)


def test_entities_of_a_reply_are_located_in_the_text() -> None:
    reply_schema = labels_schema(tuple(LABELS), NER)
    one = {"id": "1", "reason": "r", "entities": MENTIONS, "confidence": 0.9}
    none, other = {**one, "id": "2", "entities": []}, [{"text": "York", "type": "river"}]
    items, problems = reply_schema.read(
        json.dumps({"labels": [one, none, {**one, "id": "3", "entities": other}]})
    )
    given = [item.item.entities for item in items]  # type: ignore[attr-defined]
    assert [spans(NER.parse_reply(entities, TEXT)) for entities in given] == [WANTED, []]
    assert len(problems) == 1
    assert problems[0].startswith("labels[2].entities.0.type: Input should be 'person' or 'city'")


def test_entities_are_not_transferred_to_another_text() -> None:
    assert NER.fit_to_text(written(WANTED), "Something else") == "[]"


def test_references_in_a_reply_schema_start_at_its_root() -> None:
    for reply_schema in (
        labels_schema(["city"], NER),
        drafts_schema(["city"], task_type=NER, with_labels=True),
    ):
        assert "Mention" in reply_schema.json_schema["$defs"]
        assert '"#/$defs/Mention"' in json.dumps(reply_schema.json_schema)


def test_an_empty_token_cannot_be_an_entity() -> None:
    with pytest.raises(ValueError, match="not a valid range"):
        NER.parse_label(["O", "B-city"], "a ", ["city"])


def test_an_entity_without_a_type_is_refused() -> None:
    draft = {
        "label": "",
        "kind": "any",
        "weakness": "",
        "text": "Bob",
        "entities": [{"text": "Bob", "type": ""}],
    }
    reply_schema = drafts_schema(["city"], task_type=NER, with_labels=True)
    good, problems = reply_schema.read(json.dumps({"drafts": [draft]}))
    assert not good
    assert "type" in problems[0]
    assert reply_schema.read(json.dumps({"drafts": [{**draft, "entities": []}]}))[0]


def test_a_csv_can_hold_tokens_and_tags(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["tokens", "tags"], [json.dumps(TEXT.split()), json.dumps(TAGS)]])
    [row] = read_rows(tmp_path / "rows.csv", LABELS, task_type=NER, columns=Columns(("tokens",), "tags"))
    assert row["text"] == TEXT
    assert spans(row["label"])[0] == Span(0, 11, "person")
