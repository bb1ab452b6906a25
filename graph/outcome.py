"""The outcome: what a finished run leaves behind, test opened once."""

import json
import shutil
from collections import Counter
from typing import Any

from tutelage.graph.exams import graded
from tutelage.graph.report import write_report
from tutelage.graph.workshop import Workshop
from tutelage.student.corpus import Sample
from tutelage.student.exam import Report
from tutelage.student.fields import split
from tutelage.student.overlap import overlap


def conclude(shop: Workshop, best: int, stop: str) -> Report | None:
    """Grade the test answers of every student, write all results, and leave the best student in `student/`.

    Returns:
        The best student's test report, or None without a test set.
    """
    folder = shop.folder
    samples = shop.corpus.drafts()
    lines = [_line(shop, sample) for sample in samples]
    folder.write(folder.samples, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    _export(shop, best)
    rounds = [line["round"] for line in folder.read_rounds()]
    tests = {round: graded(shop, round, "test") for round in [None, *rounds]} if shop.splits.test else {}
    kept = [sample["text"] for sample in samples if sample["status"] == "kept"]
    result: dict[str, Any] = {
        "stop": stop,
        "best": best,
        "spent": shop.teacher.journal.spent(),
        "teacher": shop.trace.teacher(),
        "samples": dict(sorted(Counter(sample["status"] for sample in samples).items())),
        "test": tests.get(best),
        "test_untouched": tests[None]["metric"] if tests else None,
        "test_by_round": [tests[round]["metric"] for round in rounds] if tests else None,
        "overlap": {
            exam: overlap(
                kept,
                [row["text"] for row in getattr(shop.splits, exam)],
                shop.encoder,
                shop.task.duplicate_above,
                shop.task.form,
            )
            for exam in ("gate", "test")
        },
    }
    folder.write_json(folder.run_json, {**folder.about(), **result})
    write_report(folder)
    return tests.get(best)


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
    """Write the best student whole, then put it in place: `student/` is never half a model."""
    if not shop.folder.student_of(best).exists():  # a report cut off after this step, run again
        return
    part = shop.folder.path / "student.part"
    shutil.rmtree(part, ignore_errors=True)
    shop.student(best).export(part)
    shutil.rmtree(shop.folder.student, ignore_errors=True)
    part.replace(shop.folder.student)
    shop.folder.drop_students([])
