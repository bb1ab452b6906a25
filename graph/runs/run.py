"""Start, resume and list runs."""

import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.graph.build import wire
from tutelage.graph.context import RunContext, describe_run, open_context
from tutelage.graph.open_runs import OneRun
from tutelage.graph.opening import announce, checked, claim, describe
from tutelage.graph.report.run_entries import RunEntry, run_entries
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.lock import locked
from tutelage.graph.run_folder.trace import Listener, Trace
from tutelage.graph.runs.extend import extend, raise_budget
from tutelage.graph.runs.interrupt import stop_on_interrupt
from tutelage.graph.task.load import load_task, parse_task
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, load_splits
from tutelage.student.encoder import Encoder, GivenEncoder
from tutelage.student.errors import InputError, Interrupted
from tutelage.student.tasks.user_functions import UserFunctionError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_THREAD: Any = {"configurable": {"thread_id": "run"}}
_STEPS = 13  # the largest number of nodes in one round and attempt


def run(
    task: Task | Path | str,
    folder: Path | str | None = None,
    *,
    splits: Splits | None = None,
    models: "Mapping[str, BaseChatModel] | None" = None,
    encoder: Encoder | GivenEncoder | None = None,
    reuse: Sequence[Path | str] = (),
    listener: Listener | None = None,
) -> RunFolder:
    """Run a task from the beginning to its report.

    Args:
        task: a validated task or the path of a task.yaml.
        folder: the run folder, which must not exist; default `runs/<task>-<date>-<time>`.
        splits: the task's splits, if they are already loaded.
        models: chat model objects by the names that stand for them in the task.
        encoder: an encoder to share between runs, so that they share its cache, or one that the user gives.
        reuse: folders of other runs. Their teachers' replies to identical requests are reused without cost,
            and their embeddings if the encoder is the same.
        listener: called with every event as it happens (docs/running.md).

    Raises:
        InputError: the task, its data or the folder cannot be used, or the teacher gives no reply.
        Interrupted: the user asked to stop.
    """
    task = task if isinstance(task, Task) else load_task(task)
    default = Path("runs") / f"{task.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    run_folder = RunFolder(folder or default)
    run_folder.refuse_existing()
    if splits is None:  # otherwise it has the tables that the splits were read from
        shutil.rmtree(run_folder.draft, ignore_errors=True)
        splits = load_splits(task)
    others = [RunFolder(other) for other in reuse]
    for other in others:  # of any version: their replies and embeddings are read, nothing else
        other.require()
    ctx = open_context(
        task, run_folder, splits=splits, encoder=encoder, models=models, reuse=others, listener=listener
    )
    reused = [str(other.path.absolute()) for other in others]
    return _execute(checked(ctx, {**describe(task, splits), "reuse": reused}))


def resume(
    folder: Path | str,
    *,
    budget: Mapping[str, float | None] | None = None,
    force: bool = False,
    models: "Mapping[str, BaseChatModel] | None" = None,
    encoder: Encoder | GivenEncoder | None = None,
    listener: Listener | None = None,
) -> RunFolder:
    """Continue a run that was stopped or killed, or that ended at a limit which `budget` raises.

    Args:
        folder: the run folder.
        budget: new limits for the whole run, by their names in `task.yaml`: rounds, calls, …
        force: continue with a teacher that is no better than the student it would teach.
        models: chat model objects by the names that stand for them in the task.
        encoder: an encoder to share between runs, or the one that the user gave.
        listener: called with every event as it happens (docs/running.md).

    Raises:
        InputError: this is not a run folder, its data have changed, or a limit is invalid.
        Interrupted: the user asked to stop.
    """
    run_folder = RunFolder(folder)
    run_folder.about()
    with locked(run_folder):
        task = raise_budget(run_folder, budget or {}, force=force)
    raised = force or any(limit is not None for limit in (budget or {}).values())
    return _execute(_continued(task, run_folder, encoder, models, listener), raised=raised)


