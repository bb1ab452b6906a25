"""Test that calls of a teacher go over HTTP and are journalled, and how failures are reported."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.prompts import ROLES, read_payload
from tutelage.student.errors import InputError, Interrupted

SCHEMA = labels_schema(("order_status", "return_refund"))
GOOD = '{"labels": [{"id": "1", "reason": "r", "label": "order_status", "confidence": 0.5}]}'


def labeling(text: str = "Where is my parcel?", seed: int = 0) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    return Request(
        "labeler", {"task": "", "labels": labels, "texts": [{"id": "1", "text": text}]}, SCHEMA, seed
    )


def unknown() -> Request:
    """Return a request that the rehearsal server answers with status 400."""
    return Request("labeler", {"task": "", "labels": {}}, SCHEMA, 0)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_call_over_http_returns_items(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    [reply] = teacher_at(url).ask([labeling()])
    assert [item.id for item in reply.items] == ["1"]
    assert reply.items[0].label in ("order_status", "return_refund")
    assert reply.problems == []
    assert len(log) == 1


def test_replies_are_in_the_order_of_the_requests(rehearsal, teacher_at, shop) -> None:
    rows = [row for row in shop("teacher") if row["label"] in ("order_status", "return_refund")][:30]
    replies = teacher_at(rehearsal[0]).ask([labeling(row["text"]) for row in rows])
    assert [reply.items[0].label for reply in replies] == [row["label"] for row in rows]


def test_no_requests_make_no_call(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    assert teacher_at(url).ask([]) == []
    assert log == []


def test_a_stopped_teacher_sends_no_further_calls_and_a_new_one_repeats_none(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    requests = [labeling(seed=seed) for seed in range(5)]
    teacher = teacher_at(url, limits=Limits(concurrency=1), on_call=lambda event: teacher.stop())
    with pytest.raises(Interrupted):
        teacher.ask(requests)
    assert (len(log), teacher.journal.spent()["calls"]) == (1, 1), "the call in flight is stored"
    assert [len(reply.items) for reply in teacher_at(url).ask(requests)] == [1] * 5
    assert len(log) == 5


def test_a_call_sends_the_schema_the_seed_and_two_messages(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    teacher_at(url).ask([labeling(seed=41)])
    [body] = log
    assert (body["model"], body["seed"]) == ("rehearsal", 41)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Labels", "schema": SCHEMA.json_schema, "strict": True},
    }
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert read_payload(body["messages"][1]["content"]) == labeling().payload
    assert "temperature" not in body


@pytest.mark.parametrize(("structured", "sent"), [("json_mode", {"type": "json_object"}), ("text", None)])
def test_servers_without_schema_support_get_a_format_they_support(
    rehearsal, teacher_at, structured, sent
) -> None:
    url, log = rehearsal
    [reply] = teacher_at(url, structured=structured, temperature=0.25).ask([labeling()])
    assert reply.items
    assert log[0].get("response_format") == sent
    assert log[0]["temperature"] == 0.25


def test_the_same_call_by_a_second_teacher_is_replayed_from_the_journal(rehearsal, teacher_at) -> None:
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


def test_an_unreachable_server_is_reported_with_its_url_and_what_to_do(closed_port: int, teacher_at) -> None:
    url = f"http://127.0.0.1:{closed_port}/v1"
    with pytest.raises(TeacherDownError, match=f"openai:rehearsal at {url} gave no answer") as caught:
        teacher_at(url, limits=Limits(patience=0.2)).ask([labeling()])
    assert "failures in a row" in str(caught.value)
    assert "Connect call failed" in str(caught.value)
    assert "`tutelage doctor`" in str(caught.value)
    assert isinstance(caught.value, InputError)


def test_a_server_that_refuses_every_call_is_reported_with_its_reason(rehearsal, teacher_at) -> None:
    with pytest.raises(TeacherDownError, match="no role has a payload of"):
        teacher_at(rehearsal[0]).ask([unknown()])


def test_only_the_refused_call_is_set_aside_while_others_are_answered(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    events: list[dict[str, object]] = []
    teacher = teacher_at(url, on_call=events.append)
    first, second, third = teacher.ask([labeling(seed=1), unknown(), labeling(seed=2)])
    assert first.items == third.items != []
    assert second.items == []
    assert second.problems[0].startswith("refused: BadRequestError")
    assert len(log) == 3, "what was answered before in this form is not asked in another"
    assert [event for event in events if "refused" in event] == [
        {
            "role": "labeler",
            "model": "openai:rehearsal",
            "refused": second.problems[0],
            "over_budget": False,
        }
    ]


def test_replies_received_before_a_failure_are_in_the_journal(
    rehearsal, closed_port: int, teacher_at
) -> None:
    url, log = rehearsal
    teacher = teacher_at(url, limits=Limits(patience=0.2))
    nowhere = ModelSpec(model="openai:other", base_url=f"http://127.0.0.1:{closed_port}/v1")
    teacher.specs = {**teacher.specs, "critic": nowhere}
    with pytest.raises(TeacherDownError):
        teacher.ask([labeling(seed=1), Request("critic", {}, SCHEMA, 0), labeling(seed=2)])
    assert teacher.journal.spent()["calls"] == 2
    teacher.ask([labeling(seed=1), labeling(seed=2)])
    assert len(log) == 2


def test_two_teachers_work_in_one_process(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    first, second = teacher_at(url), teacher_at(url, journal="other.sqlite")
    for number, teacher in enumerate((first, second, first, second)):
        assert teacher.ask([labeling(seed=number)])[0].items
    assert len(log) == 4


def test_a_new_teacher_works_after_another_was_closed(rehearsal, teacher_at) -> None:
    url, log = rehearsal
    for number in range(3):
        teacher = teacher_at(url)
        assert teacher.ask([labeling(seed=number)])[0].items
        teacher.close()
    assert len(log) == 3


def test_a_teacher_can_be_called_inside_a_running_event_loop(rehearsal, teacher_at) -> None:
    teacher = teacher_at(rehearsal[0])

    async def main() -> list[int]:
        return [len(teacher.ask([labeling(seed=seed)])[0].items) for seed in range(3)]

    assert asyncio.run(main()) == [1, 1, 1]
    assert asyncio.run(main()) == [1, 1, 1]


def test_each_role_can_have_its_own_model(scripted, rehearsal, teacher_at) -> None:
    url, log = scripted(GOOD)
    teacher = teacher_at(rehearsal[0])
    teacher.specs = {**teacher.specs, "labeler": ModelSpec(model="openai:other", base_url=url)}
    teacher.ask([labeling()])
    assert [body["model"] for body in log] == ["other"]
    assert rehearsal[1] == []


def test_a_prompt_of_the_user_replaces_the_built_in_prompt(scripted, teacher_at, tmp_path: Path) -> None:
    (tmp_path / "labeler.md").write_text("My own words.\n---\n$payload")
    url, log = scripted(GOOD)
    teacher_at(url, overlay=tmp_path).ask([labeling()])
    assert log[0]["messages"][0]["content"] == "My own words."


def test_the_api_key_is_sent_but_not_written_to_disk(
    scripted, teacher_at, tmp_path: Path, monkeypatch
) -> None:
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


def test_a_missing_api_key_is_reported_with_its_environment_variable(monkeypatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    with pytest.raises(InputError, match="the environment variable SHOP_KEY is not set"):
        make_model(ModelSpec(model="openai:gpt-5-mini", api_key_env="SHOP_KEY"))


def test_a_model_name_without_a_provider_is_refused_with_an_example() -> None:
    with pytest.raises(InputError, match=r"'gpt-5-mini': expected provider:name, e\.g\. openai:gpt-5-mini"):
        make_model(ModelSpec(model="gpt-5-mini"))


def test_costs_need_both_prices_and_are_zero_for_the_rehearsal_teacher() -> None:
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


def test_every_role_has_its_own_prompt(scripted, teacher_at) -> None:
    url, log = scripted(*[GOOD] * 4)
    teacher = teacher_at(url)
    for role in ROLES:
        teacher.ask([Request(role, {}, SCHEMA, 0)])
    assert len({body["messages"][0]["content"] for body in log}) == 4
