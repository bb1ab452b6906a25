"""Test what the analyst is sent, and which weaknesses of its reply are kept."""

import json
from typing import Any

import pytest
from tutelage.agents.analyst import GradedPredictions, diagnose

PARCEL = {"id": "a1", "text": "Where is my parcel?", "label": "order_status", "predicted": "return_refund"}
REFUND = {"id": "b2", "text": "Money back please", "label": "return_refund", "predicted": "order_status"}
INVOICE = {
    "id": "c3",
    "text": "I was charged twice",
    "label": "payment_invoice",
    "predicted": "payment_invoice",
}


def found(answer: dict[str, str], **fields: Any) -> dict[str, Any]:
    """Return a weakness as an analyst replies with it, by default for one wrong answer."""
    weakness = {"evidence": [answer["id"]], "hypothesis": "h", "name": "n", "label": answer["label"]}
    return {**weakness, "confused_with": answer["predicted"], **fields}


def weaknesses(*items: dict[str, Any]) -> str:
    return json.dumps({"weaknesses": items})


def analyse(teacher, brief, wrong, right=(), *, limit=8, report=None):
    answers = GradedPredictions(list(right), list(wrong), report or {})
    return diagnose(teacher, brief, answers, limit=limit, round=2, seed=0)


def test_the_analyst_is_not_called_when_no_answer_is_wrong(rehearsal, teacher_at, brief) -> None:
    url, log = rehearsal
    assert analyse(teacher_at(url), brief, [], [INVOICE]) == []
    assert log == []


def test_the_analyst_finds_weaknesses_with_evidence_and_examples(rehearsal, teacher_at, brief) -> None:
    url, _ = rehearsal
    [first, second] = analyse(teacher_at(url), brief, [PARCEL, REFUND], [INVOICE])
    assert (first["id"], second["id"]) == ("w02-1", "w02-2")
    assert (first["label"], first["confused_with"], first["round"]) == ("order_status", "return_refund", 2)
    assert (first["evidence"], first["examples"]) == (["a1"], ["Where is my parcel?"])
    assert len(first["found_by"]) == 12


def test_the_analyst_sees_right_answers_without_the_prediction_of_the_student(
    rehearsal, teacher_at, brief, sent
) -> None:
    url, log = rehearsal
    analyse(teacher_at(url), brief, [PARCEL], [INVOICE], report={"round": 1, "metric": 0.5})
    [payload] = sent(log)
    assert payload == {
        **brief,
        "right": [{key: INVOICE[key] for key in ("id", "text", "label")}],
        "wrong": [PARCEL],
        "report": {"round": 1, "metric": 0.5},
    }
    assert log[0]["response_format"]["json_schema"]["name"] == "Diagnosis"


@pytest.mark.parametrize(
    "bad",
    [
        found(REFUND, evidence=["z9"]),
        found(REFUND, evidence=["c3"]),
        found(REFUND, confused_with="return_refund"),
        found(REFUND, evidence=[]),
        found(REFUND, label="weather"),
        found(PARCEL, name="the same once more"),
    ],
    ids=[
        "not shown",
        "shown as right",
        "with itself",
        "no evidence",
        "an unknown label",
        "a second of the pair",
    ],
)
def test_an_invalid_weakness_is_dropped(scripted, teacher_at, brief, bad) -> None:
    url, _ = scripted(weaknesses(found(PARCEL), bad))
    kept = analyse(teacher_at(url), brief, [PARCEL, REFUND], [INVOICE])
    assert [(w["id"], w["label"], w["name"]) for w in kept] == [("w02-1", "order_status", "n")]


def test_only_evidence_that_was_shown_as_wrong_is_kept(scripted, teacher_at, brief) -> None:
    url, _ = scripted(weaknesses(found(PARCEL, evidence=["z9", "a1", "c3"])))
    [weakness] = analyse(teacher_at(url), brief, [PARCEL], [INVOICE])
    assert weakness["evidence"] == ["a1"]
    assert weakness["examples"] == ["Where is my parcel?"]


def test_no_more_weaknesses_are_kept_than_the_limit(scripted, teacher_at, brief) -> None:
    url, _ = scripted(weaknesses(found(PARCEL), found(REFUND)))
    assert [w["id"] for w in analyse(teacher_at(url), brief, [PARCEL, REFUND], limit=1)] == ["w02-1"]


def test_an_empty_diagnosis_gives_no_weaknesses(scripted, teacher_at, brief) -> None:
    none = '{"weaknesses": []}'
    assert analyse(teacher_at(scripted(none, none, none)[0]), brief, [PARCEL]) == []
