"""Build the state machine of a run from its nodes and routes."""

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import copy_context
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tutelage.graph import routes
from tutelage.graph.context import RunContext
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
from tutelage.graph.nodes.review import review
from tutelage.graph.nodes.screen import screen
from tutelage.graph.nodes.train import final, train
from tutelage.graph.open_runs import GraphContext, NodeCall, OneRun, OpenRuns, Runs
from tutelage.graph.opening import open_run
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.lock import locked
from tutelage.graph.run_folder.trace import Event, Listener
from tutelage.graph.state import Input, Output, State
from tutelage.graph.task.load import load_task
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import compares_at_random
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    Graph = CompiledStateGraph[State, GraphContext, Input, Output]

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
    "review": review,
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
    "screen": (routes.after_screen, ["review", "labeler"]),
    "review": (routes.after_review, ["labeler", "train"]),
    "critic": (routes.after_critic, ["labeler", "keep"]),
    "keep": (routes.after_keep, ["generator", "pool", "review", "train", "final", "refit", "report"]),
}


def build_graph(
    task: Task | Path | str | None = None,
    folder: Path | str | None = None,
    *,
    checkpointer: "BaseCheckpointSaver[Any] | None" = None,
    listener: Listener | None = None,
) -> "Graph":
    """Return a compiled graph that distils a teacher into a student.

    Without `task` and `folder` it is one graph for many runs: each input names its own task and run folder,
    and LangGraph's runtime context can give models, an encoder and a listener as objects (`GraphContext`).
    With them, it is bound to this run: the input may be empty, and the models are those of the task.

    You can use it in a parent graph: call it in a node function that maps your state to `Input` and `Output`
    to yours. Without a checkpointer it uses the parent's. Run the parent with `durability="sync"`, so that a
    killed process resumes where it stopped. Trace events also come through `stream_mode="custom"`. If the
    folder holds a run of the same task, a new start replays it: no teacher call in its journal is made twice.

    Args:
        task: a checked task or the path of a task.yaml.
        folder: the run folder; created if it does not exist.
        checkpointer: for a run without a parent graph.
        listener: called with every event (docs/running.md), for a graph that is bound to a run.

    Raises:
        InputError: the task or its data cannot be used, or `folder` belongs to another run.
    """
    if task is None and folder is None:
        return wire(OpenRuns(), checkpointer)
    if task is None or folder is None:
        raise InputError("build_graph takes a task and a folder, or neither of them; got one")
    task, run_folder = task if isinstance(task, Task) else load_task(task), RunFolder(folder)
    with locked(run_folder) if run_folder.run_json.exists() else nullcontext():
        prepared = open_run(task, run_folder, listener=listener)
    return wire(OpenRuns(prepared), checkpointer)


def wire(runs: Runs, checkpointer: "BaseCheckpointSaver[Any] | None" = None) -> "Graph":
    """Return the compiled graph, whose nodes find their runs in `runs`."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=GraphContext, input_schema=Input, output_schema=Output)
    for name, node in NODES.items():
        graph.add_node(name, cast(Any, _traced(name, node, runs)))
    graph.add_edge(START, "prepare")
    for path in (("first_labels", "train", "evaluate"), ("generator", "screen"), ("labeler", "critic")):
        for name, following in pairwise(path):
            graph.add_edge(name, following)
    for name, (route, ends) in ROUTES.items():
        graph.add_conditional_edges(name, _bound(route, runs), ends)
    graph.add_edge("final", "evaluate")
    graph.add_edge("refit", "report")
    graph.add_edge("report", END)
    return graph.compile(checkpointer=checkpointer, name="tutelage")


def drawable() -> "Graph":
    """Return the graph without a run; it can be drawn but not invoked."""
    return wire(OneRun(cast(RunContext, None)))


def _traced(name: str, node: Node, runs: Runs) -> Any:
    """Return the node as a function of the state, with its work logged in the trace and streamed."""

    def traced(state: State, runtime: Any) -> State:
        # `analyst` and `final` open the next round: their work belongs to that round.
        round = state.get("round", 0) + (name in ("analyst", "final"))
        with runs.using(_node_call(state, runtime, begins=name == "prepare")) as (ctx, token):
            reserves = name not in BEFORE_AND_AFTER and compares_at_random(ctx.strategy, ctx.splits)
            ctx.teacher.enter(name, round, RANDOM_LABELS if reserves else None)
            with ctx.trace.node(name, round):
                update: State = node(ctx, state)
        if name == "report":
            runs.end(state)
        return {**update, "token": token} if name == "prepare" else update

    return traced


def _node_call(state: State, runtime: Any, *, begins: bool) -> NodeCall:
    """Return the call of a node. A runtime context of another type is that of a parent graph."""
    objects = runtime.context if isinstance(runtime.context, GraphContext) else GraphContext()
    thread = runtime.execution_info.thread_id if runtime.execution_info else None
    return NodeCall(state, objects, thread, _streamed(runtime), begins)


def _streamed(runtime: Any) -> Listener:
    """Return a listener that sends events to LangGraph's custom stream, from any thread."""
    context = copy_context()  # the writer looks the node up in it, and the teacher's calls have other threads

    def send(event: Event) -> None:
        context.copy().run(runtime.stream_writer, event)

    return send


def _bound(route: Any, runs: Runs) -> Callable[[State], str]:
    def bound(state: State) -> str:
        with runs.using(NodeCall(state)) as (ctx, _):
            return str(route(ctx, state))

    bound.__name__ = getattr(route, "__name__", "route")
    return bound
