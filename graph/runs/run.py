"""Runs: start one, resume one, list them."""

import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.graph.build import claim, describe, wire
from tutelage.graph.task.load import load_task
from tutelage.graph.runs.extend import extend, raise_budget
from tutelage.graph.run_folder.folder import RunFolder, rounds_over
from tutelage.graph.task.splits import load_splits
from tutelage.graph.task.schema import Task
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.context import Workshop, open_workshop
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.tasks.user_functions import OwnError

_THREAD: Any = {"configurable": {"thread_id": "run"}}
_STEPS = 12  # at most so many nodes stand in one round and attempt


class Drained(Exception):  # noqa: N818
    """The run stopped after the current step, as asked; it can be resumed."""


def run(
    task: Task | Path | str,
    folder: Path | str | None = None,
    *,
    encoder: Encoder | None = None,
    reuse: Sequence[Path | str] = (),
    listener: Listener | None = None,
) -> RunFolder:
    """Run a task from the beginning to its report.

    Args:
        task: a checked task or the path of a task.yaml.
        folder: the run folder, which must not exist; default `runs/<task>-<date>-<time>`.
        encoder: shared between runs to share its cache.
        reuse: folders of other runs; what their teachers replied to the very same requests is taken
            over and costs nothing.
        listener: gets every trace event as it happens.

    Raises:
        InputError: the task, its data or the folder cannot be used, or the teacher gives no answer.
        Drained: the user asked to stop.
    """
    task = task if isinstance(task, Task) else load_task(task)
    splits = load_splits(task)
    default = Path("runs") / f"{task.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    run_folder = RunFolder(folder or default)
    run_folder.refuse_existing()
    journals = [RunFolder(other).journal for other in reuse]
    for other in reuse:
        RunFolder(other).about()  # before anything is made
    shop = open_workshop(task, run_folder, splits=splits, encoder=encoder, reuse=journals, listener=listener)
    shop.check()
    claim(run_folder, describe(task, splits))
    return _go(shop)


def resume(
    folder: Path | str,
    *,
    budget: Mapping[str, float | None] | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> RunFolder:
    """Go on with a run that was stopped or killed, or that ended for a reason which `budget` removes.

    Args:
        folder: the run folder.
        budget: limits in place of the run's own, by their names in `task.yaml`: rounds, calls, …
        force: go on with a teacher that is no better than the student it would teach.
        listener: gets every trace event as it happens.

    Raises:
        InputError: not a run folder, its data have changed, or a limit is none.
    """
    run_folder = RunFolder(folder)
    run_folder.about()
    with _alone(run_folder):
        task = raise_budget(run_folder, budget or {}, force=force)
    splits = load_splits(task)
    claim(run_folder, describe(task, splits))
    raised = force or any(limit is not None for limit in (budget or {}).values())
    return _go(open_workshop(task, run_folder, splits=splits, listener=listener), raised=raised)


def list_runs(root: Path | str = "runs") -> list[dict[str, Any]]:
    """One entry a run folder under `root`, oldest first: name, path, rounds done, state, the score of the
    last round (on diagnose or, of rows in folds, out of fold), and that on test of the student that was left.
    """
    entries = []
    for path in sorted(Path(root).glob("**/run.json"), key=lambda path: path.stat().st_mtime):
        folder = RunFolder(path.parent)
        about, rounds = folder.about(), folder.read_rounds()
        test = about.get("test")
        entries.append(
            {
                "run": str(folder.path),
                "task": about["task"]["name"],
                "strategy": about["strategy"]["name"],
                "rounds": rounds_over(rounds),
                "last_round": rounds[-1]["metric"] if rounds else None,
                "test": test["metric"] if test else None,
                "state": about.get("stop") or "unfinished",
            }
        )
    return entries


def _go(shop: Workshop, *, raised: bool = False) -> RunFolder:
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.errors import GraphDrained

    rounds = shop.task.budget.rounds
    limit = 10 + rounds * _STEPS * (shop.strategy.attempts + 1)
    place = shop.folder.path
    try:
        with (
            _alone(shop.folder),
            closing(sqlite3.connect(shop.folder.checkpoints, check_same_thread=False)) as connection,
        ):
            graph = wire(shop, SqliteSaver(connection))
            before = graph.get_state(_THREAD)
            begun = before.created_at is not None  # it may have been killed before its first checkpoint
            if (begun and not (before.next or raised)) or (begun and not extend(shop, graph, _THREAD)):
                return shop.folder
            with _drain_on_interrupt() as control:
                graph.invoke(
                    None if begun else {"rounds": rounds},
                    cast(Any, {**_THREAD, "recursion_limit": limit}),
                    durability="sync",
                    control=control,
                )
    except GraphDrained:
        raise Drained(f"stopped; continue with `tutelage resume {place}`") from None
    except (OwnError, TeacherDownError) as error:
        first = "; mend it" if isinstance(error, OwnError) else ""
        raise InputError(f"{error}{first}, then `tutelage resume {place}`") from error
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        raise InputError(
            f"{place} cannot be written: {error}; see to the disk or its permissions, then"
            f" `tutelage resume {place}`: nothing that was done is lost"
        ) from error
    finally:
        shop.close()
    return shop.folder


def _is_of_the_disk(error: Exception) -> bool:
    """Chroma and safetensors have types of their own for a disk that is full or cannot be written."""
    return isinstance(error, OSError | sqlite3.Error) or type(error).__module__.split(".")[0] in (
        "chromadb",
        "safetensors_rust",
    )


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder: two processes would pay twice and mix their samples. Death lets go of it.

    Raises:
        InputError: another process is at work there.
    """
    with closing(sqlite3.connect(folder.lock, timeout=0)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise InputError(f"another process is at work in {folder.path}; wait, or stop it") from None
        yield


@contextmanager
def _drain_on_interrupt() -> Iterator[Any]:
    """The first Ctrl-C stops after the current step, the second at once."""
    import threading

    from langgraph.runtime import RunControl

    control = RunControl()

    def drain(number: int, frame: object) -> None:
        control.request_drain("interrupt")
        print("stopping after this step; Ctrl-C again stops at once", file=sys.stderr)
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield control
        return
    before = signal.signal(signal.SIGINT, drain)
    try:
        yield control
    finally:
        signal.signal(signal.SIGINT, before)
