"""Build the state machine of a run from its nodes and routes."""

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tutelage.graph import routes
from tutelage.graph.context import RunContext, open_context
from tutelage.graph.nodes.analyst import analyst
from tutelage.graph.nodes.calibrate import calibrate
from tutelage.graph.nodes.critic import critic
from tutelage.graph.nodes.evaluate import evaluate
from tutelage.graph.nodes.first_labels import first_labels
from tutelage.graph.nodes.generator import generator
from tutelage.graph.nodes.keep import keep
from tutelage.graph.nodes.labeler import labeler
from tutelage.graph.nodes.pool import pool
from tutelage.graph.nodes.prepare import prepare
from tutelage.graph.nodes.refit import refit
from tutelage.graph.nodes.report import report
from tutelage.graph.nodes.screen import screen
from tutelage.graph.nodes.train import final, train
from tutelage.graph.run_folder.folder import FORMAT, RunFolder
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.state import Input, Output, State
from tutelage.graph.task.load import load_task
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, compares_at_random, load_splits

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

Node = Callable[[RunContext, State], State]
NODES: dict[str, Node] = {
    "prepare": prepare,
    "first_labels": first_labels,
    "train": train,
    "evaluate": evaluate,
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
# For each label that the rounds pay for (in `labeler`), they leave enough for one of a random text (`refit`).
RANDOM_LABELS = ("labeler", "refit")
# Nodes that may spend this reserve.
BEFORE_AND_AFTER = frozenset({"prepare", "first_labels", "calibrate", "refit", "report"})

# The possible successors of each branching node.
ROUTES: dict[str, tuple[Callable[[RunContext, State], str], list[str]]] = {
    "prepare": (routes.after_prepare, ["first_labels", "train"]),
    "evaluate": (routes.after_evaluate, ["calibrate", "analyst", "final", "refit", "report"]),
    "calibrate": (routes.after_calibrate, ["analyst", "final", "refit", "report"]),
    "analyst": (routes.after_analyst, ["generator", "pool"]),
    "pool": (routes.after_pool, ["generator", "screen"]),
    "critic": (routes.after_critic, ["labeler", "keep"]),
    "keep": (routes.after_keep, ["generator", "pool", "train", "final", "refit", "report"]),
}


def build_graph(
    task: Task | Path | str,
    folder: Path | str,
    *,
    checkpointer: "BaseCheckpointSaver[Any] | None" = None,
    listener: Listener | None = None,
) -> "CompiledStateGraph[State, None, Input, Output]":
    """Return a compiled graph that distils `task` into a student under `folder`.

    You can use it in a parent graph: call it in a node function that maps your state to `Input` and `Output`
    to yours. Without a checkpointer it uses the parent's. Run the parent with `durability="sync"`, so that a
    killed process resumes where it stopped. If `folder` holds a run of the same task, a new start replays it:
    no teacher call in its journal is made twice.

    Args:
        task: a checked task or the path of a task.yaml.
        folder: the run folder; created if it does not exist.
        checkpointer: for a run without a parent graph.
        listener: called with every event (docs/running.md).

    Raises:
        InputError: the task or its data cannot be used, or `folder` belongs to another run.
    """
    task = task if isinstance(task, Task) else load_task(task)
    splits = load_splits(task)
    run_folder = RunFolder(folder)
    about = describe(task, splits)  # before `open_context` adds rows that the teacher labelled
    ctx = open_context(task, run_folder, splits=splits, listener=listener)
    ctx.check()
    claim(run_folder, about)
    return wire(ctx, checkpointer)


def wire(
    ctx: RunContext, checkpointer: "BaseCheckpointSaver[Any] | None" = None
) -> "CompiledStateGraph[State, None, Input, Output]":
    """Return the compiled graph of a run."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, input_schema=Input, output_schema=Output)
    for name, node in NODES.items():
        graph.add_node(name, cast(Any, _traced(name, node, ctx)))
    graph.add_edge(START, "prepare")
    for path in (("first_labels", "train", "evaluate"), ("generator", "screen", "labeler", "critic")):
        for name, following in pairwise(path):
            graph.add_edge(name, following)
    for name, (route, ends) in ROUTES.items():
        graph.add_conditional_edges(name, _bound(route, ctx), ends)
    graph.add_edge("final", "evaluate")
    graph.add_edge("refit", "report")
    graph.add_edge("report", END)
    return graph.compile(checkpointer=checkpointer, name="tutelage")


def drawable() -> "CompiledStateGraph[State, None, Input, Output]":
    """Return the graph without a run; it can be drawn but not invoked."""
    return wire(cast(RunContext, None))


def claim(folder: RunFolder, about: dict[str, Any]) -> None:
    """Create the run folder of a task, or check that an existing one belongs to this task.

    Args:
        folder: the run folder.
        about: the description of the task by `describe`.

    Raises:
        InputError: the task, its data or the prompts differ from those of the run in the folder.
    """
    from tutelage.student.errors import InputError

    if not folder.path.exists():
        folder.create(about)
        return
    old = folder.about()
    for what in ("task", "data", "prompts"):
        if old.get(what) != about[what]:
            raise InputError(
                f"the {what} changed after the run in {folder.path} began; undo this or choose another folder"
            )
    now = about["user_functions"]
    if old.get("user_functions", "") != now:  # allowed, because a faulty function may have to be fixed
        folder.write_json(folder.run_json, {**old, "user_functions": now})
        folder.add_note("your user functions were changed after the run was started")


def describe(task: Task, splits: Splits) -> dict[str, Any]:
    """Return the first content of run.json: resolved configuration, data, versions and prompts."""
    import platform
    from importlib.metadata import version

    from tutelage.prompts import digests
    from tutelage.student.tasks.user_functions import digest

    libraries = ("tutelage", "torch", "transformers", "langgraph", "langchain-core", "chromadb")
    return {
        "format": FORMAT,
        "task": task.model_dump(mode="json"),
        "data": {"digest": splits.digest, **splits.sizes()},
        "notes": splits.notes,
        "strategy": asdict(task.resolved_strategy()),
        "prompts": digests(task.brief(), task.prompts),
        "user_functions": digest([task.metric, *task.filters]),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }


def _traced(name: str, node: Node, ctx: RunContext) -> Callable[[State], State]:
    """Return the node as a function of the state, with its work logged in the trace."""

    def traced(state: State) -> State:
        reserves = name not in BEFORE_AND_AFTER and compares_at_random(ctx.strategy, ctx.splits)
        ctx.teacher.enter(name, RANDOM_LABELS if reserves else None)
        # `analyst` and `final` open the next round: their work belongs to that round.
        with ctx.trace.node(name, state.get("round", 0) + (name in ("analyst", "final"))):
            return node(ctx, state)

    return traced


def _bound(route: Any, ctx: RunContext) -> Callable[[State], str]:
    def bound(state: State) -> str:
        return str(route(ctx, state))

    bound.__name__ = getattr(route, "__name__", "route")
    return bound
