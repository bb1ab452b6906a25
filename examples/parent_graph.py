"""An application with a graph of its own, in which the distillation is one step.

    python examples/parent_graph.py

It runs offline: the teacher is the rehearsal teacher, a look-up in labelled texts and not a language model.
A real one, whose calls you pay for:

    OPENAI_API_KEY=... python examples/parent_graph.py --teacher openai:gpt-5-mini

Kill it whenever you like (`kill -9`), and give the same command again: it continues at the step inside the
distillation, and pays for no reply twice.
"""

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from tutelage import Task, build_graph, load_student, load_task
from tutelage.graph.planning.plan import plan
from tutelage.graph.task.samples import demo_task

NEW = ["where is my parcel?", "I was charged twice", "how do I delete my account?"]


class Desk(TypedDict, total=False):
    """The state of the application; it shares no key with the state of the distillation."""

    folder: str
    teacher: dict[str, Any]
    task: dict[str, Any]
    approved: bool
    model: str
    queues: dict[str, str]


def collect(state: Desk) -> Desk:
    """Gather labelled and unlabelled messages, here those of the bundled task, and describe the task."""
    data = Path(state["folder"]) / "data"
    task = load_task(data) if data.exists() else demo_task("classification", data)
    fields = task.model_dump(mode="json", exclude_none=True)
    changes = {
        "student": {"mode": "head"},  # a linear student, which trains in seconds
        "strategy": {"base": "auto", "samples": 16, "control": False},
        "budget": {"rounds": 1, "calls": 60},
        "teacher": state["teacher"] or fields["teacher"],
    }
    return {"task": {**fields, **changes}}


def approve(state: Desk) -> Desk:
    """Let a person decide whether the calls to the teacher are worth it."""
    expected = plan(Task.model_validate(state["task"]))["total"]
    return {"approved": interrupt({"calls": expected["calls"], "cost": expected["cost"]})}


def sort(state: Desk) -> Desk:
    """Sort new messages with the student."""
    predicted = load_student(state["model"]).predict(NEW)
    return {"queues": dict(zip(NEW, predicted.answers, strict=True))}


def application() -> Any:
    """Return the graph of the application."""
    # Compiled once, for any task. It has no checkpointer of its own, so that it uses the parent's.
    distillation = build_graph()

    def distil(state: Desk) -> Desk:
        """Run the distillation, and take from its result what this application needs."""
        result = distillation.invoke({"task": state["task"], "folder": f"{state['folder']}/run"})
        return {"model": result["student"]}

    graph = StateGraph(Desk)
    for node in (collect, approve, distil, sort):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "collect").add_edge("collect", "approve")
    graph.add_conditional_edges("approve", lambda state: "distil" if state["approved"] else END)
    graph.add_edge("distil", "sort").add_edge("sort", END)
    return graph


def answer(question: str) -> str:
    """Ask a person until the answer is yes or no."""
    while (given := input(f"{question} yes or no: ").strip().lower()) not in ("yes", "no"):
        print("please answer yes or no")
    return given


def main() -> None:
    """Run the application until it ends, and ask on the way."""
    options = argparse.ArgumentParser()
    options.add_argument("--teacher", help="such as openai:gpt-5-mini; default: the rehearsal teacher")
    options.add_argument("--base-url", help="the address of a server with OpenAI's protocol")
    options.add_argument("--folder", default="runs/parent-graph", help="where everything is stored")
    given = options.parse_args()
    teacher = {"model": given.teacher, "base_url": given.base_url} if given.teacher else {}
    Path(given.folder).mkdir(parents=True, exist_ok=True)
    config: Any = {"configurable": {"thread_id": "desk"}, "recursion_limit": 100}
    with closing(sqlite3.connect(f"{given.folder}/desk.sqlite", check_same_thread=False)) as database:
        desk = application().compile(checkpointer=SqliteSaver(database))
        begun = desk.get_state(config).values
        step: Any = None if begun else Desk(folder=given.folder, teacher=teacher)
        while True:
            # With "sync", every step is on disk before the next one begins.
            for place, update in desk.stream(step, config, subgraphs=True, durability="sync"):
                print("    distillation:" if place else "application:", *update, flush=True)
            if not (questions := desk.get_state(config).interrupts):
                break
            step = Command(resume=answer(f"Distil with {questions[0].value}?") == "yes")
        if not desk.get_state(config).values.get("approved"):
            print("not approved; begin anew with another --folder")
        for text, queue in desk.get_state(config).values.get("queues", {}).items():
            print(f"{queue:<16} {text}")


if __name__ == "__main__":
    try:
        main()
    except EOFError:
        raise SystemExit("no answer; give the same command again and answer yes or no") from None
