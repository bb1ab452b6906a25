"""Test what the generator is sent, and which texts of its reply are kept."""

import json
from collections import Counter
from typing import Any

from tutelage.agents.generator import Evidence, GenerationRequest, write

PARCEL = {"id": "a1", "text": "Where is my parcel?", "label": "order_status", "predicted": "return_refund"}
REFUND = {"id": "b2", "text": "Money back please", "label": "return_refund", "predicted": "order_status"}


def found(answer: dict[str, str], **fields: Any) -> dict[str, Any]:
    """Return a weakness as an analyst replies with it, by default for one wrong answer."""
    weakness = {"evidence": [answer["id"]], "hypothesis": "h", "name": "n", "label": answer["label"]}
    return {**weakness, "confused_with": answer["predicted"], **fields}


def drafts(*texts: str, **fields: str) -> str:
    item = {"label": "order_status", "kind": "any", "weakness": "", **fields}
    return json.dumps({"drafts": [{**item, "text": text} for text in texts]})


def compose(teacher, brief, requests, weaknesses=(), shots=(), avoid=()):
    return write(teacher, brief, requests, Evidence(weaknesses, shots, avoid), seed=5)


def request(name: str, count: int, kind: str = "any", weakness: str = "") -> GenerationRequest:
    return GenerationRequest(label=name, kind=kind, count=count, weakness=weakness)


def test_large_requests_are_split_into_calls_of_at_most_twelve_texts(
    rehearsal, teacher_at, brief, sent
) -> None:
    url, log = rehearsal
    requests = [
        request("order_status", 17),
        request("return_refund", 3, "easy"),
        request("payment_invoice", 11),
    ]
    samples = compose(teacher_at(url), brief, requests)
    counts = [sum(part["count"] for part in payload["requests"]) for payload in sent(log)]
    assert sorted(counts) == [7, 12, 12]
    total = Counter()
    for payload in sent(log):
        for part in payload["requests"]:
            total[part["label"], part["kind"]] += part["count"]
    assert total == {
        ("order_status", "any"): 17,
        ("return_refund", "easy"): 3,
        ("payment_invoice", "any"): 11,
    }
    assert [sample["place"] for sample in samples] == list(range(31))
    assert len({body["seed"] for body in log}) == 3


def test_the_generator_is_not_called_without_requested_texts(rehearsal, teacher_at, brief) -> None:
    url, log = rehearsal
    assert (
        compose(teacher_at(url), brief, [])
        == compose(teacher_at(url), brief, [request("order_status", 0)])
        == []
    )
    assert log == []


def test_a_written_text_becomes_a_sample_with_status_draft(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(drafts(" Where is it? \n", kind="hard", weakness="w02-1"))
    known = [{**found(PARCEL), "id": "w02-1", "round": 2, "examples": [], "found_by": ""}]
    [sample] = compose(teacher_at(url), brief, [request("order_status", 1, "hard", "w02-1")], known)
    assert sample == draft(
        "Where is it?",
        round=0,
        kind="hard",
        requested="order_status",
        weakness="w02-1",
        written_by=sample["written_by"],
    )
    assert len(sample["written_by"]) == 12


def test_unusable_texts_are_dropped(scripted, teacher_at, brief) -> None:
    url, _ = scripted(drafts("One", "a\0b", " \n ", "", "x" * 20_001, "\ud83d", "Two"))
    samples = compose(teacher_at(url), brief, [request("order_status", 4)])
    assert sorted(s["text"] for s in samples) == ["One", "Two"]
    assert [s["place"] for s in samples] == [0, 1]


def test_a_draft_for_an_unknown_weakness_is_kept_without_it(scripted, teacher_at, brief) -> None:
    url, _ = scripted(drafts("One", weakness="w99-9"))
    [sample] = compose(teacher_at(url), brief, [request("order_status", 1)])
    assert sample["weakness"] == ""


def test_a_generator_call_contains_only_what_its_requests_need(
    rehearsal, teacher_at, brief, shop, sent
) -> None:
    url, log = rehearsal
    known = [
        {**found(answer), "id": f"w02-{i}", "round": 2, "examples": [answer["text"]], "found_by": ""}
        for i, answer in enumerate((PARCEL, REFUND), 1)
    ]
    avoid = [{"text": "Hello?", "reason": "unclear"}]
    requests = [request("order_status", 2, "hard", "w02-1")]
    compose(teacher_at(url), brief, requests, known, shop("seed"), avoid)
    [payload] = sent(log)
    assert set(payload) == {"task", "labels", "weaknesses", "requests", "shots", "avoid"}
    fields = ("id", "name", "hypothesis", "label", "confused_with", "examples")
    assert payload["weaknesses"] == [{field: known[0][field] for field in fields}]
    assert payload["requests"] == requests
    assert payload["avoid"] == avoid
    assert payload["shots"] == [
        {"text": row["text"], "label": row["label"]} for row in shop("seed") if row["label"] == "order_status"
    ]
    assert payload["shots"]
