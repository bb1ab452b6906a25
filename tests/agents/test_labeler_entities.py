"""Test how the labeler asks for named entities, and treats entities that are not in their text."""

import json
from typing import Any

import pytest
from tutelage.agents.labeler import LabelerSettings, label
from tutelage.prompts import read_payload
from tutelage.student.data.rows import Row
from tutelage.student.tasks.spans import Span, spans, written


def reply(*entities: tuple[str, str], number: str = "1") -> dict[str, Any]:
    items = [{"text": text, "type": kind} for text, kind in entities]
    return {"id": number, "reason": "r", "entities": items, "confidence": 0.8}


def labels(*replies: dict[str, Any]) -> str:
    return json.dumps({"labels": replies})


BRIEF: Any = {"task": "Mark names.", "labels": {"person": "a name", "city": "a town"}, "kind": "ner"}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (("Yorkk", "city"), "no label: the entity 'Yorkk' is not in the text; entities are copied from"),
        (("Mar", "person"), "no label: the entity 'Mar' stands there only as a part of a word"),
    ],
)
def test_a_text_whose_entities_are_not_in_it_stays_unlabelled_after_a_second_request(
    scripted: Any, teacher_at: Any, draft: Any, wrong: tuple[str, str], reason: str
) -> None:
    url, log = scripted(
        labels(reply(wrong), reply(("Leeds", "city"), number="2")), labels(reply(wrong, ("Maria", "person")))
    )
    texts = [draft("Maria went to York"), draft("Nobody went to Leeds")]
    first, second = label(teacher_at(url), BRIEF, texts, seed=0)
    assert first["status"] == "unlabelled"
    assert "label" not in first
    assert first["reason"].startswith(reason)
    assert spans(second["label"]) == [Span(15, 20, "city")]
    requested = [read_payload(body["messages"][1]["content"])["texts"] for body in log]
    assert [[text["text"] for text in texts] for texts in requested] == [
        ["Maria went to York", "Nobody went to Leeds"],
        ["Maria went to York"],
    ]


def test_a_second_request_can_correct_the_entities(scripted: Any, teacher_at: Any, draft: Any) -> None:
    right = labels(reply(("York", "city"), ("Maria", "person")))
    url, log = scripted(labels(reply(("york", "city"))), right)
    [given] = label(teacher_at(url), BRIEF, [draft("Maria went to York")], seed=0)
    assert given["status"] == "draft"
    assert spans(given["label"]) == [Span(0, 5, "person"), Span(14, 18, "city")]
    assert given["confidence"] == 0.8
    assert len(log) == 2


def test_the_labeler_is_shown_labelled_examples(scripted: Any, teacher_at: Any, draft: Any) -> None:
    url, log = scripted(labels(reply()))
    shot = Row(id="1", text="Ewa left Brno", label=written([Span(0, 3, "person"), Span(9, 13, "city")]))
    [given] = label(teacher_at(url), BRIEF, [draft("Nobody left")], LabelerSettings(shots=[shot]), seed=0)
    assert given["label"] == "[]"
    entities = [{"text": "Ewa", "type": "person"}, {"text": "Brno", "type": "city"}]
    assert read_payload(log[0]["messages"][1]["content"])["shots"] == [
        {"text": "Ewa left Brno", "entities": entities}
    ]
