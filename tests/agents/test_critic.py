"""Test what the critic is sent, and what happens without a verdict."""

import json

import pytest
from tutelage.agents.critic import judge
from tutelage.agents.teacher.budget import Budget


def verdicts(**given: str) -> str:
    return json.dumps(
        {"verdicts": [{"id": i[1:], "reason": f"is {v}", "verdict": v} for i, v in given.items()]}
    )


def test_the_critic_gets_only_texts_and_labels(rehearsal, teacher_at, brief, draft, shop, sent) -> None:
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


def test_every_verdict_records_its_reason_and_call(scripted, teacher_at, brief, draft) -> None:
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
def test_a_sample_without_a_valid_verdict_is_unjudged(
    scripted, teacher_at, brief, draft, replies, reason
) -> None:
    url, _ = scripted(*replies * 3)
    samples = [draft(text, label="order_status") for text in ("One", "Two")]
    first, second = judge(teacher_at(url), brief, samples, seed=0)
    assert first["verdict"] == "accept"
    assert second["verdict"] == "unjudged"
    assert second["reason"].startswith(reason)


def test_samples_beyond_the_budget_are_unjudged(scripted, teacher_at, brief, draft) -> None:
    url, log = scripted()
    [judged] = judge(
        teacher_at(url, budget=Budget(calls=0)), brief, [draft("One", label="order_status")], seed=0
    )
    assert (judged["verdict"], judged["reason"]) == ("unjudged", "not judged: budget of 0 calls is spent")
    assert log == []
