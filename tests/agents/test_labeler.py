"""Test what the labeler is sent, and how missing labels are requested again."""

import json
from collections import Counter

from tutelage.agents.critic import judge
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.labeler import label
from tutelage.agents.teacher.budget import Budget


def labels(**given: str) -> str:
    """Return a labeler's reply; ids are written with a leading letter: i1='order_status'."""
    item = {"reason": "r", "confidence": 0.75}
    return json.dumps({"labels": [{"id": i[1:], "label": name, **item} for i, name in given.items()]})


def test_the_labeler_gets_only_the_texts(rehearsal, teacher_at, brief, draft, shop, sent) -> None:
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


def test_a_labelled_sample_records_its_confidence_and_call(scripted, teacher_at, brief, draft) -> None:
    sample = draft("Where is it?")
    [given] = label(teacher_at(scripted(labels(i1="order_status"))[0]), brief, [sample], seed=0)
    expected = {
        "label": "order_status",
        "confidence": 0.75,
        "confidence_raw": 0.75,
        "confidence_source": "stated",
    }
    assert given == {**sample, **expected, "labelled_by": given["labelled_by"]}
    assert len(given["labelled_by"]) == 12


def test_a_missing_label_is_requested_again_and_the_others_are_kept(
    scripted, teacher_at, brief, draft
) -> None:
    url, log = scripted(labels(i1="order_status", i3="order_status"), labels(i2="return_refund"))
    given = label(teacher_at(url), brief, [draft(text) for text in ("One", "Two", "Three")], seed=0)
    assert [sample["label"] for sample in given] == ["order_status", "return_refund", "order_status"]
    assert "labels are missing for the ids 2 (it ended with 'stop')" in log[1]["messages"][3]["content"]
    assert given[0]["labelled_by"] == given[2]["labelled_by"] != given[1]["labelled_by"]


def test_a_label_that_stays_missing_is_requested_once_more_in_a_fresh_conversation(
    scripted, teacher_at, brief, draft, sent
) -> None:
    only_first = labels(i1="order_status")
    url, log = scripted(only_first, only_first, only_first, labels(i1="return_refund"))
    given = label(teacher_at(url), brief, [draft("One"), draft("Two")], seed=0)
    assert [sample["label"] for sample in given] == ["order_status", "return_refund"]
    assert len(log[3]["messages"]) == 2
    assert sent(log)[3]["texts"] == [{"id": "1", "text": "Two"}]
    assert log[3]["seed"] != log[0]["seed"]


def test_an_unlabelled_text_records_the_reason(scripted, teacher_at, brief, draft) -> None:
    url, log = scripted(*[labels(i1="order_status")] * 3, *[labels()] * 3)
    first, second = label(teacher_at(url), brief, [draft("One"), draft("Two")], seed=0)
    assert first["label"] == "order_status"
    assert second["status"] == "unlabelled"
    assert second["reason"].startswith("no label: labels are missing for the ids 1")
    assert "label" not in second
    assert len(log) == 6, "three requests in each of two conversations"


def test_a_label_outside_the_task_is_rejected(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(*[labels(i1="order_status", i2="weather")] * 3, *[labels(i1="weather")] * 3)
    _, second = label(teacher_at(url), brief, [draft("One"), draft("Two")], seed=0)
    assert second["status"] == "unlabelled"
    assert second["reason"].startswith("no label: labels[0].label: Input should be 'order_status'")


def test_unknown_ids_in_a_reply_are_ignored(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(labels(i1="order_status", i2="return_refund", i77="return_refund"))
    [given] = label(teacher_at(url), brief, [draft("One")], seed=0)
    assert given["label"] == "order_status"


def test_no_samples_make_no_call(rehearsal, teacher_at, brief) -> None:
    url, log = rehearsal
    assert label(teacher_at(url), brief, [], seed=0) == judge(teacher_at(url), brief, [], seed=0) == []
    assert log == []


def test_texts_beyond_the_budget_stay_unlabelled(scripted, teacher_at, brief, draft) -> None:
    url, log = scripted(labels(**{f"i{i}": "order_status" for i in range(1, 13)}), labels(i1="order_status"))
    samples = [draft(f"Text {i}") for i in range(13)]
    given = label(
        teacher_at(url, budget=Budget(calls=1), limits=Limits(concurrency=1)), brief, samples, seed=0
    )
    assert Counter(sample["status"] for sample in given) == {"draft": 12, "unlabelled": 1}
    assert given[12]["reason"] == "no label: budget of 1 calls is spent"
    assert len(log) == 1
