"""The tools of an agent: what its model can and cannot do, and what only the developer's code can."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tutelage
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from tutelage.graph.run_folder.folder import FORMAT
from tutelage.graph.task.samples import demo_task
from tutelage.graph.tool.job import Job
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import HeadStudent
from tutelage.student.tasks.fields import ONE

Fields = dict[str, Any]
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the demo task, and a link that leads out of it."""
    folder = tmp_path_factory.mktemp("shop")
    demo_task("classification", folder / "data")
    (folder / "secret.jsonl").write_text('{"text": "a secret", "label": "order_status"}\n')
    (folder / "data" / "link.jsonl").symlink_to(folder / "secret.jsonl")
    return folder / "data"


@pytest.fixture
def toolkit(data: Path, tmp_path: Path) -> Make:
    """Return a function that makes the toolkit; keyword arguments replace its settings."""

    def make(**changes: Any) -> Any:
        settings: Fields = {
            "teacher": "openai:gpt-5-mini",
            "budget": {"rounds": 1, "calls": 60},
            "settings": {"student": {"mode": "head"}},
        }
        return tutelage.distill_tool(tmp_path / "runs", data, **{**settings, **changes})

    return make


@pytest.fixture
def words(data: Path) -> Fields:
    """Return the arguments with which a model asks for a classifier."""
    labels = tutelage.load_task(data).labels
    return {
        "name": "Ticket queues!",
        "instruction": "Say which queue the message belongs in.",
        "labels": [{"name": name, "description": text} for name, text in labels.items()],
        "labelled_file": "labelled.jsonl",
        "unlabelled_file": "unlabelled.jsonl",
    }


def call(toolkit: Any, tool: str, **arguments: Any) -> Any:
    """Call a tool as an agent does, and return the message that its model reads."""
    [found] = [one for one in toolkit.get_tools() if one.name == tool]
    return found.invoke({"type": "tool_call", "id": "1", "name": tool, "args": arguments})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"labelled_file": "../secret.jsonl"},
            "'../secret.jsonl' is none of the files that you may use; the",
        ),
        ({"labelled_file": "/etc/passwd"}, "'/etc/passwd' is none of the files"),
        ({"labelled_file": "link.jsonl"}, "'link.jsonl' is none of the files"),
        ({"unlabelled_file": "."}, "'.' is none of the files"),
        (
            {"labelled_file": None, "unlabelled_file": None},
            "give a labelled_file, an unlabelled",
        ),
        ({"text_column": "body"}, "labelled.jsonl line 1: no field 'body', got 'text', 'label'"),
        ({"labels": []}, "invalid arguments: `labels`: List should have at least 2 items"),
        ({"budget": {"calls": 9999}}, "invalid arguments: `budget`: Extra inputs are not permitted"),
        ({"approved": True}, "invalid arguments: `approved`: Extra inputs are not permitted"),
    ],
)
def test_a_model_reads_what_was_wrong_with_its_call(
    changes: Fields, says: str, toolkit: Make, words: Fields, tmp_path: Path
) -> None:
    message = call(toolkit(), "distill_start", **{**words, **changes})
    assert message.status == "error"
    assert message.content.startswith(says)
    assert "secret.jsonl line" not in message.content
    assert str(tmp_path) not in message.content
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("tool", ["distill_status", "distill_predict"])
@pytest.mark.parametrize("run", ["nothing", "../data", ""])
def test_a_run_is_named_by_its_id_only(tool: str, run: str, toolkit: Make) -> None:
    texts = {"texts": ["where is it?"]} if tool == "distill_predict" else {}
    message = call(toolkit(), tool, run_id=run, **texts)
    assert message.status == "error"
    assert message.content == f"there is no run {run!r}; the runs are none yet"


def test_outside_of_langgraph_a_run_waits_for_the_code_of_the_developer(
    toolkit: Make, words: Fields, data: Path, tmp_path: Path
) -> None:
    kit = toolkit(confirm="paid")  # the price of this teacher is known, and not zero
    for _ in range(2):  # however often the model asks
        message = call(kit, "distill_start", **words, max_calls=40)
        found = json.loads(message.content)
        assert found["state"] == "waiting for approval"
    assert str(data) not in message.content
    assert found["plan"]["files"] == {"labelled": "labelled.jsonl", "unlabelled": "unlabelled.jsonl"}
    id, plan = found["run_id"], found["plan"]
    assert id.startswith("ticket-queues-")
    assert plan["limit"] == {"calls": 40}
    assert 0 < plan["calls"][0] < plan["calls"][1]
    assert plan["cost"][1] > 0
    assert kit.waiting() == [plan]
    message = call(kit, "distill_predict", run_id=id, texts=["where is it?"])
    assert message.content == f"{id} has no student yet; ask distill_status when it has finished"
    cheaper = toolkit(budget={"rounds": 1, "calls": 30})
    with pytest.raises(InputError, match="have changed; ask for a new plan"):
        cheaper.approve(id)
    assert sorted(path.name for path in (tmp_path / "runs" / id).iterdir()) == ["plan.json", "request.json"]
    kit.refuse(id)
    assert kit.waiting() == []


