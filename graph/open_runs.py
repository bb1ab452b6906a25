"""Open the runs of a graph, lock their folders, and close them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from tutelage.graph.context import RunContext
from tutelage.graph.opening import announce, open_run
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.lock import locked
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.state import State
from tutelage.graph.task.load import load_task, parse_task
from tutelage.graph.task.objects import models_by_name, with_models
from tutelage.graph.task.schema import Task
from tutelage.student.errors import InputError


@dataclass(frozen=True)
class GraphContext:
    """LangGraph's runtime context: the objects that a run works with and that no checkpoint holds. A run that
    continues in another process needs them again.

    Attributes:
        teacher: a LangChain chat model for all roles, or models by role, in place of those of the task.
        encoder: an object whose `encode(list of str)` returns one vector per text.
        listener: called with every event (docs/running.md).
    """

    teacher: Any = None
    encoder: Any = None
    listener: Any = None


@dataclass(frozen=True)
class NodeCall:
    """The call of a node, or of a route between two nodes, that needs its run.

    Attributes:
        state: the state of the graph.
        objects: the runtime context of the call. A route has None: it uses the run that the node before it
            has opened.
        thread: the id of LangGraph's thread; None without a checkpointer.
        stream: sends events to LangGraph's custom stream; None in a route.
        begins: whether the node is the first one of a run.
    """

    state: State
    objects: GraphContext | None = None
    thread: str | None = None
    stream: Listener | None = None
    begins: bool = False

    @property
    def listeners(self) -> list[Listener]:
        """The listeners of this call."""
        listener = self.objects.listener if self.objects else None
        return [one for one in (listener, self.stream) if one]


class Runs(Protocol):
    """Gives each node of a graph the run that it works on."""

    def using(self, call: NodeCall) -> AbstractContextManager[tuple[RunContext, str]]:
        """Return a context manager for the run of a node, and the token that its state must hold."""
        ...

    def end(self, state: State) -> None:
        """Close a run that has ended."""
        ...


class OneRun:
    """Gives the nodes of a graph its only run, which the caller has opened and locked, and closes."""

    def __init__(self, ctx: RunContext):
        self._ctx = ctx

    @contextmanager
    def using(self, call: NodeCall) -> Iterator[tuple[RunContext, str]]:
        """Yield the run."""
        with _listening(self._ctx, call):
            yield self._ctx, ""

    def end(self, state: State) -> None:
        """Do nothing."""


@dataclass
class _OpenRun:
    """A run whose files are open and whose folder is locked. Its nodes hold `busy` while they work, and find
    `token` in their state, so that a run which began later in the same folder is not taken for theirs.
    """

    ctx: RunContext
    files: ExitStack
    token: str
    thread: str | None
    objects: GraphContext
    announced: bool = False
    busy: threading.Lock = field(default_factory=threading.Lock)


class OpenRuns:
    """Opens the run of each state when a node needs it, and keeps it open until it ends or a node fails.

    A folder has one run at a time. A run that its caller leaves between two nodes stays open as long as the
    process, or until the same thread, or a caller without a checkpointer, begins again in its folder.

    Args:
        prepared: the run of a graph that is bound to one task; it is opened already, but not locked.
    """

    def __init__(self, prepared: RunContext | None = None):
        self._open: dict[Path, _OpenRun] = {}
        self._opening: dict[Path, threading.Lock] = {}
        self._prepared = prepared
        self._task = prepared.task if prepared else None
        self._folder = prepared.folder.path.absolute() if prepared else None

    @contextmanager
    def using(self, call: NodeCall) -> Iterator[tuple[RunContext, str]]:
        """Yield the run of a node; close it if the node fails.

        Raises:
            InputError: the task or the folder is missing or cannot be used, or another run is using it.
        """
        place = self._place(call.state)
        with self._opening.setdefault(place, threading.Lock()):  # opening may load models: one lock a folder
            run = self._find(call, place)
            if not run.busy.acquire(blocking=False):
                raise InputError(f"another run is using {place}; choose another folder")
        try:
            with _listening(run.ctx, call):
                if not run.announced:
                    run.announced = True
                    announce(run.ctx)
                yield run.ctx, run.token
        except BaseException:
            self._close(place, run)
            raise
        finally:
            run.busy.release()

    def end(self, state: State) -> None:
        """Close the run of a state."""
        place = self._place(state)
        if run := self._open.get(place):
            self._close(place, run)

    def _close(self, place: Path, run: _OpenRun) -> None:
        if self._open.get(place) is run:
            del self._open[place]
        run.files.close()

    def _find(self, call: NodeCall, place: Path) -> _OpenRun:
        run = self._open.get(place)
        if run and call.begins and not run.busy.locked() and run.thread == call.thread:
            self._close(place, run)  # its caller has left it
            run = None
        if run and (call.begins or call.state.get("token") != run.token):
            raise InputError(f"another run is using {place}; choose another folder")
        if run and call.objects and not _same(run.objects, call.objects):
            self._close(place, run)
            run = None
        if not run:
            run = self._open[place] = self._opened(call, place)
        return run

    def _opened(self, call: NodeCall, place: Path) -> _OpenRun:
        folder, objects = RunFolder(place), call.objects or GraphContext()
        if call.begins:
            _check_rounds(call.state)
        token = uuid4().hex if call.begins else call.state.get("token", "")
        known = folder.run_json.exists()  # before that, there is no folder to lock
        with ExitStack() as files:
            if known:
                files.enter_context(locked(folder))
            ctx = self._context(call, folder, objects)
            files.callback(ctx.close)
            if not known:
                files.enter_context(locked(folder))
            return _OpenRun(ctx, files.pop_all(), token, call.thread, objects)

    def _context(self, call: NodeCall, folder: RunFolder, objects: GraphContext) -> RunContext:
        """Return the context of a run that begins, or that continues with the task in its folder."""
        if self._task and not _same(objects, GraphContext()):
            raise InputError(
                "a graph that is bound to a task has the models and the encoder of this task; leave `teacher`"
                " and `encoder` out of the context, or use build_graph() without a task"
            )
        if prepared := self._prepared:
            self._prepared = None
            return prepared
        models = models_by_name(objects.teacher)
        if not call.begins:
            task = parse_task(folder.about()["task"], str(folder.run_json), folder.path)
        elif self._task:
            task = self._task
        else:
            task = _task(call.state.get("task"), models)
        return open_run(task, folder, encoder=objects.encoder, models=models)

    def _place(self, state: State) -> Path:
        if self._folder:
            return self._folder
        if not state.get("folder") or not isinstance(state["folder"], str | Path):
            found = f"got {state['folder']!r}" if state.get("folder") else "it has none"
            raise InputError(f"the graph's input: `folder` names the run folder, such as runs/first; {found}")
        return Path(state["folder"]).absolute()


@contextmanager
def _listening(ctx: RunContext, call: NodeCall) -> Iterator[None]:
    """Send the events of a run also to the listeners of a node."""
    with ExitStack() as attached:
        for listener in call.listeners:
            attached.enter_context(ctx.trace.also_to(listener))
        yield


def _same(one: GraphContext, other: GraphContext) -> bool:
    """Return whether two contexts hold the same model and encoder objects."""
    return one.teacher is other.teacher and one.encoder is other.encoder


def _check_rounds(state: State) -> None:
    rounds: object = state.get("rounds", 0)
    if not isinstance(rounds, int) or rounds < 0:
        raise InputError(f"the graph's input: `rounds` must be a whole number, at least 0; got {rounds!r}")


def _task(task: object, models: Mapping[str, Any]) -> Task:
    """Return a task from the path of its file or from its fields, with the models that replace its own.

    Raises:
        InputError: it is neither, or the task cannot be used.
    """
    if not task or not isinstance(task, str | Path | Mapping):
        found = f"got {task!r}" if task else "it has none"
        raise InputError(f"the graph's input: `task` is the path of a task.yaml or its fields; {found}")
    made = parse_task(dict(task), "task", Path.cwd()) if isinstance(task, Mapping) else load_task(task)
    if not models:
        return made
    fields = made.model_dump(exclude_none=True)
    return parse_task({**fields, "teacher": with_models(fields["teacher"], models)}, "task", Path.cwd())
