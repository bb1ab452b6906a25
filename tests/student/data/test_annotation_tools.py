"""Test the exports of annotation tools, in the forms that the tools write."""

import json
from pathlib import Path
from typing import Any

import pytest
from tutelage.student.data.readers import Columns, read_rows
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.tasks.registry import TASK_TYPES

LABELS = ["refund", "status"]
TYPES = ["person", "city"]


def choice(names: list[str], cancelled: bool = False) -> dict[str, Any]:
    """Return an annotation of Label Studio."""
    value = {"choices": names}
    result = [{"id": "x1", "from_name": "queue", "to_name": "text", "type": "choices", "value": value}]
    return {"id": 7, "completed_by": 1, "result": result, "was_cancelled": cancelled, "lead_time": 3.2}


def mention(start: int, end: int, text: str, name: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text, "labels": [name]}
    return {"id": "y", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def task(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "data": {"text": text}, "annotations": list(annotations), "predictions": [], "meta": {}}


LABEL_STUDIO = [
    task("Where is it?", choice(["status"])),
    task("Not seen yet"),
    task("Skipped", choice(["refund"], cancelled=True)),
    task("Two of three say refund", choice(["status"]), choice(["refund"]), choice(["refund"])),
]
ARGILLA = [
    {
        "id": "a1",
        "fields": {"text": text},
        "metadata": {},
        "suggestions": {},
        "responses": responses,
        "vectors": {},
    }
    for text, responses in [
        ("Where is it?", {"queue": [{"value": "status", "user_id": "u1"}]}),
        ("Not seen yet", {}),
        ("A draft", {"queue": [{"value": "status", "user_id": "u1", "status": "draft"}]}),
        ("Two of three say refund", {"queue": [{"value": v} for v in ("status", "refund", "refund")]}),
    ]
]
ARGILLA_ROWS = [
    {
        "id": "a1",
        "status": "completed",
        "text": text,
        "queue.responses": values,
        "queue.responses.users": ["u1"] * len(values or []),
        "queue.responses.status": states,
    }
    for text, values, states in [
        ("Where is it?", ["status"], ["submitted"]),
        ("Not seen yet", None, None),
        ("Discarded", ["refund"], ["discarded"]),
        ("Two of three say refund", ["status", "refund", "refund"], ["submitted"] * 3),
    ]
]
DOCCANO = [
    {"id": 1, "text": "Where is it?", "label": ["status"], "Comments": []},
    {"id": 2, "text": "Two of three say refund", "label": ["refund"], "Comments": []},
]


def prodigy(text: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"text": text, **more, "_input_hash": 1, "_task_hash": 2, "answer": answer, "_timestamp": 3}


OPTIONS = [{"id": name, "text": name.title()} for name in LABELS]
PRODIGY = [
    prodigy("Where is it?", "accept", options=OPTIONS, accept=["status"]),
    prodigy("Not this one", "reject", label="status"),
    prodigy("Nor this one", "ignore", options=OPTIONS, accept=[]),
    prodigy("Two of three say refund", "accept", label="refund"),
]


def read(tmp_path: Path, records: list[dict[str, Any]], *args: Any, **kwargs: Any) -> list[Row]:
    (tmp_path / "export.json").write_text(json.dumps(records))
    return read_rows(tmp_path / "export.json", *args, **kwargs)


@pytest.mark.parametrize("records", [LABEL_STUDIO, ARGILLA, ARGILLA_ROWS, DOCCANO, PRODIGY])
def test_every_tool_gives_the_labelled_texts(records: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = read(tmp_path, records, LABELS)
    assert [(row["text"], row["label"]) for row in rows] == [
        ("Where is it?", "status"),
        ("Two of three say refund", "refund"),
    ]
    assert len(read(tmp_path, records, None)) == len(records), "all texts are in the pool"


def test_the_field_of_the_text_can_have_another_name(tmp_path: Path) -> None:
    records = [{**LABEL_STUDIO[0], "data": {"message": "Where is it?"}}]
    [row] = read(tmp_path, records, LABELS, columns=Columns(("message",)))
    assert (row["text"], row["label"]) == ("Where is it?", "status")


@pytest.mark.parametrize(
    "record",
    [
        task("Where is my money?", choice(["refund", "status"])),
        {**ARGILLA[0], "responses": {"queue": [{"value": ["refund", "status"]}]}},
        prodigy("Where is my money?", "accept", options=OPTIONS, accept=["refund", "status"]),
    ],
)
def test_several_choices_are_a_set_of_labels(record: dict[str, Any], tmp_path: Path) -> None:
    multilabel = TASK_TYPES["multilabel"]
    [row] = read(tmp_path, [record], LABELS, task_type=multilabel)
    assert multilabel.labels_in(row["label"]) == ["refund", "status"]
    with pytest.raises(InputError, match=r"item 1: no field 'label'"):
        read(tmp_path, [record], LABELS)


MARIA = "Maria lives in New Ross"


@pytest.mark.parametrize(
    "record",
    [
        task(MARIA, {"result": [mention(0, 5, "Maria", "person"), mention(15, 23, "New Ross", "city")]}),
        {
            **ARGILLA[0],
            "fields": {"text": MARIA},
            "responses": {
                "spans": [
                    {
                        "value": [
                            {"start": 0, "end": 5, "label": "person"},
                            {"start": 15, "end": 23, "label": "city"},
                        ]
                    }
                ]
            },
        },
        {"id": 1, "text": MARIA, "label": [[0, 5, "person"], [15, 23, "city"]], "Comments": []},
        prodigy(
            MARIA,
            "accept",
            tokens=[],
            spans=[
                {"start": 0, "end": 5, "token_start": 0, "token_end": 0, "label": "person"},
                {"start": 15, "end": 23, "token_start": 3, "token_end": 4, "label": "city"},
            ],
        ),
    ],
)
def test_spans_are_entities(record: dict[str, Any], tmp_path: Path) -> None:
    ner = TASK_TYPES["ner"]
    [row] = read(tmp_path, [record], TYPES, task_type=ner)
    assert ner.to_text(row["label"], row["text"]) == "person: Maria; city: New Ross"


def test_an_annotation_without_spans_has_no_entities(tmp_path: Path) -> None:
    ner = TASK_TYPES["ner"]
    [row] = read(tmp_path, [task("Nothing here", {"result": []})], TYPES, task_type=ner)
    assert ner.to_text(row["label"], row["text"]) == "none"


def test_conll_files_have_a_token_and_a_tag_per_line(tmp_path: Path) -> None:
    lines = ["-DOCSTART- -X- O O", "", "Maria NNP B-NP B-person", "lives VBZ B-VP O", "in IN B-PP O"]
    lines += ["New NNP B-NP B-city", "Ross NNP I-NP I-city", "", "", "Hello UH O O"]
    path = tmp_path / "data.conll"
    path.write_text("\n".join(lines))
    ner = TASK_TYPES["ner"]
    first, second = read_rows(path, TYPES, task_type=ner)
    assert first["text"] == MARIA
    assert ner.to_text(first["label"], MARIA) == "person: Maria; city: New Ross"
    assert (second["text"], ner.to_text(second["label"], "Hello")) == ("Hello", "none")
    path.write_text("Maria B-person\nlives\n")
    with pytest.raises(InputError, match=r"data\.conll line 2 has no tag: 'lives'; give each token one"):
        read_rows(path, TYPES, task_type=ner)


def test_an_unknown_label_of_a_tool_is_reported_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.json item 2: label 'weather' is not one of the task's"):
        read(tmp_path, [task("a", choice(["status"])), task("b", choice(["weather"]))], LABELS)