def test_a_model_lowers_the_budget_and_never_raises_it(toolkit: Make, words: Fields) -> None:
    found = json.loads(call(toolkit(), "distill_start", **words, max_calls=1000).content)
    assert found["plan"]["limit"] == {"calls": 60}


def test_in_langgraph_a_person_answers_an_interrupt(toolkit: Make, words: Fields, tmp_path: Path) -> None:
    kit = toolkit()
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(kit.get_tools()))
    agent = graph.add_edge(START, "tools").add_edge("tools", END).compile(checkpointer=InMemorySaver())
    asked = AIMessage("", tool_calls=[{"name": "distill_start", "args": words, "id": "1"}])
    for number, answer in enumerate([True, "too dear"]):
        config: Any = {"configurable": {"thread_id": str(number)}}
        [question] = agent.invoke({"messages": [asked]}, config)["__interrupt__"]
        assert question.value["plan"] == kit.waiting()[0]
        result = agent.invoke(Command(resume=answer), config)
        found = json.loads(result["messages"][-1].content)
        assert found["state"] == "refused"  # only the id of this plan starts a run
        assert kit.waiting() == []
    assert "a person refused the plan: too dear" in found["next"]
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_approval_is_for_the_plan_that_was_shown(toolkit: Make, words: Fields, data: Path) -> None:
    """The file changes between the question and the answer."""
    kit, file = toolkit(), data / "changing.jsonl"
    file.write_bytes((data / "unlabelled.jsonl").read_bytes())
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(kit.get_tools()))
    agent = graph.add_edge(START, "tools").add_edge("tools", END).compile(checkpointer=InMemorySaver())
    call = {"name": "distill_start", "args": {**words, "unlabelled_file": file.name}, "id": "1"}
    config: Any = {"configurable": {"thread_id": "1"}}
    [question] = agent.invoke({"messages": [AIMessage("", tool_calls=[call])]}, config)["__interrupt__"]
    with file.open("a") as lines:
        lines.write('{"text": "another text, about something else"}\n')
    id = question.value["plan"]["run_id"]
    found = json.loads(agent.invoke(Command(resume=id), config)["messages"][-1].content)
    assert found["state"] == "not started"
    assert found["run_id"] != id
    assert found["next"].startswith("the files have changed since the plan was made; ask again")
    with pytest.raises(InputError, match="have changed; ask for a new plan"):
        kit.approve(id)


@pytest.mark.parametrize("answers", [("yes", "yes"), ("yes", "too dear")])
def test_each_of_two_parallel_calls_gets_its_own_answer(
    answers: tuple[str, str], toolkit: Make, words: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)  # what starts stops again, and sends nothing
    kit = toolkit()
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(kit.get_tools()))
    agent = graph.add_edge(START, "tools").add_edge("tools", END).compile(checkpointer=InMemorySaver())
    both = [{**words, "name": name} for name in ("one", "two")]
    calls = [{"name": "distill_start", "args": each, "id": each["name"]} for each in both]
    config: Any = {"configurable": {"thread_id": "1"}}
    result = agent.invoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
    given: dict[str, str] = {}
    while questions := result.get("__interrupt__"):
        id = questions[0].value["plan"]["run_id"]
        given.setdefault(id, answers[len(given)])
        result = agent.invoke(Command(resume=id if given[id] == "yes" else given[id]), config)
    found = {one["run_id"]: one for one in (json.loads(x.content) for x in result["messages"][1:])}
    states = {"yes": "at work", "too dear": "refused"}
    assert {id: one["state"] for id, one in found.items()} == {id: states[given[id]] for id in given}
    assert len(given) == 2
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {x for x in given if given[x] == "yes"}
    for lock in tmp_path.glob("runs/*/process.lock"):
        os.kill(int(lock.read_text()), signal.SIGKILL)


def test_an_answer_that_names_another_plan_is_no_refusal(toolkit: Make, words: Fields) -> None:
    kit = toolkit()
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(kit.get_tools()))
    agent = graph.add_edge(START, "tools").add_edge("tools", END).compile(checkpointer=InMemorySaver())
    other = json.loads(call(kit, "distill_start", **{**words, "name": "other"}).content)["run_id"]
    asked = AIMessage("", tool_calls=[{"name": "distill_start", "args": words, "id": "1"}])
    config: Any = {"configurable": {"thread_id": "1"}}
    [question] = agent.invoke({"messages": [asked]}, config)["__interrupt__"]
    for answer in (other, "forgotten-0123abcd"):
        [again] = agent.invoke(Command(resume=answer), config)["__interrupt__"]
        assert again.value == question.value
    assert {plan["run_id"] for plan in kit.waiting()} == {other, question.value["plan"]["run_id"]}
    found = json.loads(agent.invoke(Command(resume="no"), config)["messages"][-1].content)
    assert found["state"] == "refused"
    assert [plan["run_id"] for plan in kit.waiting()] == [other]


