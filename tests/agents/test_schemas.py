"""Test that the valid part of a reply is kept, and what is wrong with the rest is reported."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tutelage.agents.schemas import (
    ReplySchema,
    diagnosis_schema,
    drafts_schema,
    labels_schema,
    verdicts_schema,
)
from tutelage.student.tasks.registry import TASK_TYPES

LABELS = labels_schema(("refund", "status"))
VERDICTS = verdicts_schema()
GOOD = {"id": "1", "reason": "asks where", "label": "status", "confidence": 0.9}


def reply(*items: object) -> str:
    return json.dumps({"labels": items})


def read(reply_schema: ReplySchema, raw: str) -> tuple[list, list[str]]:
    """Return the items and problems of a reply."""
    found, problems = reply_schema.read(raw)
    return [one.item for one in found], problems


def test_a_valid_reply_is_read_completely() -> None:
    items, problems = read(LABELS, reply(GOOD, {**GOOD, "id": "2", "label": "refund"}))
    assert [(item.id, item.label, item.confidence) for item in items] == [
        ("1", "status", 0.9),
        ("2", "refund", 0.9),
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({**GOOD, "label": "weather"}, "labels[1].label: Input should be 'refund' or 'status'"),
        ({**GOOD, "confidence": 1.5}, "labels[1].confidence: Input should be less than or equal to 1"),
        ({**GOOD, "confidence": "high"}, "labels[1].confidence: Input should be a valid number"),
        ({key: GOOD[key] for key in ("id", "reason", "label")}, "labels[1].confidence: Field required"),
        ("status", "labels[1]"),
        (None, "labels[1]"),
    ],
)
def test_valid_items_are_kept_when_one_is_invalid(bad: object, message: str) -> None:
    items, problems = read(LABELS, reply(GOOD, bad, {**GOOD, "id": "3"}))
    assert [item.id for item in items] == ["1", "3"]
    assert len(problems) == 1
    assert problems[0].startswith(message)


@pytest.mark.parametrize(
    "dressed",
    [
        "```json\n{}\n```",
        "```\n{}\n```",
        "Here are the labels:\n\n{}\n\nI hope this helps!",
        "\ufeff {} ",
        "<think>Easy.</think>\n{}",
    ],
)
def test_code_fences_and_prose_around_the_json_are_ignored(dressed: str) -> None:
    items, problems = read(LABELS, dressed.replace("{}", reply(GOOD)))
    assert [item.id for item in items] == ["1"]
    assert problems == []


def test_extra_fields_are_ignored() -> None:
    items, problems = read(LABELS, json.dumps({"note": "hi", "labels": [{**GOOD, "mood": "good"}]}))
    assert [item.id for item in items] == ["1"]
    assert problems == []


def test_texts_with_braces_and_fences_are_read() -> None:
    items, _ = read(LABELS, "```json\n" + reply({**GOOD, "reason": '} ``` { " \n'}) + "\n```")
    assert items[0].reason == '} ``` { " \n'


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "I cannot help with that.",
        '{"answers": []}',
        '{"labels": {"1": "status"}}',
        '["status"]',
        "null",
        '{"labels": ' + "[" * 100_000 + "}",
    ],
    ids=["empty", "prose", "another field", "an object", "a list", "null", "nested too deep"],
)
def test_a_reply_without_the_list_gives_no_items_and_one_problem(raw: str) -> None:
    items, problems = read(LABELS, raw)
    assert items == []
    assert len(problems) == 1
    assert problems[0].startswith("not a JSON object with the list 'labels'")


def test_half_a_surrogate_pair_is_rejected() -> None:
    items, problems = read(
        LABELS, '{"labels": [{"id": "1", "reason": "\\ud83d", "label": "status", "confidence": 1}]}'
    )
    assert items == []
    assert problems[0].startswith("labels[0]")


def test_an_empty_list_is_valid() -> None:
    assert read(LABELS, '{"labels": []}') == ([], [])


def test_a_verdict_is_one_of_four() -> None:
    verdicts = [
        {"id": str(i), "reason": "", "verdict": v} for i, v in enumerate(["accept", "relabel", "fine"])
    ]
    items, problems = read(VERDICTS, json.dumps({"verdicts": verdicts}))
    assert [item.verdict for item in items] == ["accept", "relabel"]
    assert problems[0].startswith("verdicts[2].verdict")


def test_every_label_field_is_restricted_to_the_labels() -> None:
    reply_schema = diagnosis_schema(("a", "b"))
    item = {"evidence": ["1"], "hypothesis": "h", "name": "n", "label": "a", "confused_with": "b"}
    found, problems = read(
        reply_schema,
        json.dumps({"weaknesses": [item, {**item, "label": "c"}, {**item, "confused_with": "c"}]}),
    )
    assert len(found) == 1
    assert [problem.partition(":")[0] for problem in problems] == [
        "weaknesses[1].label",
        "weaknesses[2].confused_with",
    ]


@pytest.mark.parametrize(
    "reply_schema",
    [
        VERDICTS,
        *(
            reply_schema
            for name, kind in TASK_TYPES.items()
            for labels in [() if name == "seq2seq" else ("refund", "status")]
            for fields in [("text_a", "text_b") if kind.texts_per_row == 2 else ("text",)]
            for reply_schema in (
                labels_schema(labels, kind),
                drafts_schema(labels, fields, task_type=kind),
                drafts_schema(labels, fields, task_type=kind, with_labels=True),
                diagnosis_schema(labels, kind.error_kinds),
            )
        ),
    ],
    ids=lambda reply_schema: reply_schema.title,
)
def test_a_schema_is_closed_and_requires_every_field(reply_schema: ReplySchema) -> None:
    schema = reply_schema.json_schema
    items = schema["properties"][reply_schema.field]["items"]
    assert schema["title"] == reply_schema.title
    assert schema["required"] == [reply_schema.field] == list(schema["properties"])
    assert schema["additionalProperties"] is items["additionalProperties"] is False
    assert items["title"] == reply_schema.item.__name__
    assert items["required"] == list(items["properties"]) == list(reply_schema.item.model_fields)
    for part in parts_of(schema):
        assert "default" not in part
        if part.get("type") == "object":
            assert part["required"] == list(part["properties"])
            assert part["additionalProperties"] is False


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a schema."""
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts_of(part)


