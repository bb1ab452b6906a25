"""Test completion caps: no valid reply is cut, and the missing items of a cut reply are requested again."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Request
from tutelage.agents.schemas import diagnosis_schema, drafts_schema, labels_schema, verdicts_schema
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.reply_cap import REASONING, reply_cap
from tutelage.prompts import read_payload, render
from tutelage.student.tasks.registry import TASK_TYPES

LABELS = {"order_status": "where a parcel is", "return_refund": "money back"}
SCHEMA = labels_schema([*LABELS])
PLAIN = ModelSpec(model="openai:some-model", base_url="http://127.0.0.1:1/v1")
LONG_REASON = " ".join(["considering", "it", "once", "more"] * 20)


def labeling(count: int, seed: int = 0, text: str = "Where is my parcel?") -> Request:
    texts = [{"id": str(i), "text": f"{text} {i}"} for i in range(1, count + 1)]
    payload = {"task": "t", "labels": LABELS, "texts": texts}
    return Request("labeler", payload, SCHEMA, seed, [one["id"] for one in texts])


def writing(*counts: int) -> Request:
    requests = [
        {"label": label, "kind": "any", "count": count, "weakness": ""}
        for label, count in zip(LABELS, counts, strict=True)
    ]
    payload = {
        "task": "t",
        "labels": LABELS,
        "weaknesses": [],
        "requests": requests,
        "shots": [],
        "avoid": [],
    }
    return Request("generator", payload, drafts_schema([*LABELS]), 7, sum(counts))


def labels(*ids: int) -> list[dict[str, Any]]:
    return [{"id": str(i), "reason": "r", "label": "order_status", "confidence": 0.5} for i in ids]


def whole(items: list[dict[str, Any]], field: str = "labels") -> str:
    return json.dumps({field: items})


def cut(content: str, tokens: int = 900) -> tuple[int, dict[str, Any]]:
    """Return a completion that was cut at its maximum length."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    usage = {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}
    head = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    return 200, {**head, "choices": [choice], "usage": usage}


def shown(body: dict[str, Any]) -> dict[str, Any]:
    return read_payload(body["messages"][1]["content"])


# the cap


def long_reply(ask: Request, item: dict[str, Any]) -> int:
    """Return the number of tokens of an indented reply with long reasons, at three bytes a token."""
    return len(json.dumps({ask.schema.field: [item] * ask.size}, indent=2).encode()) // 3


def test_the_cap_leaves_room_for_long_valid_replies_of_every_role() -> None:
    label = {"id": "12", "reason": LONG_REASON, "label": "return_refund", "confidence": 0.95}
    assert long_reply(labeling(12), label) < reply_cap(labeling(12), PLAIN)
    draft = {"label": "order_status", "kind": "hard", "weakness": "w01-1", "text": "word " * 120}
    assert long_reply(writing(6, 6), draft) < reply_cap(writing(6, 6), PLAIN)
    samples = [{"id": str(i), "text": "a", "label": "order_status"} for i in range(12)]
    verdict = {"id": "12", "reason": LONG_REASON, "verdict": "rewrite"}
    judging = Request("critic", {"samples": samples}, verdicts_schema(), 0, [str(i) for i in range(12)])
    assert long_reply(judging, verdict) < reply_cap(judging, PLAIN)
    wrong = [{"id": f"{i:016x}", "text": "a", "label": "a", "predicted": "b"} for i in range(24)]
    weakness = {"hypothesis": LONG_REASON, "name": "a name of some six words", "label": "order_status"}
    weakness |= {"evidence": [one["id"] for one in wrong[:2]], "confused_with": "return_refund"}
    analysis = Request(
        "analyst", {"labels": LABELS, "right": [], "wrong": wrong}, diagnosis_schema([*LABELS]), 0
    )
    assert long_reply(replace(analysis, wanted=12), weakness) < reply_cap(analysis, PLAIN)


def test_the_cap_for_targets_and_entities_grows_with_the_text() -> None:
    text = "Barack Obama met Angela Merkel in Berlin. " * 10
    reply_schema = labels_schema(["person", "place"], TASK_TYPES["ner"])
    entities = [{"text": "Angela Merkel", "type": "person"}] * 30
    item = {"id": "1", "reason": LONG_REASON, "entities": entities, "confidence": 0.9}
    payload = {"labels": {"person": "", "place": ""}, "texts": [{"id": "1", "text": text}]}
    tagging = Request("labeler", payload, reply_schema, 0, ["1"])
    assert long_reply(tagging, item) < reply_cap(tagging, PLAIN)
    item = {"id": "1", "reason": LONG_REASON * 4, "target": text, "confidence": 0.9}
    target = Request(
        "labeler", {"texts": [{"id": "1", "text": text}]}, labels_schema([], TASK_TYPES["seq2seq"]), 0, ["1"]
    )
    assert long_reply(target, item) < reply_cap(target, PLAIN)