def test_a_new_student_of_a_resumed_run_answers(toolkit: Make, words: Fields, encoder: Encoder) -> None:
    kit = toolkit()
    id = json.loads(call(kit, "distill_start", **words).content)["run_id"]
    run = Job(kit._settings.runs, id).run
    run.path.mkdir()
    run.write_json(run.run_json, {"format": FORMAT, "stop": "rounds"})
    weight = np.zeros((2, encoder.dimensions), np.float32)
    for label, bias in (("old", [1, 0]), ("new", [0, 1])):
        HeadStudent(encoder, weight, np.array(bias, np.float32), ["old", "new"], ONE).save(run.student)
        content = call(kit, "distill_predict", run_id=id, texts=["where is it?"]).content
        assert content.startswith("["), content
        [answer] = json.loads(content)
        assert answer["label"] == label


def test_a_run_that_fails_says_why_and_leaves_no_zombie(
    toolkit: Make, words: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    kit = toolkit()
    id = json.loads(call(kit, "distill_start", **words).content)["run_id"]
    assert kit.approve(id)["state"] == "at work"
    assert json.loads(call(kit, "distill_start", **words).content)["state"] == "at work"
    found = json.loads(call(kit, "distill_status", run_id=id, wait_seconds=120).content)
    assert found["state"] == "stopped"
    assert "OPENAI_API_KEY" in found["error"]
    assert "Traceback" not in found["error"]
    assert {**found["arguments"], "text_column": "text", "label_column": "label"} == {
        **words,
        "text_column": "text",
        "label_column": "label",
    }
    assert _zombies() == []
    assert [plan["run_id"] for plan in kit.waiting()] == [id]  # nothing was spent: it is asked for again
    assert json.loads(call(kit, "distill_start", **words).content)["state"] == "waiting for approval"


@pytest.mark.slow
def test_a_free_run_starts_at_once_and_is_stopped_and_continued(
    toolkit: Make, words: Fields, data: Path
) -> None:
    teacher = {"model": "rehearsal", "corpus": str(data / "teacher.jsonl"), "calibrate": 60}
    strategy = {"base": "auto", "samples": 16, "control": False}
    settings = {"student": {"mode": "head"}, "strategy": strategy}
    kit = toolkit(teacher=teacher, settings=settings, confirm="paid")
    id = json.loads(call(kit, "distill_start", **words).content)["run_id"]
    while "spent" not in json.loads(call(kit, "distill_status", run_id=id, wait_seconds=1).content):
        pass  # it loads its libraries
    kit.stop(id)
    stopped = json.loads(call(kit, "distill_status", run_id=id, wait_seconds=120).content)
    assert (stopped["state"], stopped["error"]) == ("stopped", "its process was stopped or killed")
    assert stopped["rounds_done"] == "0 of at most 1"
    assert json.loads(call(kit, "distill_start", **stopped["arguments"]).content)["state"] == "at work"
    found = json.loads(call(kit, "distill_status", run_id=id, wait_seconds=300).content)
    assert found["state"] == "finished"
    assert found["student"] == f"{id}/run/student"
    assert 0 < found["spent"]["calls"] <= 60
    low, high = found["score"]["interval"]
    assert low < found["score"]["value"] < high
    assert "95 % interval" in found["result"]
    assert json.loads(call(kit, "distill_start", **words).content) == found
    texts = ["where is my parcel?", "I was charged twice"]
    answers = json.loads(call(kit, "distill_predict", run_id=id, texts=texts).content)
    assert [one["label"] for one in answers] == ["order_status", "payment_invoice"]
    empty = call(kit, "distill_predict", run_id=id, texts=["where is it?", " "])
    assert empty.content == "text 2 is empty; there is nothing to label in it: remove it"


def _zombies() -> list[str]:
    """Return the zombies among the children of this process, after the time that reaping may take."""
    for _ in range(100):
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it has ended
                continue
            if (state, parent) == ("Z", str(os.getpid())):
                found.append(path.parent.name)
        if not found:
            break
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budget": {"rounds": 2, "minutes": 5}}, "`budget` does not limit what is spent; set one of calls"),
        ({"budget": {"cals": 9}}, "`budget` does not limit what is spent"),
        ({"budget": {"calls": 9, "round": 1}}, "distill_tool: "),
        ({"teacher": "gpt-5"}, "distill_tool: .*expected provider:name"),
        (
            {"settings": {"labels": ["a"]}},
            "`settings`: labels comes from the agent, or is fixed",
        ),
        ({"confirm": "never"}, "`confirm` is 'never', expected 'always' or 'paid'"),
    ],
)
def test_wrong_settings_are_refused_at_once(changes: Fields, says: str, toolkit: Make) -> None:
    with pytest.raises(InputError, match=says):
        toolkit(**changes)