def test_a_schema_puts_the_reason_before_the_verdict_and_lists_the_labels() -> None:
    labels, verdicts = (
        reply_schema.json_schema["properties"][reply_schema.field]["items"]
        for reply_schema in (LABELS, VERDICTS)
    )
    assert list(labels["properties"]) == ["id", "reason", "label", "confidence"]
    assert list(verdicts["properties"]) == ["id", "reason", "verdict"]
    assert labels["properties"]["label"]["enum"] == ["refund", "status"]
    assert verdicts["properties"]["verdict"]["enum"] == ["accept", "relabel", "rewrite", "refuse"]


def test_a_label_can_be_any_text() -> None:
    names = ('say "hi"', "naïve/été", "1")
    reply_schema = labels_schema(names)
    items, problems = read(reply_schema, reply(*({**GOOD, "label": name} for name in names)))
    assert [item.label for item in items] == list(names)
    assert problems == []


WHOLE = reply(GOOD, {**GOOD, "id": "2"}, {**GOOD, "id": "3"})


@pytest.mark.parametrize("cut", [len(WHOLE) - 1, len(WHOLE) - 2, len(WHOLE) - 3, 160, 100, 20])
def test_complete_items_of_a_cut_reply_are_kept(cut: int) -> None:
    items, problems = read(LABELS, WHOLE[:cut])
    whole = WHOLE[:cut].count("}")
    assert [item.id for item in items] == ["1", "2", "3"][:whole]
    broken = cut < len(WHOLE) - 1  # without the last brace the list itself is complete
    assert [problem.partition(":")[0] for problem in problems] == [
        "not a JSON object with the list 'labels'"
    ] * broken


