"""The results of a run for the terminal: tables and lines of text, or a dictionary for `--json`."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from tutelage.graph.report.comparison_section import HEAD, arm_cells, arm_title, comparison_sentence
from tutelage.graph.report.run_entries import RunEntry
from tutelage.graph.report.run_section import Run, differences, metric_name, metric_title, read_run
from tutelage.graph.report.teacher_section import review_sentence
from tutelage.graph.review.decisions import waiting_sentence, waiting_texts
from tutelage.graph.run_folder.folder import RESULTS, RunFolder, student_name
from tutelage.student.errors import InputError
from tutelage.student.tasks.scoring import ClassReport

ENTRY_NOTE = """The gain is over the better of your labels alone and these with your unlabelled texts, without
a teacher. In parentheses: 95 % intervals. They do not include the variation between training seeds."""
_LONGEST = 60  # characters of a setting that are shown


def results(folder: RunFolder) -> dict[str, Any]:
    """Return the results of a run, with the paths of its main files. Results still to come are None.
    `waiting` is the number of texts that wait for a person before the run goes on.
    """
    about = folder.about()
    paths = {"run": folder.path, "student": folder.student, "report": folder.report}
    values = {key: about.get(key) for key in (*RESULTS, "notes")}
    values["spent"] = read_run(folder).spent
    values["waiting"] = waiting_texts(folder)
    return {**values, **{name: str(path) for name, path in paths.items()}, "rounds": folder.read_rounds()}


def results_text(folder: RunFolder, control: RunFolder | None = None) -> list[Table | str]:
    """Return the results of a run as tables and lines, and what to do next.

    Raises:
        InputError: `control`, the run to compare with, is unfinished.
    """
    about = folder.about()
    if "stop" not in about:
        to_continue = f"This run is unfinished. To continue it: tutelage resume {folder.path}"
        unfinished = waiting_sentence(folder) or to_continue
        return [unfinished, *([f"report: {folder.report}"] if folder.report.exists() else [])]
    parts = result_tables(folder, control)
    if review := about.get("review"):
        parts.append(review_sentence(review))
    if count := about.get("labels_to_check"):
        parts.append(f"labels of yours that look wrong: {count}, listed in {folder.labels_to_check}")
    notes = about["notes"] + (differences(about, control.about()) if control else [])
    parts += [f"note: {note}" for note in notes]
    parts += [f"stopped because {about['stop']}", f"student: {folder.student}"]
    if limit := re.match(r"budget of \S+ (\w+)", about["stop"]):
        parts.append(f"to continue with a higher limit: tutelage resume {folder.path} --{limit[1]} N")
    return [*parts, f"report: {folder.report}"]


def result_tables(folder: RunFolder, control: RunFolder | None = None) -> list[Table | str]:
    """Return a table of the rounds, and one that compares the students with and without teacher labels.

    Raises:
        InputError: `control` is unfinished.
    """
    run = read_run(folder)
    rounds = _round_table(run, read_run(control) if control else None)
    comparison = run.about.get("comparison")
    if not comparison:
        return [rounds]
    return [rounds, _comparison_table(run, comparison), comparison_sentence(run, comparison)]


def entry_tables(entries: Sequence[RunEntry]) -> list[Table | str]:
    """Return the entries of `run_entries` as two tables: scores and cost; state and settings that differ."""
    scores = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("run", ">score", ">gain", ">calls", ">tokens", ">cost"):
        scores.add_column(heading.lstrip(">"), justify="right" if heading[0] == ">" else "left")
    states = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("run", "state", "score on"):
        states.add_column(heading)
    differ = any(entry["settings"] for entry in entries)
    if differ:
        states.add_column("settings that differ")
    for entry in entries:
        scores.add_row(entry["run"], *entry_cells(entry))
        settings = ", ".join(
            f"{name}: {setting_text(value)}" for name, value in entry["settings"].items() if value is not None
        )
        on = _text(entry["measured_on"])
        states.add_row(entry["run"], entry["state"], on, *([settings] if differ else []))
    return [scores, "", states, "", ENTRY_NOTE]


def entry_cells(entry: RunEntry) -> tuple[str, ...]:
    """Return score, gain, calls, tokens and cost of a run as text, `-` for what is not known."""
    low, high, gain = entry["low"], entry["high"], entry["gain"]
    score = "-" if entry["score"] is None else f"{entry['score']:.3f}"
    if low is not None and high is not None:
        score += f" ({low:.2f} to {high:.2f})"
    change = f"{gain[0]:+.3f} ({gain[1]:+.2f} to {gain[2]:+.2f})" if gain else "-"
    cost = "-" if entry["cost"] is None else f"{entry['cost']:,.4g}"
    return (score, change, _text(entry["calls"]), _text(entry["tokens"]), cost)


def setting_text(value: object) -> str:
    """Return the value of a setting as in `task.yaml`; long ones by their beginning."""
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def class_table(classes: Sequence[ClassReport]) -> Table:
    """Return precision, recall and F1 of each label as a table."""
    rows = [(one["label"], one["precision"], one["recall"], one["f1"], one["support"]) for one in classes]
    return text_table(["label", ">precision", ">recall", ">F1", ">support"], rows)


def text_table(head: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """Return a table. A title in `head` that begins with `>` makes a column of numbers, which are aligned
    right. A row without cells draws a line.
    """
    table = Table(title=title)
    for heading in head:
        table.add_column(heading.lstrip(">"), justify="right" if heading[0] == ">" else "left")
    for row in rows:
        if row:
            table.add_row(*map(_text, row))
        else:
            table.add_section()
    return table


def _text(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _round_table(run: Run, control: Run | None) -> Table:
    """Return scores, calls, tokens and samples of each round; with separate sets also a control's scores."""
    if control and "stop" not in control.about:
        path = control.folder.path
        raise InputError(f"the control {path} is unfinished; resume it, or leave out --control")
    runs = [run, control] if control and not run.folded else [run]
    where, set_name = ("out of fold", "diagnose") if run.folded else ("test", "test")
    scores = [f">{where}", *(f">{_control_name(one)}" for one in runs[1:])]
    rows: list[Sequence[object]] = []
    if not run.folded:
        rows.append(("untrained", 0, *(one.about.get("test_untrained") for one in runs)))
    for line in run.rounds:
        name, counts = student_name(line, folded=run.folded), line["refused"].items()
        rows.append(
            (
                name if line["accepted"] else f"{name} (rolled back)",
                line["trained_on"],
                *(one.scores(set_name).get(line["round"]) for one in runs),
                line["teacher_calls"],
                line["prompt_tokens"] + line["completion_tokens"],
                line["samples_kept"],
                ", ".join(f"{count} {status}" for status, count in counts) or "-",
            )
        )
    rows.append(())
    rows += [_total(one, runs) for one in runs]
    head = ["student", ">trained on", *scores, ">teacher calls", ">tokens", ">kept", "refused"]
    return text_table(head, rows, f"{run.about['task']['name']}: {metric_name(run)}, {where}")