def test_long_examples_raise_the_cap_for_written_texts() -> None:
    short, long = writing(3, 3), writing(3, 3)
    long = replace(long, payload={**long.payload, "shots": [{"text": "word " * 1000, "label": "a"}]})
    assert reply_cap(long, PLAIN) > 6 * 2000 > reply_cap(short, PLAIN)


def test_the_cap_grows_with_the_items_unless_the_user_sets_a_limit() -> None:
    caps = [reply_cap(labeling(count), PLAIN) for count in (1, 6, 12)]
    assert caps == sorted(caps)
    assert caps[2] < 4000, "a runaway reply of a labelling call stays short"
    assert reply_cap(labeling(12), replace(PLAIN, max_tokens=77)) == 77


@pytest.mark.parametrize("name", ["gpt-5-mini", "o3", "qwen3:8b", "deepseek-reasoner", "DeepSeek-R1-Distill"])
def test_a_reasoning_model_gets_a_higher_cap(name: str) -> None:
    spec = replace(PLAIN, model=f"openai:{name}")
    assert reply_cap(labeling(1), spec) - reply_cap(labeling(1), PLAIN) == REASONING


@pytest.mark.parametrize("name", ["gpt-4o", "llama3.1", "smollm2", "qwen2.5", "mistral-small"])
def test_other_models_get_no_room_for_reasoning(name: str) -> None:
    assert reply_cap(labeling(1), replace(PLAIN, model=f"openai:{name}")) == reply_cap(labeling(1), PLAIN)


# what is sent, and the journal


def test_every_call_sends_its_cap_or_the_limit_of_the_user(scripted, teacher_at) -> None:
    url, log = scripted(whole(labels(1)), whole(labels(1, 2, 3)), whole(labels(1)))
    teacher = teacher_at(url)
    teacher.ask([labeling(1)])
    teacher.ask([labeling(3)])
    teacher_at(url, max_tokens=77, journal="other.sqlite").ask([labeling(1)])
    spec = teacher.specs["labeler"]
    assert [body["max_tokens"] for body in log] == [
        reply_cap(labeling(1), spec),
        reply_cap(labeling(3), spec),
        77,
    ]


def test_a_reply_journalled_without_a_cap_is_found(scripted, teacher_at) -> None:
    url, log = scripted()
    teacher, ask = teacher_at(url), labeling(1)
    system, user = render("labeler", ask.payload)
    request = {
        "model": "openai:rehearsal",
        "temperature": None,
        "max_tokens": None,
        "logprobs": True,
        "seed": 0,
        "form": SCHEMA.json_schema,
        "messages": [("system", system), ("human", user)],
    }
    entry = Entry("labeler", whole(labels(1)), "stop", 1, 1, None, 0.1)
    teacher.journal.put(Journal.key(request), request, entry)
    assert [item.id for item in teacher.ask([ask])[0].items] == ["1"]
    assert log == []


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 9999. This model supports at most 100 completion tokens",
        "This model's maximum context length is 400 tokens. However, you requested 900 tokens (94 in the"
        " messages, 806 in the completion).",
    ],
    ids=["too large", "no room in the context"],
)
def test_a_refused_cap_is_left_out_and_smaller_caps_are_still_sent(scripted, teacher_at, words: str) -> None:
    refusal = (400, {"error": {"message": words, "type": "invalid_request_error"}})
    url, log = scripted(refusal, whole(labels(1, 2, 3)), whole(labels(1)), whole(labels(1, 2, 3)))
    teacher = teacher_at(url)
    for ask in (labeling(3), labeling(1), labeling(3, seed=1)):
        assert len(teacher.ask([ask])[0].items) == ask.size
    assert ["max_tokens" in body for body in log] == [True, False, True, False]
    assert [body["response_format"]["type"] for body in log] == ["json_schema"] * 4


def test_a_server_that_refuses_caps_without_an_explanation_gets_none(scripted, teacher_at) -> None:
    refusal = (400, {"error": {"message": "bad request", "type": "invalid_request_error"}})
    url, log = scripted(refusal, whole(labels(1)), whole(labels(1)))
    teacher = teacher_at(url)
    for seed in range(2):
        assert teacher.ask([labeling(1, seed)])[0].items
    assert ["max_tokens" in body for body in log] == [True, False, False]
    assert all(body["logprobs"] for body in log)


# replies that were cut off


def test_complete_items_of_a_cut_reply_are_kept_and_the_rest_requested_afresh(scripted, teacher_at) -> None:
    broken = whole(labels(1, 2, 3))[:-10]  # the third is incomplete
    url, log = scripted(cut(broken), whole(labels(3, 4, 5)), whole(labels(6, 7)))
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    [reply] = teacher.ask([labeling(7)])
    assert [item.id for item in reply.items] == [*"1234567"]
    assert reply.problems == []
    assert [[text["id"] for text in shown(body)["texts"]] for body in log] == [
        [*"1234567"],
        [*"345"],
        [*"67"],
    ]
    assert [len(body["messages"]) for body in log] == [2, 2, 2], "the cut reply is not sent again"
    assert log[2]["max_tokens"] < log[1]["max_tokens"] < log[0]["max_tokens"]


