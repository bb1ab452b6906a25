"""The node that ends a run: it grades the answers on test, writes all results, and exports the student."""

import json
import shutil
from collections import Counter
from typing import Any

from tutelage.graph.context import RunContext
from tutelage.graph.report.build import write_report
from tutelage.graph.report.embedding_map import embedding_map
from tutelage.graph.review.apply import review_counts
from tutelage.graph.review.decisions import Review
from tutelage.graph.run_folder.folder import write_texts_used
from tutelage.graph.state import State
from tutelage.graph.students.comparison import compare
from tutelage.graph.students.label_check import suspected_labels, write_labels_to_check
from tutelage.graph.students.predictions import evaluation, predictions_on_diagnose
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import refits
from tutelage.student.corpus import Sample
from tutelage.student.evaluation.evaluate import Report
from tutelage.student.evaluation.overlap import overlap
from tutelage.student.tasks.fields import split


def report(ctx: RunContext, state: State) -> State:
    """Grade the stored answers on test; write run.json, samples.jsonl, the student and report.html."""
    stop = state.get("stop", "")
    result = finalize(ctx, state["best"], stop)
    ctx.trace.log(stop=stop, report=str(ctx.folder.report))
    return {
        "student": str(ctx.folder.student),
        "report": str(ctx.folder.report),
        "test": result["metric"] if result else None,
    }


def finalize(ctx: RunContext, best: int, stop: str) -> Report | None:
    """Grade the answers on test, write all results, and export the student to `student/`.

    Returns:
        The delivered student's report on test, or None without a test set.
    """
    folder = ctx.folder
    samples = ctx.corpus.drafts()
    folder.write_lines(folder.samples, [_line(ctx.task, sample) for sample in samples])
    _export(ctx, best)
    tests = _tests(ctx, best)
    rounds = [line["round"] for line in folder.read_rounds()]
    suspects = suspected_labels(ctx.task, ctx.splits, folder, best)
    write_labels_to_check(ctx.task, ctx.splits, folder, suspects or [])
    result: dict[str, Any] = {
        "stop": stop,
        "best": best,
        "spent": ctx.teacher.journal.spent(),
        "teacher": ctx.trace.teacher(),
        "samples": dict(sorted(Counter(sample["status"] for sample in samples).items())),
        "test": tests.get("delivered"),
        "test_untrained": tests["untrained"]["metric"] if tests else None,
        "test_by_round": [tests[str(round)]["metric"] for round in rounds if str(round) in tests] or None,
        "comparison": compare(ctx, best),
        "review": review_counts(decisions.values()) if (decisions := Review(folder).decisions()) else None,
        "labels_to_check": None if suspects is None else len(suspects),
        "overlap": _overlaps(ctx, [sample["text"] for sample in samples if sample["status"] == "kept"]),
    }
    folder.write_json(folder.run_json, {**folder.about(), **result})
    answers = predictions_on_diagnose(folder, ctx.splits, best)
    folder.write_json(folder.map, embedding_map(ctx.task.type, ctx.encoder, answers, samples))
    write_report(folder)
    return tests.get("delivered")


def _tests(ctx: RunContext, best: int) -> dict[str, Report]:
    """Return the reports on test: of the untrained student, of each round if it has a single student, and of
    the delivered student.
    """
    if not ctx.splits.test:
        return {}
    found = {"untrained": evaluation(ctx, "untrained", "test")}
    if not ctx.splits.folded:
        rounds = [line["round"] for line in ctx.folder.read_rounds()]
        found |= {str(round): evaluation(ctx, round, "test") for round in rounds}
    if ctx.folder.arms.exists():
        name = json.loads(ctx.folder.arms.read_text(encoding="utf-8"))[-1]["name"]
        return {**found, "delivered": evaluation(ctx, f"arm-{name}", "test")}
    return {**found, "delivered": found[str(best)]}


def _overlaps(ctx: RunContext, kept: list[str]) -> dict[str, Any]:
    """Return how much the kept texts overlap with each held-out set."""
    held_out = ("test",) if ctx.splits.folded else ("gate", "test")
    return {
        set_name: overlap(
            kept,
            [row["text"] for row in ctx.splits.rows_of(set_name)],
            ctx.encoder,
            ctx.task.duplicate_above,
            ctx.task.type,
        )
        for set_name in held_out
    }


def _line(task: Task, sample: Sample) -> dict[str, object]:
    """Return a sample as a line of samples.jsonl, with text and label in the format of the task's files."""
    task_type = task.type
    line: dict[str, object] = {**sample, **split(sample["text"], task.fields)}
    if task_type.single_label or "label" not in sample:
        return line
    names = [name for name in ("label", "answered", "teacher_label") if name in line]
    shown: dict[str, object] = {
        name: task_type.to_file(str(line.pop(name)), sample["text"]) for name in names
    }
    return {**line, task_type.label_field: shown.pop("label"), **shown}


def _export(ctx: RunContext, best: int) -> None:
    """Write the complete student, then move it into place: `student/` never holds a partial model."""
    source = ctx.folder.refitted if refits(ctx.strategy, ctx.splits) else ctx.folder.student_of(best)
    if not source.exists():  # the process died after this step
        return
    part = ctx.folder.path / "student.part"
    shutil.rmtree(part, ignore_errors=True)
    ctx.students.load(source).export(part)
    sets = (
        ctx.splits.labelled,
        ctx.corpus.drafts(status="kept"),
        ctx.folder.read_lines(ctx.folder.control_labels),
    )
    write_texts_used(part, sorted({row["id"] for rows in sets for row in rows}))
    for measured in (ctx.folder.confidence, ctx.folder.agreement):
        if measured.exists():
            shutil.copy(measured, part / measured.name)
    shutil.rmtree(ctx.folder.student, ignore_errors=True)
    part.replace(ctx.folder.student)
    ctx.folder.drop_students([])
