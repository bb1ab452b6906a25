"""The node that ends a run: test opened once, all results written, the student left in its place."""

import json
import shutil
from collections import Counter
from typing import Any

from tutelage.graph.context import Workshop
from tutelage.graph.nodes.refit import refits
from tutelage.graph.report.build import write_report
from tutelage.graph.state import State
from tutelage.graph.students.comparison import compare
from tutelage.graph.students.label_check import suspected_labels, write_labels_to_check
from tutelage.graph.students.predictions import graded
from tutelage.student.corpus import Sample
from tutelage.student.evaluation.evaluate import Report
from tutelage.student.evaluation.overlap import overlap
from tutelage.student.models.load import load_student
from tutelage.student.tasks.fields import split


def report(shop: Workshop, state: State) -> State:
    """Open the test set, once; write run.json, samples.jsonl, the student and report.html."""
    stop = state.get("stop", "")
    result = conclude(shop, state["best"], stop)
    shop.trace.tell(stop=stop, report=str(shop.folder.report))
    return {
        "student": str(shop.folder.student),
        "report": str(shop.folder.report),
        "test": result["metric"] if result else None,
    }


def conclude(shop: Workshop, best: int, stop: str) -> Report | None:
    """Grade the answers on test, write all results, and leave the student in `student/`.

    Returns:
        The test report of the student that the run leaves, or None without a test set.
    """
    folder = shop.folder
    samples = shop.corpus.drafts()
    lines = [_line(shop, sample) for sample in samples]
    folder.write(folder.samples, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    _export(shop, best)
    tests = _tests(shop, best)
    rounds = [line["round"] for line in folder.read_rounds()]
    suspects = suspected_labels(shop, best)
    write_labels_to_check(shop, suspects or [])
    result: dict[str, Any] = {
        "stop": stop,
        "best": best,
        "spent": shop.teacher.journal.spent(),
        "teacher": shop.trace.teacher(),
        "samples": dict(sorted(Counter(sample["status"] for sample in samples).items())),
        "test": tests.get("left"),
        "test_untouched": tests["untouched"]["metric"] if tests else None,
        "test_by_round": [tests[str(round)]["metric"] for round in rounds if str(round) in tests] or None,
        "comparison": compare(shop, best),
        "labels_to_check": None if suspects is None else len(suspects),
        "overlap": _overlaps(shop, [sample["text"] for sample in samples if sample["status"] == "kept"]),
    }
    folder.write_json(folder.run_json, {**folder.about(), **result})
    write_report(folder)
    return tests.get("left")


def _tests(shop: Workshop, best: int) -> dict[str, Report]:
    """The test reports: of the untouched student, of each round's where rounds have one student, and of the
    one that the run leaves (`left`).
    """
    if not shop.splits.test:
        return {}
    found = {"untouched": graded(shop, "untouched", "test")}
    if not shop.splits.folded:
        rounds = [line["round"] for line in shop.folder.read_rounds()]
        found |= {str(round): graded(shop, round, "test") for round in rounds}
    arms = shop.folder.path / "sealed" / "arms.json"
    if arms.exists():
        name = json.loads(arms.read_text(encoding="utf-8"))[-1]["name"]
        return {**found, "left": graded(shop, f"arm-{name}", "test")}
    return {**found, "left": found[str(best)]}


def _overlaps(shop: Workshop, kept: list[str]) -> dict[str, Any]:
    """How far kept texts stand in, or near, held-out sets."""
    held_out = ("test",) if shop.splits.folded else ("gate", "test")
    return {
        exam: overlap(
            kept,
            [row["text"] for row in getattr(shop.splits, exam)],
            shop.encoder,
            shop.task.duplicate_above,
            shop.task.form,
        )
        for exam in held_out
    }


def _line(shop: Workshop, sample: Sample) -> dict[str, object]:
    """A sample as samples.jsonl holds it: text and label as the task's own files do."""
    kind = shop.task.form
    line: dict[str, object] = {**sample, **split(sample["text"], shop.task.fields)}
    if kind.key == "label" or "label" not in sample:
        return line
    names = [name for name in ("label", "answered") if name in line]
    shown: dict[str, object] = {name: kind.filed(str(line.pop(name)), sample["text"]) for name in names}
    return {**line, kind.key: shown.pop("label"), **shown}


def _export(shop: Workshop, best: int) -> None:
    """Write the student whole, then put it in place: `student/` is never half a model."""
    source = shop.folder.refitted if refits(shop) else shop.folder.student_of(best)
    if not source.exists():  # a report cut off after this step, run again
        return
    part = shop.folder.path / "student.part"
    shutil.rmtree(part, ignore_errors=True)
    device = shop.task.student.device
    load_student(source, encoder=shop.student_encoder, device_name=device).export(part)
    shutil.rmtree(shop.folder.student, ignore_errors=True)
    part.replace(shop.folder.student)
    shop.folder.drop_students([])
