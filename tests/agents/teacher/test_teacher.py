"""The teacher: every call through HTTP, journalled, within the budget, repaired."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.request import Reply, Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.budget import Budget
from tutelage.prompts import ROLES, read_payload
from tutelage.student.errors import InputError

FORM = labels_schema(("order_status", "return_refund"))
GOOD = '{"labels": [{"id": "1", "reason": "r", "label": "order_status", "confidence": 0.5}]}'


def labeling(text: str = "Where is my parcel?", seed: int = 0) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    return Request(
        "labeler", {"task": "", "labels": labels, "texts": [{"id": "1", "text": text}]}, FORM, seed
    )


def unknown() -> Request:
    """A request that the rehearsal server answers with status 400."""
    return Request("labeler", {"task": "", "labels": {}}, FORM, 0)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_call_goes_through_http_and_comes_back_as_items(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    [reply] = teacher_at(url).ask([labeling()])
    assert [item.id for item in reply.items] == ["1"]
    assert reply.items[0].label in ("order_status", "return_refund")
    assert reply.problems == []
    assert len(log) == 1


def test_replies_come_in_the_order_of_the_questions(rehearsal, teacher_at, shop) -> None:
    rows = [row for row in shop("teacher") if row["label"] in ("order_status", "return_refund")][:30]
    replies = teacher_at(rehearsal[0]).ask([labeling(row["text"]) for row in rows])
    assert [reply.items[0].label for reply in replies] == [row["label"] for row in rows]


def test_no_questions_make_no_call(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    assert teacher_at(url).ask([]) == []
    assert log == []


def test_a_call_carries_the_schema_the_seed_and_two_messages(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    teacher_at(url).ask([labeling(seed=41)])
    [body] = log
    assert (body["model"], body["seed"]) == ("rehearsal", 41)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Labels", "schema": FORM.json_schema, "strict": True},
    }
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert read_payload(body["messages"][1]["content"]) == labeling().payload
    assert "temperature" not in body


@pytest.mark.parametrize(("structured", "sent"), [("json_mode", {"type": "json_object"}), ("text", None)])
def test_servers_without_schemas_get_what_they_understand(rehearsal, teacher_at, structured, sent) -> None:
    url, log = rehearsal
    [reply] = teacher_at(url, structured=structured, temperature=0.25).ask([labeling()])
    assert reply.items
    assert log[0].get("response_format") == sent
    assert log[0]["temperature"] == 0.25


def test_the_same_call_is_paid_once_though_a_second_teacher_makes_it(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    events: list[dict[str, object]] = []
    first = teacher_at(url, on_call=events.append)
    [before] = first.ask([labeling()])
    first.close()
    [after] = teacher_at(url, on_call=events.append).ask([labeling()])
    assert after == before
    assert len(log) == 1
    assert [event["replayed"] for event in events] == [False, True]
    assert events[0]["call"] == events[1]["call"] == before.parsed[0].call
    assert (events[0]["role"], events[0]["model"], events[0]["finish"]) == (
        "labeler",
        "openai:rehearsal",
        "stop",
    )


def test_another_seed_is_another_call(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    first, second = teacher_at(url).ask([labeling(seed=1), labeling(seed=2)])
    assert first.parsed[0].call != second.parsed[0].call
    assert len(log) == 2


def test_tokens_are_counted_and_priced(scripted, teacher_at) -> None:
    url, _ = scripted(GOOD, GOOD)
    priced = teacher_at(url, price_prompt=2.0, price_completion=10.0)
    priced.ask([labeling()])
    assert priced.journal.spent() == {
        "calls": 1,
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cost": pytest.approx((100 * 2 + 10 * 10) / 1e6),
    }
    unpriced = teacher_at(url, journal="other.sqlite")
    unpriced.ask([labeling()])
    assert unpriced.journal.spent()["cost"] is None


def test_a_spent_budget_refuses_the_next_call(scripted, teacher_at) -> None:
    url, log = scripted(GOOD, GOOD)
    teacher = teacher_at(url, budget=Budget(calls=1))
    assert teacher.refusal() is None
    teacher.ask([labeling(seed=1)])
    assert teacher.refusal() == "budget of 1 calls is spent"
    assert teacher.ask([labeling(seed=2)]) == [Reply(problems=["budget of 1 calls is spent"])]
    assert len(log) == 1


@pytest.mark.parametrize("budget", [Budget(tokens=1000), Budget(money=0.0025)])
def test_no_call_is_begun_that_the_budget_would_not_cover(scripted, teacher_at, budget: Budget) -> None:
    url, log = scripted(*[GOOD] * 30)
    teacher = teacher_at(url, budget=budget, price_prompt=2.0, price_completion=10.0)
    replies = [teacher.ask([labeling(seed=seed)])[0] for seed in range(5)]
    replies += teacher.ask([labeling(seed=seed) for seed in range(5, 30)])
    spent = teacher.journal.spent()
    assert 5 <= spent["calls"] == len(log) < 30
    assert spent["prompt_tokens"] + spent["completion_tokens"] <= (budget.tokens or 10**9)
    assert spent["cost"] <= (budget.money or 10**9)
    assert "does not cover the next call" in replies[-1].problems[0]
    assert teacher.refusal() == replies[-1].problems[0]


def test_a_spent_budget_still_gives_what_was_paid_for(scripted, teacher_at) -> None:
    teacher = teacher_at(scripted(GOOD)[0], budget=Budget(calls=1))
    assert teacher.ask([labeling()]) == teacher.ask([labeling()])


@pytest.mark.parametrize("field", ["max_tokens", "temperature"])
def test_a_budget_holds_though_replies_are_far_longer_than_thought(scripted, teacher_at, field: str) -> None:
    """Each reply takes 110 tokens, ten times as many as are asked at once could be paid for."""
    url, log = scripted(*[GOOD] * 40)
    teacher = teacher_at(
        url,
        budget=Budget(tokens=1200),
        limits=Limits(concurrency=32),
        **{field: 1 if field == "temperature" else 60},
    )
    teacher.ask([labeling(seed=seed) for seed in range(40)])
    assert 110 * len(log) <= 1200


def test_a_budget_of_no_minutes_refuses_the_first_call(scripted, teacher_at) -> None:
    url, log = scripted(GOOD)
    [reply] = teacher_at(url, budget=Budget(minutes=0)).ask([labeling()])
    assert reply == Reply(problems=["budget of 0 minutes is spent"])
    assert log == []


def test_calls_side_by_side_do_not_overrun_the_budget(scripted, teacher_at) -> None:
    url, log = scripted(*[GOOD] * 8)
    teacher = teacher_at(url, budget=Budget(calls=2))
    replies = teacher.ask([labeling(seed=i) for i in range(8)])
    assert [bool(reply.items) for reply in replies] == [True] * 2 + [False] * 6
    assert replies[7].problems == ["budget of 2 calls is spent"]
    assert len(log) == 2


def test_a_repair_counts_as_a_call_and_is_refused_like_one(scripted, teacher_at) -> None:
    url, log = scripted("I am sorry.", GOOD)
    [reply] = teacher_at(url, budget=Budget(calls=1)).ask([labeling()])
    assert reply.items == []
    assert reply.problems[-1] == "budget of 1 calls is spent"
    assert len(log) == 1


def test_a_call_that_failed_leaves_its_place_in_the_budget(rehearsal, teacher_at) -> None:
    url, _ = rehearsal
    teacher = teacher_at(url, budget=Budget(calls=1))
    with pytest.raises(TeacherDownError):
        teacher.ask([unknown()])
    assert teacher.ask([labeling()])[0].items


def test_a_server_that_is_down_is_told_with_its_url_and_how_to_go_on(closed_port: int, teacher_at) -> None:
    url = f"http://127.0.0.1:{closed_port}/v1"
    with pytest.raises(TeacherDownError, match=f"openai:rehearsal at {url} gave no answer") as caught:
        teacher_at(url, limits=Limits(patience=0.2)).ask([labeling()])
    assert "failures in a row" in str(caught.value)
    assert "Connect call failed" in str(caught.value)
    assert "`tutelage doctor`" in str(caught.value)
    assert isinstance(caught.value, InputError)


def test_a_server_that_refuses_every_call_is_told_with_its_reason(rehearsal, teacher_at) -> None:
    with pytest.raises(TeacherDownError, match="no role has a payload of"):
        teacher_at(rehearsal[0]).ask([unknown()])


def test_a_call_that_is_refused_while_others_are_answered_is_set_aside_alone(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    events: list[dict[str, object]] = []
    teacher = teacher_at(url, on_call=events.append)
    first, second, third = teacher.ask([labeling(seed=1), unknown(), labeling(seed=2)])
    assert first.items == third.items != []
    assert second.items == []
    assert second.problems[0].startswith("refused: BadRequestError")
    assert len(log) == 3, "what was answered before in this form is not asked in another"
    assert [event for event in events if "refused" in event] == [
        {"role": "labeler", "refused": second.problems[0], "over_budget": False}
    ]


def test_what_came_before_a_failure_is_in_the_journal(rehearsal, closed_port: int, teacher_at) -> None:
    url, log = rehearsal
    teacher = teacher_at(url, limits=Limits(patience=0.2))
    nowhere = ModelSpec(model="openai:other", base_url=f"http://127.0.0.1:{closed_port}/v1")
    teacher.specs = {**teacher.specs, "critic": nowhere}
    with pytest.raises(TeacherDownError):
        teacher.ask([labeling(seed=1), Request("critic", {}, FORM, 0), labeling(seed=2)])
    assert teacher.journal.spent()["calls"] == 2
    teacher.ask([labeling(seed=1), labeling(seed=2)])
    assert len(log) == 2


def test_a_malformed_reply_is_repaired(scripted, teacher_at) -> None:
    url, log = scripted("I am sorry.", '{"labels": [', GOOD)
    teacher = teacher_at(url)
    [reply] = teacher.ask([labeling()])
    assert [item.id for item in reply.items] == ["1"]
    assert reply.problems == []
    assert teacher.journal.spent()["calls"] == 3
    assert [len(body["messages"]) for body in log] == [2, 4, 6]
    assert log[1]["messages"][2] == {"role": "assistant", "content": "I am sorry."}
    assert log[1]["messages"][3]["content"].startswith(
        "That reply cannot be used as it is: not a JSON object with the list 'labels': there is none;"
        " labels are missing"
    )


def test_the_id_of_a_repaired_reply_is_that_of_the_call_that_gave_it(scripted, teacher_at) -> None:
    events: list[dict[str, object]] = []
    [reply] = teacher_at(scripted("I am sorry.", GOOD)[0], on_call=events.append).ask([labeling()])
    assert reply.parsed[0].call == events[1]["call"] != events[0]["call"]


def test_a_reply_that_stays_malformed_comes_back_empty_with_the_problem(scripted, teacher_at) -> None:
    url, log = scripted(GOOD, "no", "no", "no", GOOD)
    teacher = teacher_at(url)
    teacher.ask([labeling(seed=1)])
    [reply] = teacher.ask([labeling()])
    assert reply.items == []
    assert reply.problems[0].startswith("not a JSON object with the list 'labels'")
    assert len(log) == 4


def test_a_teacher_whose_first_three_replies_are_of_no_use_is_given_up(scripted, teacher_at) -> None:
    wrong = GOOD.replace("order_status", "weather")
    url, log = scripted(*[wrong] * 20)
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    with pytest.raises(TeacherDownError, match="is of no use as the labeler: none of its first 3") as caught:
        teacher.ask([labeling(seed=seed) for seed in range(5)])
    assert len(log) == 3
    assert '\'{"labels": [{"id": "1"' in str(caught.value), "what came back"
    assert "labels[0].label: Input should be 'order_status' or 'return_refund'" in str(caught.value)
    assert "use a stronger model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_calls_that_wait_are_not_made_once_a_teacher_is_of_no_use(scripted, teacher_at) -> None:
    url, log = scripted(*["no"] * 60)
    with pytest.raises(TeacherDownError, match="is of no use"):
        teacher_at(url, limits=Limits(concurrency=2)).ask([labeling(seed=seed) for seed in range(20)])
    assert len(log) <= 4


def test_a_resumed_run_asks_a_teacher_anew_that_was_of_no_use(scripted, teacher_at) -> None:
    url, log = scripted(*["no"] * 5, GOOD, GOOD, GOOD)
    asks = [labeling(seed=seed) for seed in range(3)]
    first = teacher_at(url, limits=Limits(concurrency=1))
    with pytest.raises(TeacherDownError, match="is of no use"):
        first.ask(asks)
    first.close()
    assert len(log) == 3
    replies = teacher_at(url, limits=Limits(concurrency=1)).ask(asks)
    assert [len(reply.items) for reply in replies] == [1, 1, 1]
    assert len(log) == 8


def test_one_usable_item_is_enough_to_go_on(scripted, teacher_at) -> None:
    url, log = scripted("no", "no", GOOD, *["no"] * 3, GOOD)
    teacher = teacher_at(url, limits=Limits(concurrency=1))
    replies = teacher.ask([labeling(seed=seed) for seed in range(3)])
    assert [len(reply.items) for reply in replies] == [1, 0, 1]
    assert len(log) == 7


def test_a_reply_that_is_partly_right_is_not_asked_for_again(scripted, teacher_at) -> None:
    items = [*json.loads(GOOD)["labels"], {"id": "2", "reason": "r", "label": "weather", "confidence": 1}]
    url, log = scripted(json.dumps({"labels": items}))
    [reply] = teacher_at(url).ask([labeling()])
    assert [item.id for item in reply.items] == ["1"]
    assert reply.problems[0].startswith("labels[1].label")
    assert len(log) == 1


def test_two_teachers_live_in_one_process(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    first, second = teacher_at(url), teacher_at(url, journal="other.sqlite")
    for number, teacher in enumerate((first, second, first, second)):
        assert teacher.ask([labeling(seed=number)])[0].items
    assert len(log) == 4


def test_a_teacher_goes_on_where_a_closed_one_stopped(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    for number in range(3):
        teacher = teacher_at(url)
        assert teacher.ask([labeling(seed=number)])[0].items
        teacher.close()
    assert len(log) == 3


def test_a_teacher_can_be_asked_from_inside_a_running_loop(rehearsal, teacher_at) -> None:
    teacher = teacher_at(rehearsal[0])

    async def main() -> list[int]:
        return [len(teacher.ask([labeling(seed=seed)])[0].items) for seed in range(3)]

    assert asyncio.run(main()) == [1, 1, 1]
    assert asyncio.run(main()) == [1, 1, 1]


def test_each_role_may_have_a_model_of_its_own(scripted, rehearsal, teacher_at) -> None:
    url, log = scripted(GOOD)
    teacher = teacher_at(rehearsal[0])
    teacher.specs = {**teacher.specs, "labeler": ModelSpec(model="openai:other", base_url=url)}
    teacher.ask([labeling()])
    assert [body["model"] for body in log] == ["other"]
    assert rehearsal[1] == []


def test_a_users_prompt_is_the_one_that_is_sent(scripted, teacher_at, tmp_path: Path) -> None:
    (tmp_path / "labeler.md").write_text("My own words.\n---\n$payload")
    url, log = scripted(GOOD)
    teacher_at(url, overlay=tmp_path).ask([labeling()])
    assert log[0]["messages"][0]["content"] == "My own words."


def test_the_api_key_is_sent_and_written_nowhere(scripted, teacher_at, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "sk-very-secret-1234567890")
    url, log = scripted(GOOD)
    teacher = teacher_at(url, api_key_env="SHOP_KEY")
    teacher.ask([labeling(seed=1)])
    [refused] = teacher.ask([labeling(seed=2)])
    assert [body["key"] for body in log] == ["sk-very-secret-1234567890"] * 2
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"Where is my parcel?" in written
    assert b"very-secret" not in written
    assert "400" in refused.problems[0]
    assert "very-secret" not in refused.problems[0]


def test_a_missing_api_key_is_told_with_the_name_of_its_variable(monkeypatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    with pytest.raises(InputError, match="the environment variable SHOP_KEY is not set"):
        make_model(ModelSpec(model="openai:gpt-5-mini", api_key_env="SHOP_KEY"))


def test_a_model_without_a_provider_is_told_how_to_write_it() -> None:
    with pytest.raises(InputError, match=r"'gpt-5-mini': expected provider:name, e\.g\. openai:gpt-5-mini"):
        make_model(ModelSpec(model="gpt-5-mini"))


def test_costs_are_known_only_with_both_prices_and_nought_in_rehearsal() -> None:
    assert ModelSpec(model="openai:m", price_prompt=1, price_completion=3).cost(1_000_000, 2_000_000) == 7
    assert ModelSpec(model="openai:m", price_prompt=1).cost(1, 1) is None
    assert ModelSpec(model="rehearsal").cost(1, 1) == 0


def test_the_server_lists_its_model_and_closes_its_port(encoder, shop) -> None:
    from urllib.request import urlopen

    from tutelage.agents.rehearsal.rehearsal import Rehearsal
    from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel

    model = RehearsalModel(rehearsal=Rehearsal(shop("seed"), encoder.encode))
    with serve(model) as url, urlopen(f"{url}/models") as answer:
        assert json.load(answer)["data"][0]["id"] == "rehearsal"
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/models")


def test_every_role_has_a_prompt_and_is_asked_with_it(scripted, teacher_at) -> None:
    url, log = scripted(*[GOOD] * 4)
    teacher = teacher_at(url)
    for role in ROLES:
        teacher.ask([Request(role, {}, FORM, 0)])
    assert len({body["messages"][0]["content"] for body in log}) == 4