def _total(one: Run, runs: Sequence[Run]) -> Sequence[object]:
    """Return the row of totals of one of the runs; with separate sets also its final score on test."""
    name, scores = "total", list[object]([""] * len(runs))
    if not one.folded:
        final = "refitted on all rows" if one.about["strategy"].get("refit") else "best student"
        name = f"{'this run' if one is runs[0] else _control_name(one)}, {final}"
        score = (one.about.get("test") or {}).get("metric")
        scores = [score if other is one else "" for other in runs]
    spent, counts = one.spent, one.status_counts
    tokens, refused = spent["prompt_tokens"] + spent["completion_tokens"], counts.total() - counts["kept"]
    return (name, "", *scores, spent["calls"], tokens, counts["kept"], str(refused))


def _control_name(control: Run) -> str:
    strategy = control.about["strategy"]["name"]
    return "random selection" if strategy == "random" else f"control ({strategy})"


def _comparison_table(run: Run, comparison: dict[str, Any]) -> Table:
    rows = []
    for arm in comparison["arms"]:
        delivered = "  <- the student you get" if arm["delivered"] else ""
        rows.append((f"{arm_title(run, arm)}{delivered}", *arm_cells(arm)))
    metric = metric_title(comparison["metric"])
    title = f"{run.about['task']['name']}: {metric}, {comparison['measured_on']}"
    return text_table([heading.lower() for heading in HEAD], rows, title)