def test_every_item_has_its_position_in_the_reply() -> None:
    raw = f"<think>hm</think> {WHOLE} ok?"
    found, _ = LABELS.read(raw)
    assert [json.loads(raw[one.start : one.end])["id"] for one in found] == ["1", "2", "3"]


@pytest.mark.parametrize("draft", [reply({**GOOD, "label": "refund"}), '{"labels": [...]}', '{"labels": ['])
def test_an_answer_inside_think_tags_is_ignored(draft: str) -> None:
    items, problems = read(LABELS, f"<think>Perhaps {draft}?</think> {reply(GOOD)}")
    assert [item.label for item in items] == ["status"]
    assert problems == []


def test_a_list_quoted_inside_a_reason_is_ignored() -> None:
    inner = reply({**GOOD, "id": "9"})
    assert [item.id for item in read(LABELS, reply({**GOOD, "reason": inner}))[0]] == ["1"]


@pytest.mark.parametrize(
    "spelling", [" refund. ", "Refund", "'refund'", '"refund"', "“Refund”.", "`REFUND`\n"]
)
def test_another_spelling_of_a_label_is_accepted(spelling: str) -> None:
    items, problems = read(LABELS, reply({**GOOD, "label": spelling}))
    assert [item.label for item in items] == ["refund"]
    assert problems == []


@pytest.mark.parametrize("spelling", ["refunds", "refund, status", "the refund", "", ".", "not refund"])
def test_a_text_that_is_no_spelling_of_a_label_is_refused(spelling: str) -> None:
    items, problems = read(LABELS, reply({**GOOD, "label": spelling}))
    assert items == []
    assert problems[0].startswith("labels[0].label: Input should be 'refund' or 'status'")


def test_an_ambiguous_spelling_is_refused_and_an_exact_one_accepted() -> None:
    reply_schema = labels_schema(("US", "us", "etc."))
    items, problems = read(
        reply_schema, reply(*({**GOOD, "label": spelling} for spelling in ("us", "Us", "US", "Etc")))
    )
    assert [item.label for item in items] == ["us", "US", "etc."]
    assert [problem.partition(":")[0] for problem in problems] == ["labels[1].label"]


def test_other_spellings_are_accepted_in_every_closed_field() -> None:
    entities = [{"text": "Ada", "type": "Person."}]
    tagged = {"id": "1", "reason": "r", "entities": entities, "confidence": 1}
    [item], _ = read(labels_schema(("person",), TASK_TYPES["ner"]), reply(tagged))
    assert item.entities[0].type == "person"
    [verdict], _ = read(VERDICTS, '{"verdicts": [{"id": "1", "reason": "", "verdict": "Accept."}]}')
    assert verdict.verdict == "accept"
    draft = {"label": "Refund", "kind": "Hard", "weakness": "", "text": "Give it back. "}
    [written], _ = read(drafts_schema(("refund", "status")), json.dumps({"drafts": [draft]}))
    assert (written.label, written.kind, written.text) == ("refund", "hard", "Give it back. ")
    found = {"evidence": ["1"], "hypothesis": "h", "name": "n", "label": "A", "confused_with": "'b'"}
    [weakness], _ = read(diagnosis_schema(("a", "b")), json.dumps({"weaknesses": [found]}))
    assert weakness.pair == ("a", "b")


def test_accepted_spellings_do_not_change_the_schema() -> None:
    """The schema is part of the journal's key: a changed schema would pay for known replies again."""
    label = LABELS.json_schema["properties"]["labels"]["items"]["properties"]["label"]
    assert label == {"enum": ["refund", "status"], "title": "Label", "type": "string"}