def resume_reviewed(
    folder: Path | str,
    *,
    models: "Mapping[str, BaseChatModel] | None" = None,
    encoder: Encoder | GivenEncoder | None = None,
    listener: Listener | None = None,
) -> RunFolder:
    """Continue a run that waits for a review, with the decisions that are in its folder. Texts without a
    decision are skipped.

    Args:
        folder: the run folder.
        models: chat model objects by the names that stand for them in the task.
        encoder: an encoder to share between runs, or the one that the user gave.
        listener: called with every event as it happens (docs/running.md).

    Raises:
        InputError: this is not a run folder, or its data have changed.
        Interrupted: the user asked to stop.
    """
    run_folder = RunFolder(folder)
    task = parse_task(run_folder.about()["task"], str(run_folder.run_json), run_folder.path)
    return _execute(_continued(task, run_folder, encoder, models, listener), reviewed=True)


def _continued(
    task: Task,
    folder: RunFolder,
    encoder: Encoder | GivenEncoder | None,
    models: "Mapping[str, BaseChatModel] | None",
    listener: Listener | None,
) -> RunContext:
    """Return the context of a run that exists."""
    splits = load_splits(task)
    claim(folder, describe(task, splits))
    others = [RunFolder(path) for path in folder.about().get("reuse", ())]
    for gone in (other for other in others if not other.journal.exists()):
        folder.add_note(f"the replies of {gone.path} are not reused any more: it is gone")
    return open_context(
        task,
        folder,
        splits=splits,
        encoder=encoder,
        models=models,
        reuse=[other for other in others if other.journal.exists()],
        listener=listener,
    )


def list_runs(*roots: Path | str) -> list[RunEntry]:
    """Return one entry for each run folder under the given folders (default `runs`), oldest first.

    Raises:
        InputError: one of the folders does not exist.
    """
    folders: dict[Path, RunFolder] = {}
    for root in map(Path, roots or ("runs",)):
        if not root.is_dir():
            raise InputError(f"the folder {root} does not exist; give a folder that holds run folders")
        folders |= {path.parent: RunFolder(path.parent) for path in root.glob("**/run.json")}
    return run_entries(sorted(folders.values(), key=_begun))


def _begun(folder: RunFolder) -> float:
    """Return the time at which a run was begun, or created if it was killed before its first event."""
    return Trace(folder.trace).begun() or folder.run_json.stat().st_mtime


def _execute(ctx: RunContext, *, raised: bool = False, reviewed: bool = False) -> RunFolder:
    """Work on a run until it ends or waits for a review."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.errors import GraphDrained
    from langgraph.types import Command

    rounds = ctx.task.budget.rounds
    limit = 10 + rounds * _STEPS * (ctx.strategy.attempts + 1)
    about, path = describe_run(ctx.task, ctx.folder), ctx.folder.path
    config = cast(Any, {**_THREAD, "recursion_limit": limit, "metadata": about})
    try:
        with (
            locked(ctx.folder),
            closing(sqlite3.connect(ctx.folder.checkpoints, check_same_thread=False)) as connection,
        ):
            graph = wire(OneRun(ctx), SqliteSaver(connection))
            before = graph.get_state(_THREAD)
            begun = before.created_at is not None  # false if it was killed before its first checkpoint
            if (begun and not (before.next or raised)) or (begun and not extend(ctx, graph, _THREAD)):
                return ctx.folder
            announce(ctx)
            with stop_on_interrupt(ctx) as control:
                waits = reviewed and before.interrupts  # the answer to nothing would answer the next question
                answered: Command[Any] | None = Command(resume=True) if waits else None
                graph.invoke(
                    answered if begun else {"rounds": rounds},
                    config,
                    durability="sync",
                    control=control,
                )
    except (GraphDrained, Interrupted, KeyboardInterrupt):
        raise Interrupted(f"stopped; continue with `tutelage resume {path}`") from None
    except (UserFunctionError, TeacherDownError) as error:
        first = "; correct the function" if isinstance(error, UserFunctionError) else ""
        raise InputError(f"{error}{first}, then `tutelage resume {path}`") from error
    except Exception as error:  # libraries raise types of their own for a full disk
        if not _is_disk_error(error):
            raise
        raise InputError(
            f"{path} cannot be written: {error}; check the disk space and the permissions, then"
            f" `tutelage resume {path}`: the finished work is kept"
        ) from error
    finally:
        ctx.close()
    return ctx.folder


def _is_disk_error(error: Exception) -> bool:
    """Return whether writing failed. Chroma and safetensors raise their own types for a full disk."""
    return isinstance(error, OSError | sqlite3.Error) or type(error).__module__.split(".")[0] in (
        "chromadb",
        "safetensors_rust",
    )
