"""The demo on a sample task with the rehearsal teacher, and the results of a run as a table."""

from pathlib import Path
from typing import Any

from rich.table import Table
from tutelage.graph.report.run_section import named
from tutelage.graph.run_folder.folder import RunFolder, student_name
from tutelage.graph.run_folder.progress import Progress
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import override
from tutelage.graph.task.samples import demo_task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import TaskTypeName
from tutelage.student.tasks.task_type import TASK_TYPES

TO_PREDICT: dict[TaskTypeName, str] = {
    "classification": '"where is my parcel?"',
    "pairs": '"where is my parcel?" "lost or late parcels"',
    "multilabel": '"where is my parcel? And please change my password"',
    "ner": '"Maria ordered a kettle on 3 May"',
    "seq2seq": '"I need it by 3 May 2024"',
}


def run_demo(
    folder: Path, *, kind: TaskTypeName = "classification", student: str = "full", rounds: int = 1
) -> RunFolder:
    """Run the loop on a sample task with few labelled rows and many unlabelled texts, showing progress.

    Args:
        folder: a new folder. The task is written to `task/`, the run to `loop/`.
        kind: the task type; see graph/task/samples.py.
        student: `full` or `head`.
        rounds: the number of rounds of the loop.

    Raises:
        InputError: the folder exists, or the task type has no such student.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already; remove it or choose another folder with --out")
    if student not in TASK_TYPES[kind].student_modes:
        raise InputError(
            f"--kind {kind} has no student {student!r}; use {' or '.join(TASK_TYPES[kind].student_modes)}"
        )
    task = override(demo_task(kind, folder / "task"), rounds=rounds, student=student)
    with Progress("Few labelled rows, many unlabelled texts: which texts are worth labelling?") as progress:
        return run(task, folder / "loop", encoder=Encoder(task.encoder), listener=progress)


def result_table(loop: RunFolder, control: RunFolder | None = None) -> Table:
    """Return a table of a run's rounds: scores (also of a control), calls, tokens and samples.

    Raises:
        InputError: the control is unfinished.
    """
    if "labelled" in loop.about()["data"]:
        return _folded_table(loop)
    about, rounds = loop.about(), loop.read_rounds()
    other, other_rounds = (control.about(), control.read_rounds()) if control else ({}, [])
    table = Table(title=f"{about['task']['name']}: test {named(about['task']['metric'])}")
    for heading in ("student", "trained on", "test"):
        table.add_column(heading, justify="left" if heading == "student" else "right")
    if control:
        table.add_column(_control_name(other), justify="right")
    for heading in ("teacher calls", "tokens", "kept", "refused"):
        table.add_column(heading, justify="left" if heading == "refused" else "right")
    if control and "stop" not in other:
        raise InputError(f"the control {control.path} is unfinished; resume it, or leave out --control")
    tests, other_tests = about.get("test_by_round") or [], other.get("test_by_round") or []
    untrained = [_score(one.get("test_untouched")) for one in ([about, other] if control else [about])]
    table.add_row("untrained", "0", *untrained)
    for i, line in enumerate(rounds):
        name = student_name(line)
        if not line["accepted"]:
            name += " (rolled back)"
        beside = [_score(other_tests[i] if i < len(other_tests) else None)] if control else []
        table.add_row(
            name,
            str(line["trained_on"]),
            _score(tests[i] if i < len(tests) else None),
            *beside,
            str(line["teacher_calls"]),
            f"{line['prompt_tokens'] + line['completion_tokens']:,}",
            str(line["samples_kept"]),
            ", ".join(f"{count} {status}" for status, count in line["refused"].items()) or "-",
        )
    table.add_section()
    final = "refitted on all rows" if about["strategy"].get("refit") else "best student"
    table.add_row(*_totals(f"this run, {final}", about, bool(control)))
    if control:
        final = "refitted" if other["strategy"].get("refit") else "best student"
        kept = sum(line["samples_kept"] for line in other_rounds)
        table.add_row(*_totals(f"{_control_name(other)}, {final}", other, True, kept))
    return table


def _folded_table(loop: RunFolder) -> Table:
    """Return a table of the rounds of a run on folds, with out-of-fold scores."""
    about, rounds = loop.about(), loop.read_rounds()
    table = Table(title=f"{about['task']['name']}: {named(about['task']['metric'])} out of fold")
    for heading in ("round", "trained on", "out of fold", "teacher calls", "tokens", "kept", "refused"):
        table.add_column(heading, justify="left" if heading in ("round", "refused") else "right")
    for line in rounds:
        name = f"round {line['round']}" if line["round"] else "your labels alone"
        table.add_row(
            name if line["accepted"] else f"{name} (rolled back)",
            str(line["trained_on"]),
            _score(line["metric"]),
            str(line["teacher_calls"]),
            f"{line['prompt_tokens'] + line['completion_tokens']:,}",
            str(line["samples_kept"]),
            ", ".join(f"{count} {status}" for status, count in line["refused"].items()) or "-",
        )
    spent, samples = about["spent"], about["samples"]
    refused = sum(count for status, count in samples.items() if status != "kept")
    tokens = f"{spent['prompt_tokens'] + spent['completion_tokens']:,}"
    table.add_section()
    table.add_row("total", "", "", str(spent["calls"]), tokens, str(samples.get("kept", 0)), str(refused))
    return table


def _totals(name: str, about: dict[str, object], with_control: bool, kept: int | None = None) -> list[str]:
    spent, samples, test = about["spent"], about["samples"], about["test"]
    assert isinstance(spent, dict)
    assert isinstance(samples, dict)
    score = _score(test["metric"]) if isinstance(test, dict) else "-"
    scores = ["", score] if kept is not None else [score, ""] if with_control else [score]
    refused = sum(count for status, count in samples.items() if status != "kept")
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    return [name, "", *scores, str(spent["calls"]), f"{tokens:,}", str(samples.get("kept", 0)), str(refused)]


def _control_name(about: dict[str, Any]) -> str:
    strategy = about["strategy"]["name"]
    return "random selection" if strategy == "random" else f"control ({strategy})"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
