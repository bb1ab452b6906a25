"""LangSmith, which LangChain and LangGraph serve by themselves, as it arrives at a local server."""

import json
from collections.abc import Callable
from email import message_from_bytes
from typing import Any

import pytest


@pytest.fixture(scope="module")
def runs(traced: Any) -> dict[str, dict[str, Any]]:
    """Return the runs that LangSmith's server got, by id."""
    found: dict[str, dict[str, Any]] = {}
    for one in traced.langsmith:
        head = f"Content-Type: {one.headers['content-type']}\n\n".encode()
        for part in message_from_bytes(head + one.body).get_payload():
            name = part.get_param("name", header="content-disposition").split(".")
            value = json.loads(part.get_payload(decode=True))
            found.setdefault(name[1], {}).update(value if len(name) == 2 else {name[2]: value})
    return found


def about(run: dict[str, Any]) -> dict[str, Any]:
    return run["extra"]["metadata"]


def test_the_nodes_of_a_run_lie_below_it(traced: Any, runs: dict[str, dict[str, Any]]) -> None:
    [(root, whole)] = [(key, run) for key, run in runs.items() if not run.get("parent_run_id")]
    assert whole["name"] == "tutelage"
    expected = {"tutelage.run": "run", "tutelage.task": "shop", "tutelage.task_type": "classification"}
    assert expected.items() <= about(whole).items()
    entered = [event["node"] for event in traced.events if event["event"] == "enter"]
    nodes = [run for run in runs.values() if run.get("parent_run_id") == root]
    assert [run["name"] for run in sorted(nodes, key=lambda run: run["dotted_order"])] == entered


def test_the_calls_of_a_node_lie_below_it_with_role_round_and_id(
    traced: Any, runs: dict[str, dict[str, Any]]
) -> None:
    calls = {event["call"]: event for event in traced.events if event["event"] == "call"}
    chats = [run for run in runs.values() if run.get("run_type") == "llm"]
    assert len(chats) == len(calls)
    for chat in chats:
        event = calls[about(chat)["call"]]
        assert chat["name"] == event["role"]
        assert event["role"] in chat["tags"]
        assert about(chat)["role"] == event["role"]
        assert about(chat)["round"] == event["round"]
        assert about(chat)["weaknesses"] == event["weaknesses"]
        assert about(chat)["tutelage.run"] == "run"
        assert runs[chat["parent_run_id"]]["name"] == event["node"]


def test_langsmith_gets_prompts_but_no_key_of_the_teacher(
    traced: Any, texts_in: Callable[..., list[str]]
) -> None:
    sent = b"".join(one.body for one in traced.langsmith)
    assert any(text.encode() in sent for text in texts_in(traced)), "this is what LangSmith is for"
    assert b"sk-" not in sent
    assert all("sk-" not in str(one.headers) for one in traced.langsmith)
