"""Test confidences: from the tokens of the label where offered, else from votes, else as stated."""

import json
import math
import sqlite3
from typing import Any

import pytest
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.labeler import LabelerSettings, label
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema, verdicts_schema
from tutelage.agents.teacher.calibration import calibrate
from tutelage.agents.teacher.confidence import field_probability
from tutelage.prompts import read_payload
from tutelage.student.tasks.registry import TASK_TYPES

SCHEMA = labels_schema(("order_status", "naïve/été 世界", 'say "hi"'))


def entry(content: str, *tokens: tuple[str, float]) -> Entry:
    """Return a reply whose given tokens have these probabilities; all other text has probability one."""
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
    found, _ = SCHEMA.read(given.content)
    return [field_probability(SCHEMA, one, given) for one in found]


def test_confidence_is_the_product_of_the_probabilities_of_the_label_tokens() -> None:
    given = entry(reply("order_status"), ("order", 0.5), ("_status", 0.8))
    assert probabilities(given) == [pytest.approx(0.4)]


def test_a_token_that_overlaps_the_label_counts_and_its_neighbours_do_not() -> None:
    given = entry(
        reply("order_status"), ('"reason"', 0.1), ('"order_', 0.5), ('status", ', 0.8), ("0.5", 0.1)
    )
    assert probabilities(given) == [pytest.approx(0.4)]


def test_a_label_quoted_in_the_reason_does_not_count() -> None:
    reason = 'it says "label": "order_status" and order_status'
    given = entry(reply("order_status", reason=reason), ("order_status", 0.01), ("order_status", 0.01))
    assert probabilities(given) == [pytest.approx(1.0)]


def test_each_item_has_its_own_confidence_even_after_multibyte_characters() -> None:
    content = reply("naïve/été 世界", "order_status", 'say "hi"', reason="«ça»")
    given = entry(content, ("世界", 0.5), ("order", 0.25), ('say \\"', 0.125))
    assert probabilities(given) == [pytest.approx(0.5), pytest.approx(0.25), pytest.approx(0.125)]


def test_without_log_probabilities_or_a_label_field_there_is_no_confidence() -> None:
    content = reply("order_status")
    [found], _ = SCHEMA.read(content)
    assert field_probability(SCHEMA, found, Entry("labeler", content, "stop", 1, 1, None, 0.1)) is None
    verdict = json.dumps({"verdicts": [{"id": "1", "reason": "r", "verdict": "accept"}]})
    [judged], _ = verdicts_schema().read(verdict)
    assert field_probability(verdicts_schema(), judged, entry(verdict)) is None


@pytest.mark.parametrize("offers", [Offers(), Offers(json_schema=False)], ids=["schema", "tools"])
def test_the_confidence_source_depends_on_what_the_endpoint_offers(
    encoder, shop, teacher_at, brief, draft, offers: Offers
) -> None:
    rehearsal = Rehearsal(shop("teacher"), encoder.encode, behaviour=Behaviour(label_noise=0.0))
    samples = [draft(row["text"]) for row in shop("teacher")[:15]]
    with serve(RehearsalModel(rehearsal=rehearsal), offers=offers) as url:
        labelled = label(teacher_at(url), brief, samples, seed=0)
        unasked = label(teacher_at(url, logprobs=False, journal="2.sqlite"), brief, samples, seed=0)
    stated = [sample["confidence"] for sample in unasked]
    assert {sample["confidence_source"] for sample in unasked} == {"stated"}
    if offers.json_schema:  # the rehearsal teacher's tokens have the square root of the stated confidence
        assert {sample["confidence_source"] for sample in labelled} == {"logprobs"}
        expected = [min(0.999, value**0.5) for value in stated]
        assert [sample["confidence"] for sample in labelled] == pytest.approx(expected, abs=1e-4)
    else:  # tool calls have no log-probabilities
        assert [sample["confidence"] for sample in labelled] == stated


def votes(*labels: str) -> str:
    items = [
        {"id": str(i), "reason": "", "label": name, "confidence": 0.9} for i, name in enumerate(labels, 1)
    ]
    return json.dumps({"labels": items})


