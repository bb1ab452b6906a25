"""One compiled graph for many tasks: sync and async, streamed, stopped and continued, and misused."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from tutelage.graph.build import build_graph
from tutelage.graph.context import rehearsal_model
from tutelage.graph.open_runs import GraphContext
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.lock import locked
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from typing_extensions import TypedDict

Make = Callable[..., Task]
Fields = dict[str, Any]


@pytest.fixture
def fields(folded: Make) -> Fields:
    """Return the fields of a task of one small round with a head student."""
    task = folded(strategy={"base": "auto", "samples": 12, "control": False}, budget={"rounds": 1})
    return dict(json.loads(task.model_dump_json(exclude_none=True)))


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}, "recursion_limit": 100}


def test_one_graph_runs_many_tasks(fields: Fields, encoder: Encoder, tmp_path: Path) -> None:
    """One task is given by its fields, the other by its file and with its teacher as an object."""
    graph = build_graph(checkpointer=InMemorySaver())
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({**fields, "name": "other"}))
    model = rehearsal_model(Task.model_validate(fields), encoder=encoder)
    tasks: dict[str, tuple[Any, Any]] = {"one": (fields, None), "two": (str(tmp_path / "task.yaml"), model)}
    for name, (task, teacher) in tasks.items():
        given = {"task": task, "folder": str(tmp_path / name), "rounds": 1}
        context = GraphContext(teacher=teacher, encoder=encoder)
        result = graph.invoke(given, config(name), context=context)
        assert result["stop"] == "1 round is done"
        assert result["student"] == str(tmp_path / name / "student")
    one, two = (RunFolder(tmp_path / name).about()["task"] for name in tasks)
    assert (one["name"], one["teacher"]["model"]) == (fields["name"], "rehearsal")
    assert (two["name"], two["teacher"]["model"]) == ("other", "python:all:RehearsalModel")


class Parent(TypedDict, total=False):
    folder: str
    student: str


def test_events_stream_from_inside_an_asynchronous_parent(
    fields: Fields, encoder: Encoder, tmp_path: Path
) -> None:
    child, context = build_graph(), GraphContext(encoder=encoder)
    ticks, events = 0, list[tuple[Any, Any]]()

    async def distil(state: Parent) -> Parent:
        result = await child.ainvoke({"task": fields, "folder": state["folder"]}, context=context)
        return {"student": result["student"]}

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def stream() -> Any:
        parent = StateGraph(Parent).add_node("distil", distil)
        parent.add_edge(START, "distil").add_edge("distil", END)
        ticking = asyncio.create_task(tick())
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "parent.sqlite")) as saver:
            compiled = parent.compile(checkpointer=saver)
            given: Parent = {"folder": str(tmp_path / "run")}
            options: Any = {"stream_mode": "custom", "subgraphs": True, "durability": "sync"}
            async for place, event in compiled.astream(given, config("a"), **options):
                events.append((place, event))
            state = await compiled.aget_state(config("a"))
        ticking.cancel()
        return state

    assert asyncio.run(stream()).values["student"] == str(tmp_path / "run" / "student")
    assert ticks > 50, "the event loop goes on while the nodes work"
    assert all(place and place[0].startswith("distil:") for place, _ in events)
    written = [json.loads(line) for line in (tmp_path / "run" / "trace.jsonl").read_text().splitlines()]
    assert events[0][1]["event"] == "begin"
    assert [event for _, event in events if event["event"] not in ("begin", "step")] == written
    assert {"enter", "leave", "call"} <= {event["event"] for event in written}


def test_a_failed_run_is_closed_and_continues_with_the_same_thread(
    fields: Fields, encoder: Encoder, tmp_path: Path
) -> None:
    graph, folder = build_graph(checkpointer=InMemorySaver()), tmp_path / "run"
    entered: list[str] = []

    def listener(event: Any) -> None:
        if event["event"] == "enter":
            entered.append(event["node"])
            if entered.count("labeler") == 1 and event["node"] == "labeler":
                raise RuntimeError("the listener failed")

    context = GraphContext(encoder=encoder, listener=listener)
    given = {"task": fields, "folder": str(folder)}
    with pytest.raises(RuntimeError, match="the listener failed"):
        graph.invoke(given, config("a"), context=context, durability="sync")
    with locked(RunFolder(folder)):  # it is free for another process
        pass
    failed = len(entered)
    result = graph.invoke(None, config("a"), context=context, durability="sync")
    assert entered[failed] == "labeler"
    assert "prepare" not in entered[failed:]
    assert result["stop"] == "1 round is done"


def test_two_runs_at_once_need_two_folders(fields: Fields, encoder: Encoder, tmp_path: Path) -> None:
    graph, waiting, go = build_graph(), threading.Event(), threading.Event()

    def listener(event: Any) -> None:
        if event["event"] == "enter" and event["node"] == "train":
            waiting.set()
            go.wait(60)

    given = {"task": fields, "folder": str(tmp_path / "run")}
    context = GraphContext(encoder=encoder, listener=listener)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(graph.invoke(given, context=context)))
    thread.start()
    try:
        assert waiting.wait(60)
        with pytest.raises(InputError, match=r"another run is using .*run; choose another folder"):
            graph.invoke(given, context=context)
        with pytest.raises(InputError, match=r"another process is using .*run; wait until it ends"):
            build_graph().invoke(given, context=GraphContext(encoder=encoder))
    finally:
        go.set()
        thread.join()
    assert results[0]["stop"] == "1 round is done"


def test_a_run_is_not_mixed_with_one_that_begins_later_in_its_folder(
    fields: Fields, encoder: Encoder, tmp_path: Path
) -> None:
    """The first run stands between two nodes, which a lock of the node at work does not cover."""
    graph, context = build_graph(checkpointer=InMemorySaver()), GraphContext(encoder=encoder)
    given = {"task": fields, "folder": str(tmp_path / "run")}
    first = graph.stream(given, config("first"), context=context, durability="sync")
    next(first)
    with pytest.raises(InputError, match="another run is using"):
        graph.invoke(given, config("second"), context=context)
    with pytest.raises(InputError, match="another process is using"), locked(RunFolder(tmp_path / "run")):
        pass
    again = graph.stream(given, config("first"), context=context, durability="sync")  # the same thread may
    next(again)
    with pytest.raises(InputError, match="another run is using"):
        next(first)


def test_a_bound_graph_locks_its_folder_and_a_continued_run_hears_its_new_listener(
    fields: Fields, encoder: Encoder, tmp_path: Path
) -> None:
    task, folder = Task.model_validate(fields), RunFolder(tmp_path / "run")
    graph, heard = build_graph(task, folder.path, checkpointer=InMemorySaver()), list[str]()
    next(graph.stream({"rounds": 1}, config("a"), durability="sync"))
    with pytest.raises(InputError, match="another process is using"), locked(folder):
        pass
    with pytest.raises(InputError, match="another process is using"):
        build_graph(task, folder.path)
    context = GraphContext(listener=lambda event: heard.append(event["event"]))
    for update in graph.stream(None, config("a"), context=context, durability="sync"):
        if "train" in update:
            break
    assert heard.count("enter") == heard.count("leave") == 1


def test_a_bound_graph_refuses_other_models_than_those_of_its_task(
    fields: Fields, encoder: Encoder, tmp_path: Path
) -> None:
    task = Task.model_validate(fields)
    graph, model = build_graph(task, tmp_path / "run"), rehearsal_model(task, encoder=encoder)
    for context in (GraphContext(teacher=model), GraphContext(encoder=encoder)):
        with pytest.raises(InputError, match="has the models and the encoder of this task; leave `teacher`"):
            graph.invoke({}, context=context)


def test_a_run_whose_models_cannot_be_used_leaves_nothing_open(
    fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    wrong = {**fields, "teacher": {"model": "openai:gpt-5-mini"}}
    graph, given = build_graph(), {"folder": str(tmp_path / "run")}
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        graph.invoke({**given, "task": wrong})
    assert not (tmp_path / "run").exists()
    first = graph.stream({**given, "task": fields})  # the folder is free for a right task
    assert "prepare" in next(first)


PAGE = Path(__file__).parents[2] / "docs" / "embedding.md"


@pytest.mark.slow
@pytest.mark.skipif(not PAGE.exists(), reason="the wheel has no pages")
def test_the_code_of_the_page_runs(
    fields: Fields, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    model = rehearsal_model(Task.model_validate(fields), encoder=encoder)
    names: dict[str, Any] = {"my_chat_model": model, "my_encoder": encoder}
    for block in blocks:
        exec(block, names)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"first", "second"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"folder": "run"}, "`task` is the path of a task.yaml or its fields; it has none"),
        ({"folder": "run", "task": 3}, "`task` is the path of a task.yaml or its fields; got 3"),
        ({"task": "nowhere.yaml"}, "`folder` names the run folder, such as runs/first; it has none"),
        ({"task": "a.yaml", "folder": 3}, "`folder` names the run folder, such as runs/first; got 3"),
        (
            {"task": "a.yaml", "folder": "run", "rounds": "two"},
            "`rounds` must be a whole number, at least 0; got 'two'",
        ),
        ({"task": "nowhere.yaml", "folder": "run"}, "nowhere.yaml does not exist"),
        ({"task": {"name": "x"}, "folder": "run"}, "task: "),
    ],
)
def test_a_wrong_input_is_refused_in_one_line(
    given: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        build_graph().invoke(given)
    assert not list(tmp_path.iterdir())


def test_a_graph_is_bound_to_a_task_and_a_folder_or_to_neither(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes a task and a folder, or neither of them; got one"):
        build_graph("task.yaml")
