"""Runs from Python and notebooks: data, teacher and encoder as objects, and the result as an object."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.graph.review.decisions import waiting_sentence
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Listener
from tutelage.graph.runs.run import resume as resume_run
from tutelage.graph.runs.run import run as start_run
from tutelage.graph.task.data_parts import Data
from tutelage.graph.task.load import load_task, parse_task
from tutelage.graph.task.objects import given_encoder, models_by_name, with_models
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, load_splits
from tutelage.student.data.tables import save_table
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame
    from tutelage.graph.task.objects import Teacher

SETS = tuple(name for name in Data.model_fields if name != "folds")


class Result:
    """What a run has produced so far. In a notebook it shows the run's report."""

    def __init__(self, folder: RunFolder):
        self.folder = folder.path
        self._folder = folder

    def __repr__(self) -> str:
        about = self._folder.about()
        test = about.get("test")
        score = f", {about['task']['metric']} {test['metric']:.3f} on test" if test else ""
        state = about.get("stop") or waiting_sentence(self._folder) or "unfinished"
        return f"Result({str(self.folder)!r}{score}; {state})"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    @cached_property
    def student(self) -> Student:
        """The trained student, with `predict` and, for classifiers, `predict_proba`.

        Raises:
            InputError: the run has no student yet.
        """
        from tutelage.graph.run_folder.folder import student_in
        from tutelage.student.models.load import load_student

        return load_student(student_in(self.folder))

    @property
    def report(self) -> "Report":
        """The report; a notebook shows the page itself."""
        return Report(self._folder.report)

    @property
    def samples(self) -> "Dataset":
        """Every text that was drawn or written, with its label, status and reason."""
        from datasets import Dataset

        rows = self._folder.read_lines(self._folder.samples)
        names = dict.fromkeys(name for row in rows for name in row)
        return Dataset.from_list([{name: row.get(name) for name in names} for row in rows])

    @property
    def rounds(self) -> "DataFrame":
        """A row per round: its scores, cost and samples, as in rounds.jsonl."""
        from pandas import DataFrame

        return DataFrame(self._folder.read_rounds())

    @property
    def about(self) -> dict[str, Any]:
        """The content of run.json: the task and, at the end, `test`, `comparison`, `spent` and `stop`."""
        return self._folder.about()


class Report:
    """A page of a run; a notebook shows it in a frame of its own, because it has styles of its own."""

    def __init__(self, path: Path):
        self.path = path

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r})"

    def _repr_html_(self) -> str:
        from html import escape

        page = escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 800px; border: 0"></iframe>'


