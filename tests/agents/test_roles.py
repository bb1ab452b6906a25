"""The four agents, each through the real client: what they send, and what they make of odd replies."""

import json
from collections import Counter
from typing import Any

import pytest
from tutelage.agents.analyst import diagnose
from tutelage.agents.critic import judge
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.generator import Evidence, GenerationRequest, write
from tutelage.agents.labeler import label
from tutelage.agents.teacher.budget import Budget
from tutelage.prompts import read_payload

PARCEL = {"id": "a1", "text": "Where is my parcel?", "label": "order_status", "predicted": "return_refund"}
REFUND = {"id": "b2", "text": "Money back please", "label": "return_refund", "predicted": "order_status"}
INVOICE = {
    "id": "c3",
    "text": "I was charged twice",
    "label": "payment_invoice",
    "predicted": "payment_invoice",
}


def sent(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The payloads of the requests in a server's log."""
    return [read_payload(body["messages"][1]["content"]) for body in log]


def found(answer: dict[str, str], **fields: Any) -> dict[str, Any]:
    """A weakness as an analyst replies with it, by default of one wrong answer."""
    said = {"evidence": [answer["id"]], "hypothesis": "h", "name": "n", "label": answer["label"]}
    return {**said, "confused_with": answer["predicted"], **fields}


def weaknesses(*items: dict[str, Any]) -> str:
    return json.dumps({"weaknesses": items})


def drafts(*texts: str, **fields: str) -> str:
    item = {"label": "order_status", "kind": "any", "weakness": "", **fields}
    return json.dumps({"drafts": [{**item, "text": text} for text in texts]})


def labels(**given: str) -> str:
    """A labeler's reply; ids are written with a leading letter: i1='order_status'."""
    item = {"reason": "r", "confidence": 0.75}
    return json.dumps({"labels": [{"id": i[1:], "label": name, **item} for i, name in given.items()]})


def verdicts(**given: str) -> str:
    return json.dumps(
        {"verdicts": [{"id": i[1:], "reason": f"is {v}", "verdict": v} for i, v in given.items()]}
    )


def analyse(teacher, brief, wrong, right=(), *, limit=8, report=None):
    return diagnose(teacher, brief, list(right), list(wrong), report or {}, limit=limit, round=2, seed=0)


# analyst


def test_when_nothing_is_wrong_nobody_is_asked(rehearsal, teacher_at, brief) -> None:
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


def test_the_analyst_is_shown_right_answers_without_the_students(rehearsal, teacher_at, brief) -> None:
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
def test_a_weakness_that_does_not_stand_is_dropped(scripted, teacher_at, brief, bad) -> None:
    url, _ = scripted(weaknesses(found(PARCEL), bad))
    kept = analyse(teacher_at(url), brief, [PARCEL, REFUND], [INVOICE])
    assert [(w["id"], w["label"], w["name"]) for w in kept] == [("w02-1", "order_status", "n")]


def test_only_evidence_that_was_shown_as_wrong_is_kept(scripted, teacher_at, brief) -> None:
    url, _ = scripted(weaknesses(found(PARCEL, evidence=["z9", "a1", "c3"])))
    [weakness] = analyse(teacher_at(url), brief, [PARCEL], [INVOICE])
    assert weakness["evidence"] == ["a1"]
    assert weakness["examples"] == ["Where is my parcel?"]


def test_no_more_weaknesses_are_kept_than_wanted(scripted, teacher_at, brief) -> None:
    url, _ = scripted(weaknesses(found(PARCEL), found(REFUND)))
    assert [w["id"] for w in analyse(teacher_at(url), brief, [PARCEL, REFUND], limit=1)] == ["w02-1"]


def test_an_analyst_without_an_answer_finds_nothing(scripted, teacher_at, brief) -> None:
    none = '{"weaknesses": []}'
    assert analyse(teacher_at(scripted(none, none, none)[0]), brief, [PARCEL]) == []


# generator


def compose(teacher, brief, requests, weaknesses=(), shots=(), avoid=()):
    return write(teacher, brief, requests, Evidence(weaknesses, shots, avoid), seed=5)


def request(name: str, count: int, kind: str = "any", weakness: str = "") -> GenerationRequest:
    return GenerationRequest(label=name, kind=kind, count=count, weakness=weakness)


def test_big_orders_are_split_into_calls_of_at_most_twelve_texts(rehearsal, teacher_at, brief) -> None:
    url, log = rehearsal
    ordered = [
        request("order_status", 17),
        request("return_refund", 3, "easy"),
        request("payment_invoice", 11),
    ]
    samples = compose(teacher_at(url), brief, ordered)
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


def test_nothing_ordered_asks_nobody(rehearsal, teacher_at, brief) -> None:
    url, log = rehearsal
    assert (
        compose(teacher_at(url), brief, [])
        == compose(teacher_at(url), brief, [request("order_status", 0)])
        == []
    )
    assert log == []


def test_a_draft_is_a_sample_at_its_beginning(scripted, teacher_at, brief, draft) -> None:
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


def test_texts_nobody_can_train_on_are_dropped(scripted, teacher_at, brief) -> None:
    url, _ = scripted(drafts("One", "a\0b", " \n ", "", "x" * 20_001, "\ud83d", "Two"))
    samples = compose(teacher_at(url), brief, [request("order_status", 4)])
    assert sorted(s["text"] for s in samples) == ["One", "Two"]
    assert [s["place"] for s in samples] == [0, 1]


def test_a_draft_for_a_weakness_nobody_named_serves_none(scripted, teacher_at, brief) -> None:
    url, _ = scripted(drafts("One", weakness="w99-9"))
    [sample] = compose(teacher_at(url), brief, [request("order_status", 1)])
    assert sample["weakness"] == ""


def test_a_call_is_shown_only_what_serves_its_requests(rehearsal, teacher_at, brief, shop) -> None:
    url, log = rehearsal
    known = [
        {**found(answer), "id": f"w02-{i}", "round": 2, "examples": [answer["text"]], "found_by": ""}
        for i, answer in enumerate((PARCEL, REFUND), 1)
    ]
    avoid = [{"text": "Hello?", "reason": "unclear"}]
    ordered = [request("order_status", 2, "hard", "w02-1")]
    compose(teacher_at(url), brief, ordered, known, shop("seed"), avoid)
    [payload] = sent(log)
    assert set(payload) == {"task", "labels", "weaknesses", "requests", "shots", "avoid"}
    told = ("id", "name", "hypothesis", "label", "confused_with", "examples")
    assert payload["weaknesses"] == [{field: known[0][field] for field in told}]
    assert payload["requests"] == ordered
    assert payload["avoid"] == avoid
    assert payload["shots"] == [
        {"text": row["text"], "label": row["label"]} for row in shop("seed") if row["label"] == "order_status"
    ]
    assert payload["shots"]


# labeler


def test_the_labeler_is_sent_the_texts_and_nothing_about_them(
    rehearsal, teacher_at, brief, draft, shop
) -> None:
    url, log = rehearsal
    rows = shop("teacher")[:15]
    hint = {"kind": "hard", "weakness": "w02-1", "label": "account_privacy", "reason": "secret"}
    samples = [draft(row["text"], requested="account_privacy", **hint) for row in rows]
    given = label(teacher_at(url), brief, samples, seed=0)
    assert [sample["label"] for sample in given] == [row["label"] for row in rows]
    batches = [rows[:12], rows[12:]]
    expected = [
        {**brief, "texts": [{"id": str(i), "text": row["text"]} for i, row in enumerate(batch, 1)]}
        for batch in batches
    ]
    assert sorted(sent(log), key=lambda p: -len(p["texts"])) == expected
    assert all([m["role"] for m in body["messages"]] == ["system", "user"] for body in log)


def test_a_labelled_sample_says_how_sure_and_by_which_call(scripted, teacher_at, brief, draft) -> None:
    sample = draft("Where is it?")
    [given] = label(teacher_at(scripted(labels(i1="order_status"))[0]), brief, [sample], seed=0)
    told = {
        "label": "order_status",
        "confidence": 0.75,
        "confidence_raw": 0.75,
        "confidence_source": "stated",
    }
    assert given == {**sample, **told, "labelled_by": given["labelled_by"]}
    assert len(given["labelled_by"]) == 12


def test_a_text_that_was_left_out_is_asked_for_again_and_the_others_are_kept(
    scripted, teacher_at, brief, draft
) -> None:
    url, log = scripted(labels(i1="order_status", i3="order_status"), labels(i2="return_refund"))
    given = label(teacher_at(url), brief, [draft(text) for text in ("One", "Two", "Three")], seed=0)
    assert [sample["label"] for sample in given] == ["order_status", "return_refund", "order_status"]
    assert "labels are missing for the ids 2 (it ended with 'stop')" in log[1]["messages"][3]["content"]
    assert given[0]["labelled_by"] == given[2]["labelled_by"] != given[1]["labelled_by"]


def test_a_text_that_stays_left_out_is_asked_for_once_more_in_a_fresh_context(
    scripted, teacher_at, brief, draft
) -> None:
    only_first = labels(i1="order_status")
    url, log = scripted(only_first, only_first, only_first, labels(i1="return_refund"))
    given = label(teacher_at(url), brief, [draft("One"), draft("Two")], seed=0)
    assert [sample["label"] for sample in given] == ["order_status", "return_refund"]
    assert len(log[3]["messages"]) == 2
    assert sent(log)[3]["texts"] == [{"id": "1", "text": "Two"}]
    assert log[3]["seed"] != log[0]["seed"]


def test_a_text_that_stays_without_a_label_says_why(scripted, teacher_at, brief, draft) -> None:
    url, log = scripted(*[labels(i1="order_status")] * 3, *[labels()] * 3)
    first, second = label(teacher_at(url), brief, [draft("One"), draft("Two")], seed=0)
    assert first["label"] == "order_status"
    assert second["status"] == "unlabelled"
    assert second["reason"].startswith("no label: labels are missing for the ids 1")
    assert "label" not in second
    assert len(log) == 6, "asked three times in two contexts, and no more"


def test_a_label_that_is_none_of_the_tasks_is_no_label(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(*[labels(i1="order_status", i2="weather")] * 3, *[labels(i1="weather")] * 3)
    _, second = label(teacher_at(url), brief, [draft("One"), draft("Two")], seed=0)
    assert second["status"] == "unlabelled"
    assert second["reason"].startswith("no label: labels[0].label: Input should be 'order_status'")


def test_ids_nobody_asked_about_are_passed_over(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(labels(i1="order_status", i2="return_refund", i77="return_refund"))
    [given] = label(teacher_at(url), brief, [draft("One")], seed=0)
    assert given["label"] == "order_status"


def test_no_samples_are_labelled_without_a_call(rehearsal, teacher_at, brief) -> None:
    url, log = rehearsal
    assert label(teacher_at(url), brief, [], seed=0) == judge(teacher_at(url), brief, [], seed=0) == []
    assert log == []


def test_texts_the_budget_has_nothing_for_stay_without_a_label(scripted, teacher_at, brief, draft) -> None:
    url, log = scripted(labels(**{f"i{i}": "order_status" for i in range(1, 13)}), labels(i1="order_status"))
    samples = [draft(f"Text {i}") for i in range(13)]
    given = label(
        teacher_at(url, budget=Budget(calls=1), limits=Limits(concurrency=1)), brief, samples, seed=0
    )
    assert Counter(sample["status"] for sample in given) == {"draft": 12, "unlabelled": 1}
    assert given[12]["reason"] == "no label: budget of 1 calls is spent"
    assert len(log) == 1


# critic


def test_the_critic_is_sent_texts_and_labels_and_nothing_else(
    rehearsal, teacher_at, brief, draft, shop
) -> None:
    url, log = rehearsal
    rows = shop("teacher")[:13]
    hint = {"kind": "hard", "weakness": "w02-1", "confidence": 0.9, "labelled_by": "abc"}
    samples = [draft(row["text"], label=row["label"], requested="account_privacy", **hint) for row in rows]
    judged = judge(teacher_at(url), brief, samples, seed=0)
    assert [sample["verdict"] for sample in judged] == ["accept"] * 13
    expected = [
        {
            **brief,
            "samples": [
                {"id": str(i), "text": row["text"], "label": row["label"]} for i, row in enumerate(batch, 1)
            ],
        }
        for batch in (rows[:12], rows[12:])
    ]
    assert sorted(sent(log), key=lambda p: -len(p["samples"])) == expected


def test_every_verdict_comes_with_its_reason_and_its_call(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(verdicts(i1="accept", i2="relabel", i3="rewrite", i4="refuse"))
    samples = [draft(text, label="order_status") for text in ("One", "Two", "Three", "Four")]
    judged = judge(teacher_at(url), brief, samples, seed=0)
    assert [s["verdict"] for s in judged] == ["accept", "relabel", "rewrite", "refuse"]
    assert [s["reason"] for s in judged] == ["is accept", "is relabel", "is rewrite", "is refuse"]
    assert {len(s["judged_by"]) for s in judged} == {12}
    assert [s["text"] for s in judged] == ["One", "Two", "Three", "Four"]


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([verdicts(i1="accept")], "not judged: verdicts are missing for the ids 2"),
        ([verdicts(i1="accept", i2="fine")], "not judged: verdicts[1].verdict: Input should be 'accept'"),
    ],
    ids=["left out", "an unknown verdict"],
)
def test_what_nobody_vouched_for_is_unjudged(scripted, teacher_at, brief, draft, replies, reason) -> None:
    url, _ = scripted(*replies * 3)
    samples = [draft(text, label="order_status") for text in ("One", "Two")]
    first, second = judge(teacher_at(url), brief, samples, seed=0)
    assert first["verdict"] == "accept"
    assert second["verdict"] == "unjudged"
    assert second["reason"].startswith(reason)


def test_samples_the_budget_has_nothing_for_are_unjudged(scripted, teacher_at, brief, draft) -> None:
    url, log = scripted()
    [judged] = judge(
        teacher_at(url, budget=Budget(calls=0)), brief, [draft("One", label="order_status")], seed=0
    )
    assert (judged["verdict"], judged["reason"]) == ("unjudged", "not judged: budget of 0 calls is spent")
    assert log == []
