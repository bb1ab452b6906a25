"""Open a run: check its models, create or check its folder, and announce it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tutelage.agents.teacher.budget import usage
from tutelage.graph.context import RunContext, open_context
from tutelage.graph.run_folder.folder import FORMAT, RunFolder
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.objects import given_encoder
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, load_splits
from tutelage.student.errors import InputError


def open_run(
    task: Task,
    folder: RunFolder,
    *,
    encoder: Any = None,
    models: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
) -> RunContext:
    """Open a run with its models, and create its folder or check that it is of the same task.

    Raises:
        InputError: the task or its data cannot be used, or the folder belongs to another run.
    """
    splits = load_splits(task)
    about = describe(task, splits)  # before `open_context` adds rows that the teacher labelled
    ctx = open_context(
        task, folder, splits=splits, encoder=given_encoder(encoder), models=models, listener=listener
    )
    return checked(ctx, about)


def announce(ctx: RunContext) -> None:
    """Send the event `begin`: the limits of the run, and what it has spent before it was resumed."""
    spent, budget = ctx.teacher.journal.spent(), ctx.task.spending()
    minutes = ctx.trace.minutes()
    used = {name: value for name, value in usage(spent, minutes).items() if name != "minutes"}
    ctx.trace.emit(
        "begin",
        folder=str(ctx.folder.path),
        task=ctx.task.name,
        strategy=ctx.strategy.name,
        rounds=ctx.task.budget.rounds,
        limits={name: limit for name, limit in asdict(budget).items() if limit is not None},
        spent={**used, "money": spent["cost"]},
        minutes=minutes,
    )


def checked(ctx: RunContext, about: dict[str, Any]) -> RunContext:
    """Return a context after its models and its folder are checked; close it if they cannot be used.

    Raises:
        InputError: as in `RunContext.check` and `claim`.
    """
    try:
        ctx.check()
        claim(ctx.folder, about)
    except BaseException:
        ctx.close()
        raise
    return ctx


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
    # A field that is newer than the run gets its default.
    task = parse_task(old["task"], str(folder.run_json), folder.path)
    then = {**old, "task": task.model_dump(mode="json")}
    for what in ("task", "data", "prompts"):
        if then.get(what) != about[what]:
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
