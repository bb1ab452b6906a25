"""Open the runs that a graph works on: which run a state belongs to, and what the run was given."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tutelage.graph.context import RunContext, open_context
from tutelage.graph.run_folder.folder import FORMAT, RunFolder
from tutelage.graph.run_folder.lock import locked
from tutelage.graph.state import State
from tutelage.graph.task.load import load_task, parse_task
from tutelage.graph.task.objects import given_encoder, models_by_name, with_models
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, load_splits
from tutelage.student.errors import InputError


@dataclass(frozen=True)
class GraphContext:
    """LangGraph's runtime context of a run: objects that are given to it and that no checkpoint holds. A run
    that continues in another process needs them again.

    Attributes:
        teacher: a LangChain chat model for all roles, or models by role, in place of those of the task.
        encoder: an object whose `encode(list of str)` returns one vector per text.
        listener: called with every trace event.
    """

    teacher: Any = None
    encoder: Any = None
    listener: Any = None


class Runs(Protocol):
    """Where the nodes of a graph find their run."""

    def using(self, state: State, given: GraphContext, *, begins: bool) -> Any:
        """Return a context manager for the run of a state; `begins` at the first node of a run."""
        ...

    def end(self, state: State) -> None:
        """Close the run of a state, which has ended."""
        ...


class OneRun:
    """The only run of a graph that is bound to a task; whoever opened it closes it."""

    def __init__(self, ctx: RunContext):
        self._ctx = ctx

    @contextmanager
    def using(self, state: State, given: GraphContext, *, begins: bool) -> Iterator[RunContext]:
        """Yield the run."""
        yield self._ctx

    def end(self, state: State) -> None:
        """Do nothing."""


@dataclass
class _OpenRun:
    """A run whose files are open. `busy` is held while a node works on it."""

    ctx: RunContext
    files: ExitStack
    busy: threading.Lock = field(default_factory=threading.Lock)


class OpenRuns:
    """The runs of a graph for many tasks, by run folder.

    A run is opened, and its folder locked, at the first node that needs it. It stays open until it ends or a
    node fails or interrupts. A run that its caller abandons between two nodes stays open as long as the
    process, or until a run begins in the same folder.
    """

    def __init__(self) -> None:
        self._open: dict[Path, _OpenRun] = {}
        self._opening = threading.Lock()

    @contextmanager
    def using(self, state: State, given: GraphContext, *, begins: bool) -> Iterator[RunContext]:
        """Yield the run of a state; open it if it is not open, and close it if an error leaves the block.

        Raises:
            InputError: the task or the folder is missing or cannot be used, or another run is using it.
        """
        with self._opening:
            run = self._find(state, given, begins=begins)
            if not run.busy.acquire(blocking=False):
                raise InputError(f"another run is using {run.ctx.folder.path}; choose another folder")
        try:
            yield run.ctx
        except BaseException:
            self.end(state)
            raise
        finally:
            run.busy.release()

    def end(self, state: State) -> None:
        """Close the run of a state."""
        if run := self._open.pop(_place(state), None):
            run.files.close()

    def _find(self, state: State, given: GraphContext, *, begins: bool) -> _OpenRun:
        place = _place(state)
        known = self._open.get(place)
        if known and begins and not known.busy.locked():  # its caller has abandoned it
            self.end(state)
        if place not in self._open:
            files = ExitStack()
            try:
                ctx = begin(state, given) if begins else reopen(state, given)
                files.callback(ctx.close)
                files.enter_context(locked(ctx.folder))
            except BaseException:
                files.close()
                raise
            self._open[place] = _OpenRun(ctx, files)
        return self._open[place]


def begin(state: State, given: GraphContext) -> RunContext:
    """Open the run that a graph's input names, and create its folder or check that it is of the same task.

    Raises:
        InputError: the task or its data cannot be used, or the folder belongs to another run.
    """
    if not state.get("task"):
        raise InputError("the graph's input has no `task`; give the path of a task.yaml, or its fields")
    models = models_by_name(given.teacher)
    task = _task(state["task"], models)
    return open_run(task, _place(state), given, models=models)


def reopen(state: State, given: GraphContext) -> RunContext:
    """Open a run that continues, in this process or in another one, with the task in its folder.

    Raises:
        InputError: the folder holds no run, its data have changed, or an object that it was given is missing.
    """
    folder = RunFolder(_place(state))
    task = parse_task(folder.about()["task"], str(folder.run_json), folder.path)
    return open_run(task, folder.path, given, models=models_by_name(given.teacher))


def open_run(
    task: Task, folder: Path | str, given: GraphContext, *, models: Mapping[str, Any] | None = None
) -> RunContext:
    """Open a run with its models, and create its folder or check that it is of the same task.

    Raises:
        InputError: the task or its data cannot be used, or the folder belongs to another run.
    """
    splits, run_folder = load_splits(task), RunFolder(folder)
    about = describe(task, splits)  # before `open_context` adds rows that the teacher labelled
    ctx = open_context(
        task,
        run_folder,
        splits=splits,
        encoder=given_encoder(given.encoder),
        models=models,
        listener=given.listener,
    )
    ctx.check()
    claim(run_folder, about)
    return ctx


def _place(state: State) -> Path:
    if not state.get("folder"):
        raise InputError("the graph's input has no `folder`; name the run folder, such as runs/first")
    return Path(state["folder"]).absolute()


def _task(task: str | Mapping[str, Any], models: Mapping[str, Any]) -> Task:
    """Return a task from the path of its file or from its fields, with the models that replace its own."""
    made = parse_task(dict(task), "task", Path.cwd()) if isinstance(task, Mapping) else load_task(task)
    if not models:
        return made
    fields = made.model_dump(exclude_none=True)
    return parse_task({**fields, "teacher": with_models(fields["teacher"], models)}, "task", Path.cwd())


def claim(folder: RunFolder, about: dict[str, Any]) -> None:
    """Create the run folder of a task, or check that an existing one belongs to this task.

    Args:
        folder: the run folder.
        about: the description of the task by `describe`.

    Raises:
        InputError: the task, its data or the prompts differ from those of the run in the folder.
    """
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
