"""The demo on a sample task with the rehearsal teacher."""

import shutil
from pathlib import Path

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import override
from tutelage.graph.task.samples import demo_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import TaskTypeName
from tutelage.student.tasks.registry import TASK_TYPES

TITLE = "Few labelled rows, many unlabelled texts: which texts are worth labelling?"


def run_demo(
    folder: Path,
    *,
    kind: TaskTypeName = "classification",
    student: str = "full",
    rounds: int = 1,
    listener: Listener | None = None,
) -> RunFolder:
    """Run the loop on a sample task with few labelled rows and many unlabelled texts.

    Args:
        folder: a new folder. The task is written to `task/`, the run to `loop/`.
        kind: the task type; see graph/task/samples.py.
        student: `full` or `head`.
        rounds: the number of rounds of the loop.
        listener: called with every event as it happens.

    Raises:
        InputError: the folder exists, or the task type has no such student.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already; remove it or choose another folder with --out")
    if student not in (modes := TASK_TYPES[kind].student_modes):
        raise InputError(f"--kind {kind} has no student {student!r}; use {' or '.join(modes)}")
    changes = {"budget": {"rounds": rounds}, "student": {"mode": student}}
    task = override(demo_task(kind, folder / "task"), changes)
    try:
        return run(task, folder / "loop", encoder=Encoder(task.encoder), listener=listener)
    except InputError:
        if not (folder / "loop").exists():  # the run did not begin: the same command can be given again
            shutil.rmtree(folder)
        raise