def run(
    task: Task | Mapping[str, Any] | Path | str,
    folder: Path | str | None = None,
    *,
    data: Any = None,
    teacher: "Teacher | None" = None,
    encoder: Any = None,
    reuse: Sequence[Path | str] = (),
    listener: Listener | None = None,
) -> Result:
    """Run a task from the beginning to its report. Works inside a running event loop, as in a notebook.

    Args:
        task: a `Task`, its fields as in task.yaml, or the path of a task.yaml.
        folder: the run folder, which must not exist; default `runs/<task>-<date>-<time>`.
        data: tables by the names of `data` in task.yaml (`labelled`, `unlabelled`, `test`, ...), or only the
            labelled table. A table is a pandas DataFrame, a `datasets.Dataset` or a list of dicts, for
            `unlabelled` also a list of texts. It is copied into the run folder. Column names are set in the
            task, as in `{"data": {"labelled": {"text": "body"}}}`.
        teacher: a LangChain chat model for all roles, or models by role; roles without one keep the model
            that the task names. Its cost is known if the task has `price_prompt` and `price_completion`.
            `resume` needs it again.
        encoder: an `Encoder`, or any object whose `encode(list of str)` returns one vector per text; texts
            are compared by it.
        reuse: folders of other runs. Their teachers' replies to identical requests are reused without cost.
        listener: called with every event as it happens (docs/running.md).

    Raises:
        InputError: the task, its data or the folder cannot be used, or the teacher gives no reply.
        Interrupted: the user asked to stop.
    """
    fields, base = _fields(task)
    models = models_by_name(teacher)
    fields = {**fields, "teacher": with_models(fields.get("teacher") or {}, models)} if models else fields
    name = str(fields.get("name", "task"))
    run_folder = RunFolder(folder or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    run_folder.refuse_existing()
    with _tables(run_folder, data) as tables:
        splits, where = None, "task"
        if tables:  # they are read where they were written, and later found in the run folder
            splits = _load_tables(parse_task(_with_tables(fields, tables), where, base), tables)
            inside = {key: run_folder.path.absolute() / path.name for key, path in tables.items()}
            fields = _with_tables(fields, inside)
        done = start_run(
            parse_task(fields, where, base),
            run_folder.path,
            splits=splits,
            models=models,
            encoder=given_encoder(encoder),
            reuse=reuse,
            listener=listener,
        )
    return Result(done)


def resume(
    folder: Path | str,
    *,
    budget: Mapping[str, float | None] | None = None,
    force: bool = False,
    teacher: "Teacher | None" = None,
    encoder: Any = None,
    listener: Listener | None = None,
) -> Result:
    """Continue a run that was stopped or killed, or that ended at a limit which `budget` raises.

    Args:
        folder: the run folder.
        budget: new limits for the whole run, by their names in `task.yaml`: rounds, calls, …
        force: continue with a teacher that is no better than the student it would teach.
        teacher: the models that `run` was given as objects.
        encoder: the encoder that `run` was given as an object.
        listener: called with every event as it happens (docs/running.md).

    Raises:
        InputError: this is not a run folder, its data have changed, a limit is invalid, or an object that
            the run was started with is missing.
        Interrupted: the user asked to stop.
    """
    done = resume_run(
        folder,
        budget=budget,
        force=force,
        models=models_by_name(teacher),
        encoder=given_encoder(encoder),
        listener=listener,
    )
    return Result(done)


def _fields(task: Task | Mapping[str, Any] | Path | str) -> tuple[dict[str, Any], Path]:
    """Return the fields of a task, and the folder that its relative paths start from."""
    if isinstance(task, Mapping):
        return dict(task), Path.cwd()
    made = task if isinstance(task, Task) else load_task(task)
    return made.model_dump(exclude_none=True), Path.cwd()


@contextmanager
def _tables(folder: RunFolder, data: Any) -> Iterator[dict[str, Path]]:
    """Write the tables beside the run folder, which takes them in when it is created. If the run does not
    begin, they are deleted.
    """
    if data is None:
        yield {}
        return
    tables = data if isinstance(data, Mapping) else {"labelled": data}
    if unknown := [name for name in tables if name not in SETS]:
        raise InputError(f"`data`: unknown set {unknown[0]!r}; the sets are {', '.join(SETS)}")
    shutil.rmtree(folder.draft, ignore_errors=True)
    try:
        yield {name: save_table(name, table, folder.draft / f"data-{name}") for name, table in tables.items()}
    finally:
        shutil.rmtree(folder.draft, ignore_errors=True)


def _load_tables(task: Task, tables: Mapping[str, Path]) -> Splits:
    """Load the splits of a task; errors name the tables, not the files that they were copied to."""
    try:
        return load_splits(task)
    except InputError as error:
        message = str(error)
        for name, path in tables.items():
            message = message.replace(str(path), f"the table {name!r}")
        raise InputError(message) from None


def _with_tables(fields: Mapping[str, Any], tables: Mapping[str, Path]) -> dict[str, Any]:
    """Return the fields of a task that reads its sets from these tables."""
    data = dict(fields.get("data") or {})
    for name, path in tables.items():
        columns = data.get(name) if isinstance(data.get(name), Mapping) else {}
        other = ("hub", "path", "config", "revision", "split", "encoding")  # where the set came from before
        kept = {key: value for key, value in (columns or {}).items() if key not in other}
        data[name] = {**kept, "path": str(path)}
    return {**fields, "data": data}