def test_votes_are_counted_over_differently_ordered_calls(scripted, teacher_at, brief, draft) -> None:
    """The second and third call answer every text alike; the first follows the text."""
    a, b = "order_status", "return_refund"
    url, log = scripted(votes(a, a, b), votes(b, b, b), votes(a, a, a))
    texts = ["One", "Two", "Three"]
    labelled = label(
        teacher_at(url), brief, [draft(text) for text in texts], LabelerSettings(votes=3), seed=7
    )
    assert [sample["label"] for sample in labelled] == [a, a, b]
    assert [sample["confidence"] for sample in labelled] == [pytest.approx(2 / 3)] * 3
    assert {sample["confidence_source"] for sample in labelled} == {"votes"}
    orders = [
        [entry["text"] for entry in read_payload(body["messages"][1]["content"])["texts"]] for body in log
    ]
    assert all(sorted(order) == sorted(texts) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert len({body["seed"] for body in log}) == 3


def test_a_single_vote_is_not_counted_as_agreement(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(votes("order_status"))  # the second and third call are refused
    [sample] = label(teacher_at(url), brief, [draft("One")], LabelerSettings(votes=3), seed=0)
    assert (sample["confidence"], sample["confidence_source"]) == (0.9, "stated")


def test_no_votes_are_requested_if_there_are_log_probabilities(
    encoder, shop, teacher_at, brief, draft
) -> None:
    log: list[dict[str, Any]] = []
    rehearsal = Rehearsal(shop("teacher"), encoder.encode)
    with serve(RehearsalModel(rehearsal=rehearsal), log=log) as url:
        label(teacher_at(url), brief, [draft("Where is it?")], LabelerSettings(votes=9), seed=0)
    assert len(log) == 1


def test_a_calibration_is_applied_only_to_its_own_confidence_source(
    scripted, teacher_at, brief, draft
) -> None:
    # The teacher is always sure and right half of the time.
    sure = calibrate([0.95, 0.94] * 50, [True, False] * 50, "stated", 6)
    assert sure["temperature"] > 2
    for source, changed in (("stated", True), ("logprobs", False)):
        url, _ = scripted(votes("order_status"))
        calibration = {**sure, "source": source}
        teacher = teacher_at(url, journal=f"{source}.sqlite")
        [sample] = label(teacher, brief, [draft("One")], LabelerSettings(calibration=calibration), seed=0)
        assert sample["confidence_raw"] == 0.9
        assert (sample["confidence"] < 0.8) == changed
        assert changed or sample["confidence"] == 0.9


def served(content: str, tokens: list[tuple[str, float]]) -> tuple[int, dict[str, Any]]:
    """Return a completion whose tokens have these texts and probabilities."""
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
def test_tokens_match_even_if_the_server_strips_text_around_the_reply(
    scripted, teacher_at, brief, draft, before, after
) -> None:
    url, _ = scripted(served(votes("order_status"), [*before, *TOKENS, *after]))
    [sample] = label(teacher_at(url), brief, [draft("One")], seed=0)
    assert sample["confidence_source"] == "logprobs"
    assert sample["confidence"] == pytest.approx(0.4)


def test_a_token_that_extends_beyond_the_reply_is_trimmed(scripted, teacher_at, tmp_path) -> None:
    content = votes("order_status")
    tokens = [("\n" + BEGIN + "order", 0.5), ("_status" + END + "\n", 0.5)]
    url, _ = scripted(served(content, tokens))
    teacher = teacher_at(url)
    teacher.ask([Request("labeler", {}, labels_schema(("order_status", "other")), 0)])
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        [(kept,)] = db.execute("SELECT entry FROM replies")
    lengths = [length for length, _ in json.loads(kept)["tokens"]]
    assert lengths == [len(BEGIN + "order"), len("_status" + END)]


def test_tokens_that_do_not_match_the_reply_are_ignored(scripted, teacher_at, brief, draft) -> None:
    url, _ = scripted(served(votes("order_status"), [(BEGIN, 0.5), ("order status", 0.5), (END, 0.5)]))
    [sample] = label(teacher_at(url), brief, [draft("One")], seed=0)
    assert sample["confidence_source"] == "stated"


@pytest.mark.parametrize("spelling", [" Order_Status. ", "'order_status'", "ORDER_STATUS"])
def test_a_label_in_another_spelling_has_the_probability_of_its_tokens(spelling: str) -> None:
    given = entry(reply(spelling), (spelling, 0.25))
    [found], problems = SCHEMA.read(given.content)
    assert (found.item.label, problems) == ("order_status", [])
    assert field_probability(SCHEMA, found, given) == pytest.approx(0.25)


def test_a_list_of_labels_in_other_spellings_has_the_probability_of_its_tokens() -> None:
    reply_schema = labels_schema(("refund", "status"), TASK_TYPES["multilabel"])
    item = {"id": "1", "reason": "r", "labels": ["Refund.", " status"], "confidence": 0.5}
    content = json.dumps({"labels": [item]})
    given = entry(content, ('["Refund.", " status"]', 0.5))
    [found], _ = reply_schema.read(content)
    assert found.item.labels == ["refund", "status"]
    assert field_probability(reply_schema, found, given) == pytest.approx(0.5)
