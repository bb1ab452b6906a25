"""The compiled graph as a node of another LangGraph graph."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.context import rehearsal_model
from tutelage.graph.task.samples import sample_task
from tutelage.student.encoder import Encoder

# A parent graph with its own state and checkpointer, in a process that also imports openai-agents.
PARENT = """
import json, os, signal, sqlite3, sys
from typing import TypedDict
import agents
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
import tutelage.agents
from tutelage import build_graph

task, folder, database, die = sys.argv[1:]
assert agents.__file__ != tutelage.agents.__file__ and hasattr(agents, "Runner")

def listener(event):
    if die and [event["event"], event["node"], event["round"]] == ["leave", die, 1]:
        os.kill(os.getpid(), signal.SIGKILL)

class Parent(TypedDict, total=False):
    question: str
    rounds: int
    answer: str
    notes: list[str]

child = build_graph(task, folder, listener=listener)

def ask(state: Parent) -> Parent:
    return {"rounds": 1, "notes": ["asked"]}

def distil(state: Parent) -> Parent:
    result = child.invoke({"rounds": state["rounds"]})
    assert set(result) <= {"student", "report", "metric", "test", "stop"}, result
    return {"answer": f"{result['student']} {result['stop']}"}

graph = StateGraph(Parent)
for node in (ask, distil):
    graph.add_node(node.__name__, node)
graph.add_edge(START, "ask")
graph.add_edge("ask", "distil")
graph.add_edge("distil", END)
compiled = graph.compile(checkpointer=SqliteSaver(sqlite3.connect(database, check_same_thread=False)))
config = {"configurable": {"thread_id": "parent"}, "recursion_limit": 100}
begin = None if compiled.get_state(config).next else {"question": "can a small model do this?"}
inner = [
    name
    for path, part in compiled.stream(begin, config, subgraphs=True, durability="sync")
    if path
    for name in part
]
print(json.dumps({"inner": inner, "state": compiled.get_state(config).values}))
"""


@pytest.mark.slow
def test_a_parent_killed_inside_the_child_resumes_there_without_paying_twice(
    encoder: Encoder, tmp_path: Path
) -> None:
    log: list[dict[str, Any]] = []
    with serve(rehearsal_model(sample_task(), encoder=encoder), log=log) as url:
        task = _task(tmp_path, url)
        run = _parent(task, tmp_path)
        killed = run("labeler")
        assert killed.returncode == -9, killed.stderr[-2000:]
        paid = len(log)
        assert paid > 0
        finished = run("")
    assert finished.returncode == 0, finished.stderr[-2000:]
    output = json.loads(finished.stdout.splitlines()[-1])
    assert "generator" not in output["inner"], "the child resumed inside its round"
    assert output["inner"][:2] == ["labeler", "critic"]
    assert output["inner"][-1] == "report"
    assert output["state"]["answer"] == f"{tmp_path / 'run' / 'student'} 1 round is done"
    assert output["state"]["notes"] == ["asked"], "the child does not repeat the parent's own channels"
    repeated = [n for n in Counter(json.dumps(r, sort_keys=True) for r in log).values() if n > 1]
    assert repeated == []
    assert len(log) > paid


def _task(folder: Path, url: str) -> Path:
    import yaml

    raw = json.loads(sample_task().model_dump_json(exclude_none=True))
    raw |= {
        "student": {"mode": "head"},
        "strategy": {"base": "auto", "agree": False, "samples": 16, "critic": "all"},
    }
    raw["teacher"] = {"model": "openai:rehearsal", "base_url": url}
    (folder / "task.yaml").write_text(yaml.safe_dump(raw))
    return folder / "task.yaml"


def _parent(task: Path, folder: Path) -> Callable[[str], "subprocess.CompletedProcess[str]"]:
    places = [str(task), str(folder / "run"), str(folder / "parent.sqlite")]

    def run(die: str) -> "subprocess.CompletedProcess[str]":
        arguments = [sys.executable, "-c", PARENT, *places, die]
        return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=folder)

    return run
