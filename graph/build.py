"""The state machine, wired."""

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tutelage.graph import routes
from tutelage.graph.context import Workshop, open_workshop
from tutelage.graph.nodes.analyst import analyst
from tutelage.graph.nodes.calibrate import calibrate
from tutelage.graph.nodes.critic import critic
from tutelage.graph.nodes.examine import examine
from tutelage.graph.nodes.final import final
from tutelage.graph.nodes.first_labels import first_labels
from tutelage.graph.nodes.generator import generator
from tutelage.graph.nodes.keep import keep
from tutelage.graph.nodes.labeler import labeler
from tutelage.graph.nodes.pool import pool
from tutelage.graph.nodes.prepare import prepare
from tutelage.graph.nodes.refit import compares_at_random, refit
from tutelage.graph.nodes.report import report
from tutelage.graph.nodes.screen import screen
from tutelage.graph.nodes.train import train
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.state import Input, Output, State
from tutelage.graph.task.load import load_task
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, load_splits

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

Node = Callable[[Workshop, State], State]
NODES: dict[str, Node] = {
    "prepare": prepare,
    "first_labels": first_labels,
    "train": train,
    "examine": examine,
    "calibrate": calibrate,
    "analyst": analyst,
    "generator": generator,
    "pool": pool,
    "screen": screen,
    "labeler": labeler,
    "critic": critic,
    "keep": keep,
    "final": final,
    "refit": refit,
    "report": report,
}
# Nodes that may spend what the rounds hold back for the comparison with random labels.
BEFORE_AND_AFTER = frozenset({"prepare", "first_labels", "calibrate", "refit", "report"})

# Where each branching node may lead.
ROUTES: dict[str, tuple[Callable[[Workshop, State], str], list[str]]] = {
    "prepare": (routes.after_prepare, ["first_labels", "train"]),
    "examine": (routes.after_examine, ["calibrate", "analyst", "final", "refit", "report"]),
    "calibrate": (routes.after_calibrate, ["analyst", "final", "refit", "report"]),
    "analyst": (routes.after_analyst, ["generator", "pool"]),
    "pool": (routes.after_pool, ["generator", "screen"]),
    "critic": (routes.after_critic, ["labeler", "keep"]),
    "keep": (routes.after_keep, ["generator", "pool", "train"]),
}


def build_graph(
    task: Task | Path | str,
    folder: Path | str,
    *,
    checkpointer: "BaseCheckpointSaver[Any] | None" = None,
    listener: Listener | None = None,
) -> "CompiledStateGraph[State, None, Input, Output]":
    """A compiled graph that distils `task` into a student under `folder`.

    It is a node of any parent graph: call it inside a node function that maps your state to `Input`
    and `Output` to yours; without a checkpointer of its own it uses the parent's. Run the parent with
    `durability="sync"`, and a killed process goes on where it was. On a folder that holds a run of this
    very task a new start replays it: no teacher call in its journal is made twice.

    Args:
        task: a checked task or the path of a task.yaml.
        folder: the run folder; made if it is not there.
        checkpointer: of a run of its own.
        listener: gets every trace event.

    Raises:
        InputError: the task or its data cannot be used, or `folder` holds something else.
    """
    task = task if isinstance(task, Task) else load_task(task)
    splits = load_splits(task)
    run_folder = RunFolder(folder)
    about = describe(task, splits)  # before rows that the teacher labelled are taken for the user's
    shop = open_workshop(task, run_folder, splits=splits, listener=listener)
    shop.check()
    claim(run_folder, about)
    return wire(shop, checkpointer)


def wire(
    shop: Workshop, checkpointer: "BaseCheckpointSaver[Any] | None" = None
) -> "CompiledStateGraph[State, None, Input, Output]":
    """The graph on an open workshop."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, input_schema=Input, output_schema=Output)
    for name, node in NODES.items():
        graph.add_node(name, cast(Any, _framed(name, node, shop)))
    graph.add_edge(START, "prepare")
    for path in (("first_labels", "train", "examine"), ("generator", "screen", "labeler", "critic")):
        for name, following in pairwise(path):
            graph.add_edge(name, following)
    for name, (route, ends) in ROUTES.items():
        graph.add_conditional_edges(name, _bound(route, shop), ends)
    graph.add_edge("final", "examine")
    graph.add_edge("refit", "report")
    graph.add_edge("report", END)
    return graph.compile(checkpointer=checkpointer, name="tutelage")


def drawable() -> "CompiledStateGraph[State, None, Input, Output]":
    """The graph without a run: to be drawn, never invoked."""
    return wire(cast(Workshop, None))


def claim(folder: RunFolder, about: dict[str, Any]) -> None:
    """Make a run folder for a task, or see that the one there is this task's.

    Args:
        folder: the run folder.
        about: what `describe` says of the task.

    Raises:
        InputError: it belongs to another task, or the data changed since.
    """
    from tutelage.student.errors import InputError

    if not folder.path.exists():
        folder.create(about)
        return
    old = folder.about()
    for what in ("task", "data", "prompts"):
        if old.get(what) != about[what]:
            raise InputError(
                f"{folder.path} was begun with different {what}; put it back, or choose another folder"
            )
    if old.get("own", "") != about["own"]:  # a faulty one must be mended before a run can go on
        notes = [*old["notes"], "functions of your own were changed after the run was begun"]
        folder.write_json(folder.run_json, {**old, "own": about["own"], "notes": list(dict.fromkeys(notes))})


def describe(task: Task, splits: Splits) -> dict[str, Any]:
    """What run.json says from the start: resolved configuration, data, versions, prompts."""
    import platform
    from importlib.metadata import version

    from tutelage.prompts import digests
    from tutelage.student.tasks.user_functions import digest

    libraries = ("tutelage", "torch", "transformers", "langgraph", "langchain-core", "chromadb")
    return {
        "task": task.model_dump(mode="json"),
        "data": {"digest": splits.digest, **splits.sizes()},
        "notes": splits.notes,
        "strategy": asdict(task.resolved_strategy()),
        "prompts": digests(task.brief(), task.prompts),
        "own": digest([task.metric, *task.filters]),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }


def _framed(name: str, node: Node, shop: Workshop) -> Callable[[State], State]:
    """The node with its trace."""

    def framed(state: State) -> State:
        # Analyst and final student open the next round: their work belongs to that one.
        # What is chosen is compared with as many labels of texts drawn at random, which have to be paid too.
        holds = compares_at_random(shop) and name not in BEFORE_AND_AFTER
        shop.teacher.hold_back("labeler" if holds else None, state.get("before_rounds"))
        with shop.trace.node(name, state.get("round", 0) + (name in ("analyst", "final"))):
            return node(shop, state)

    return framed


def _bound(route: Any, shop: Workshop) -> Callable[[State], str]:
    def bound(state: State) -> str:
        return str(route(shop, state))

    bound.__name__ = getattr(route, "__name__", "route")
    return bound