def test_if_half_of_the_items_arrived_one_request_asks_for_the_rest(scripted, teacher_at) -> None:
    url, log = scripted(cut(whole(labels(1, 2, 3))[:-2]), whole(labels(4)))
    [reply] = teacher_at(url).ask([labeling(4)])
    assert [item.id for item in reply.items] == [*"1234"]
    assert len(log) == 2


def test_a_resumed_run_reuses_the_items_of_a_cut_reply(scripted, teacher_at) -> None:
    url, log = scripted(cut(whole(labels(1))[:-2]), whole(labels(2, 3)), whole(labels(4)))
    first = teacher_at(url, limits=Limits(concurrency=1))  # the server gives its replies in turn
    before = first.ask([labeling(4)])
    first.close()
    assert teacher_at(url).ask([labeling(4)]) == before
    assert len(log) == 3


def test_after_a_cut_reply_only_the_missing_texts_are_requested(scripted, teacher_at) -> None:
    def draft(number: int, label: str) -> dict[str, Any]:
        return {"label": label, "kind": "any", "weakness": "", "text": f"text {number}"}

    one, other = LABELS
    begun = whole([draft(1, one), draft(2, one), draft(3, other)], "drafts")[:-5]
    rest = [whole([draft(number, other), draft(number + 1, other)], "drafts") for number in (4, 6)]
    url, log = scripted(cut(begun), *rest)
    [reply] = teacher_at(url).ask([writing(2, 4)])
    assert sorted(item.text for item in reply.items) == [f"text {number}" for number in (1, 2, 4, 5, 6, 7)]
    request = {"label": other, "kind": "any", "count": 2, "weakness": ""}
    assert [shown(body)["requests"] for body in log[1:]] == [[request], [request]]
    assert [entry["text"] for entry in shown(log[1])["avoid"]] == ["text 1", "text 2"]
    assert len({body["seed"] for body in log[1:]}) == 2, "with one seed both might write the same texts"


def test_a_cut_single_item_is_requested_again_with_another_seed_and_a_higher_cap(
    scripted, teacher_at
) -> None:
    url, log = scripted(cut('{"labels": [{"id": "1", "reason": "so so so so'), whole(labels(1)))
    [reply] = teacher_at(url).ask([labeling(1)])
    assert [item.id for item in reply.items] == ["1"]
    assert log[0]["seed"] != log[1]["seed"]
    assert log[1]["max_tokens"] == 2 * log[0]["max_tokens"]


@pytest.mark.parametrize("thought", ["", "<think>Let me see: the first text"])
def test_a_model_that_used_its_cap_for_reasoning_gets_a_higher_cap_afterwards(
    scripted, teacher_at, thought: str
) -> None:
    url, log = scripted(cut(thought), whole(labels(1, 2)), whole(labels(1, 2)))
    teacher = teacher_at(url)
    for seed in range(2):
        assert len(teacher.ask([labeling(2, seed)])[0].items) == 2
    first, second, third = (body["max_tokens"] for body in log)
    assert (second, third) == (4 * first + REASONING, first + REASONING)
    assert len(shown(log[1])["texts"]) == 2


def test_the_number_of_calls_for_repeatedly_cut_replies_is_bounded(scripted, teacher_at) -> None:
    runaway = cut('{"labels": [{"id": "1", "reason": "again and again and again')
    url, log = scripted(whole(labels(1)), *[runaway] * 40)
    teacher = teacher_at(url)
    teacher.ask([labeling(1)])
    [reply] = teacher.ask([labeling(12)])
    assert reply.items == []
    assert "it ended with 'length'" in reply.problems[-1]
    assert len(log) - 1 == 1 + 2 + 4
    assert all(len(body["messages"]) == 2 for body in log)


def test_the_complete_weaknesses_of_a_cut_diagnosis_are_kept(scripted, teacher_at) -> None:
    item = {"evidence": ["1"], "hypothesis": "h", "name": "n", "label": "a", "confused_with": "b"}
    answers = [{"id": str(i), "text": "t", "label": "a", "predicted": "b"} for i in range(4)]
    ask = Request(
        "analyst", {"labels": {"a": "", "b": ""}, "right": [], "wrong": answers}, diagnosis_schema("ab"), 0
    )
    begun = whole([item, item], "weaknesses")[:-10]
    url, log = scripted(cut(begun), cut('{"weaknesses": [{"evid'), whole([item], "weaknesses"))
    teacher = teacher_at(url)
    assert len(teacher.ask([ask])[0].items) == 1
    assert len(teacher.ask([replace(ask, seed=1)])[0].items) == 1
    assert [len(shown(body)["wrong"]) for body in log] == [4, 4, 2], (
        "without a complete weakness, half of the rows are shown"
    )
