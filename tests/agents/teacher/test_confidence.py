"""Confidence: the label's own tokens where offered, else votes, else the teacher's word."""

import json
import math
import sqlite3
from typing import Any

import pytest
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.labeler import label
from tutelage.agents.rehearsal.rehearsal import Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema, verdicts_schema
from tutelage.agents.teacher.calibration import calibrate
from tutelage.agents.teacher.confidence import field_probability
from tutelage.prompts import read_payload
from tutelage.student.tasks.task_type import TASK_TYPES

FORM = labels_schema(("order_status", "naïve/été 世界", 'say "hi"'))


def entry(content: str, *tokens: tuple[str, float]) -> Entry:
    """A reply cut into tokens of some probability; what they leave out is certain."""
    found, rest = [], content
    for text, probability in tokens:
        before, _, rest = rest.partition(text)
        found += [(len(before.encode()), 0.0), (len(text.encode()), math.log(probability))]
    found.append((len(rest.encode()), 0.0))
    return Entry("labeler", content, "stop", 1, 1, None, 0.1, tokens=found)


def reply(*labels: str, reason: str = "r") -> str:
    items = [
        {"id": str(i), "reason": reason, "label": name, "confidence": 0.5} for i, name in enumerate(labels)
    ]
    return json.dumps({"labels": items}, ensure_ascii=False)


def probabilities(given: Entry) -> list[float | None]:
    found, _ = FORM.read(given.content)
    return [field_probability(FORM, one, given) for one in found]


def test_it_is_the_product_over_the_tokens_of_the_label() -> None:
    given = entry(reply("order_status"), ("order", 0.5), ("_status", 0.8))
    assert probabilities(given) == [pytest.approx(0.4)]


def test_a_token_that_reaches_over_a_quote_counts_and_those_around_do_not() -> None:
    given = entry(
        reply("order_status"), ('"reason"', 0.1), ('"order_', 0.5), ('status", ', 0.8), ("0.5", 0.1)
    )
    assert probabilities(given) == [pytest.approx(0.4)]


def test_a_label_named_in_the_reason_is_not_the_label() -> None:
    reason = 'it says "label": "order_status" and order_status'
    given = entry(reply("order_status", reason=reason), ("order_status", 0.01), ("order_status", 0.01))
    assert probabilities(given) == [pytest.approx(1.0)]


def test_every_item_has_its_own_and_characters_of_several_bytes_shift_nothing() -> None:
    content = reply("naïve/été 世界", "order_status", 'say "hi"', reason="«ça»")
    given = entry(content, ("世界", 0.5), ("order", 0.25), ('say \\"', 0.125))
    assert probabilities(given) == [pytest.approx(0.5), pytest.approx(0.25), pytest.approx(0.125)]


def test_without_log_probabilities_or_a_measured_field_there_is_none() -> None:
    content = reply("order_status")
    [found], _ = FORM.read(content)
    assert field_probability(FORM, found, Entry("labeler", content, "stop", 1, 1, None, 0.1)) is None
    verdict = json.dumps({"verdicts": [{"id": "1", "reason": "r", "verdict": "accept"}]})
    [judged], _ = verdicts_schema().read(verdict)
    assert field_probability(verdicts_schema(), judged, entry(verdict)) is None


@pytest.mark.parametrize("offers", [Offers(), Offers(json_schema=False)], ids=["schema", "tools"])
def test_through_http_the_source_is_what_the_endpoint_offers(
    encoder, shop, teacher_at, brief, draft, offers: Offers
) -> None:
    rehearsal = Rehearsal(shop("teacher"), encoder.encode, label_noise=0.0)
    samples = [draft(row["text"]) for row in shop("teacher")[:15]]
    with serve(RehearsalModel(rehearsal=rehearsal), offers=offers) as url:
        labelled = label(teacher_at(url), brief, samples, seed=0)
        unasked = label(teacher_at(url, logprobs=False, journal="2.sqlite"), brief, samples, seed=0)
    stated = [sample["confidence"] for sample in unasked]
    assert {sample["confidence_source"] for sample in unasked} == {"stated"}
    if offers.json_schema:  # the rehearsal teacher's tokens are as sure as the root of what it states
        assert {sample["confidence_source"] for sample in labelled} == {"logprobs"}
        expected = [min(0.999, value**0.5) for value in stated]
        assert [sample["confidence"] for sample in labelled] == pytest.approx(expected, abs=1e-4)
    else:  # there are none for the arguments of a tool
        assert [sample["confidence"] for sample in labelled] == stated


def votes(*labels: str) -> str:
    items = [
        {"id": str(i), "reason": "", "label": name, "confidence": 0.9} for i, name in enumerate(labels, 1)
    ]
    return json.dumps({"labels": items})


def test_votes_are_counted_over_differently_ordered_calls(scripted, teacher_at, brief, draft) -> None:
    """One answers every text alike in each of its turns; the others follow the text."""
    a, b = "order_status", "return_refund"
    url, log = scripted(votes(a, a, b), votes(b, b, b), votes(a, a, a))
    texts = ["One", "Two", "Three"]
    labelled = label(teacher_at(url), brief, [draft(text) for text in texts], seed=7, votes=3)
    assert [sample["label"] for sample in labelled] == [a, a, b]
    assert [sample["confidence"] for sample in labelled] == [pytest.approx(2 / 3)] * 3
    assert {sample["confidence_source"] for sample in labelled} == {"votes"}
    orders = [
        [entry["text"] for entry in read_payload(body["messages"][1]["content"])["texts"]] for body in log
    ]
    assert all(sorted(order) == sorted(texts) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert len({body["seed"] for body in log}) == 3


def test_a_vote_that_stays_alone_is_no_agreement(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(votes("order_status"))  # the second and third are refused
    [sample] = label(teacher_at(url), brief, [draft("One")], seed=0, votes=3)
    assert (sample["confidence"], sample["confidence_source"]) == (0.9, "stated")


def test_where_there_are_log_probabilities_no_vote_is_paid_for(
    encoder, shop, teacher_at, brief, draft
) -> None:
    log: list[dict[str, Any]] = []
    rehearsal = Rehearsal(shop("teacher"), encoder.encode)
    with serve(RehearsalModel(rehearsal=rehearsal), log=log) as url:
        label(teacher_at(url), brief, [draft("Where is it?")], seed=0, votes=9)
    assert len(log) == 1


def test_a_calibration_of_the_same_source_is_applied_and_another_is_not(
    scripted, teacher_at, brief, draft
) -> None:
    # Right half of the time and always sure: such confidence is worth little.
    sure = calibrate([0.95, 0.94] * 50, [True, False] * 50, "stated", 6)
    assert sure["temperature"] > 2
    for source, changed in (("stated", True), ("logprobs", False)):
        url, _ = scripted(votes("order_status"))
        calibration = {**sure, "source": source}
        teacher = teacher_at(url, journal=f"{source}.sqlite")
        [sample] = label(teacher, brief, [draft("One")], seed=0, calibration=calibration)
        assert sample["confidence_raw"] == 0.9
        assert (sample["confidence"] < 0.8) == changed
        assert changed or sample["confidence"] == 0.9


def served(content: str, tokens: list[tuple[str, float]]) -> tuple[int, dict[str, Any]]:
    """A completion whose tokens have these texts and probabilities."""
    logprobs = [
        {"token": text, "logprob": math.log(probability), "bytes": [*text.encode()]}
        for text, probability in tokens
    ]
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": logprobs}}
    return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


BEGIN, END = votes("order_status").split("order_status")
TOKENS = [(BEGIN, 0.5), ("order", 0.5), ("_status", 0.8), (END, 0.5)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [("\n\n", 0.3)]),
        ([(" ", 0.3)], [("", 0.3), ("<|im_end|>", 0.3)]),
        ([("```", 0.3), ("json\n", 0.3)], [("\n", 0.3), ("```", 0.3), ("</s>", 0.3)]),
        ([("<think>", 0.1), (votes("return_refund"), 0.1), ("</think>\n", 0.1)], []),
        ([("<think>", 0.1), (votes("order_status"), 0.1), ("</think>\n", 0.1)], []),
    ],
    ids=["white space", "special tokens", "a fence", "thoughts", "thoughts with the same answer"],
)
def test_what_a_server_cut_from_around_the_reply_leaves_its_tokens_good(
    scripted, teacher_at, brief, draft, before, after
) -> None:
    url, _ = scripted(served(votes("order_status"), [*before, *TOKENS, *after]))
    [sample] = label(teacher_at(url), brief, [draft("One")], seed=0)
    assert sample["confidence_source"] == "logprobs"
    assert sample["confidence"] == pytest.approx(0.4)


def test_a_token_that_reaches_over_the_edge_of_the_reply_is_trimmed(scripted, teacher_at, tmp_path) -> None:
    content = votes("order_status")
    tokens = [("\n" + BEGIN + "order", 0.5), ("_status" + END + "\n", 0.5)]
    url, _ = scripted(served(content, tokens))
    teacher = teacher_at(url)
    teacher.ask([Request("labeler", {}, labels_schema(("order_status", "other")), 0)])
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        [(kept,)] = db.execute("SELECT entry FROM replies")
    lengths = [length for length, _ in json.loads(kept)["tokens"]]
    assert lengths == [len(BEGIN + "order"), len("_status" + END)]


def test_tokens_of_another_text_are_none(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(served(votes("order_status"), [(BEGIN, 0.5), ("order status", 0.5), (END, 0.5)]))
    [sample] = label(teacher_at(url), brief, [draft("One")], seed=0)
    assert sample["confidence_source"] == "stated"


@pytest.mark.parametrize("said", [" Order_Status. ", "'order_status'", "ORDER_STATUS"])
def test_a_label_in_another_spelling_has_the_probability_of_its_tokens(said: str) -> None:
    given = entry(reply(said), (said, 0.25))
    [found], problems = FORM.read(given.content)
    assert (found.item.label, problems) == ("order_status", [])
    assert field_probability(FORM, found, given) == pytest.approx(0.25)


def test_a_list_of_labels_in_other_spellings_has_the_probability_of_its_tokens() -> None:
    form = labels_schema(("refund", "status"), TASK_TYPES["multilabel"])
    item = {"id": "1", "reason": "r", "labels": ["Refund.", " status"], "confidence": 0.5}
    content = json.dumps({"labels": [item]})
    given = entry(content, ('["Refund.", " status"]', 0.5))
    [found], _ = form.read(content)
    assert found.item.labels == ["refund", "status"]
    assert field_probability(form, found, given) == pytest.approx(0.5)
