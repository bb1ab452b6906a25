"""The node in which the teacher labels a first set of texts, if the user has labelled none."""

import csv
import io
import json
import random

from tutelage.agents import generator, labeler
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.generator import Evidence
from tutelage.agents.teacher.teacher import Teacher
from tutelage.graph.context import RunContext
from tutelage.graph.requests.generation_requests import apportion, requests_for
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.state import State
from tutelage.graph.students.predictions import predict_untrained
from tutelage.graph.students.self_training import leak_free
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import FIRST_LABELS, fold_rows
from tutelage.student.corpus import Sample, drawn_sample
from tutelage.student.data.rows import Row, to_record
from tutelage.student.selection import Pool, select

TO_CHECK = 50  # rows that a person is asked to check (ours)
MOST = 5_000  # texts of the pool among which the first ones are chosen, as in later rounds (ours)


def first_labels(ctx: RunContext, state: State) -> State:
    """Let the teacher label typical and varied texts of the pool or, without a pool, texts that it writes for
    every label; divide these rows into folds.

    Raises:
        TeacherDownError: too few texts got a label.
    """
    if not ctx.splits.labelled:  # otherwise the run was resumed after the labels were stored
        rows = _labelled(ctx)
        folds = fold_rows(ctx.task, rows, ctx.splits.notes)
        ctx.folder.write_lines(ctx.folder.first_labels, rows)
        ctx.splits.adopt(rows, folds)
    rows = ctx.splits.labelled
    _write_rows_to_check(ctx.task, ctx.folder, rows)
    ctx.corpus.add_rows(rows)
    predict_untrained(ctx)
    scores = "scores out of fold" if ctx.splits.test else "all scores"
    ctx.folder.add_note(
        f"no row was labelled by a person: {scores} are agreement with the teacher, which labelled the"
        f" first {len(rows)} texts, until a person checks the {min(TO_CHECK, len(rows))} rows in"
        f" {ctx.folder.rows_to_check.name}"
    )
    ctx.trace.log(labelled=[row["id"] for row in rows])
    return {}


def _labelled(ctx: RunContext) -> list[Row]:
    """Return the first texts with the teacher's labels."""
    samples = _drawn(ctx) if ctx.splits.unlabelled else _written(ctx)
    seed = random.Random(f"{ctx.task.seed} first labels").randrange(2**30)  # agents count up from it
    votes = ctx.task.teacher.votes
    labelled = labeler.label(
        ctx.teacher, ctx.task.brief(), samples, labeler.LabelerSettings(votes), seed=seed
    )
    rows = [Row(id=s["id"], text=s["text"], label=s["label"]) for s in labelled if "label" in s]
    _check(ctx.teacher, ctx.task, rows, labelled)
    return rows


def _drawn(ctx: RunContext) -> list[Sample]:
    """Return typical and varied texts of the pool without near-duplicates of held-out texts (TypiClust:
    Hacohen et al. 2022, arXiv 2202.02794).
    """
    pool = ctx.splits.unlabelled
    if len(pool) > MOST:
        pool = random.Random(f"{ctx.task.seed} first texts").sample(pool, MOST)
    left = leak_free(ctx.corpus, pool)
    vectors = ctx.encoder.encode([row["text"] for row in left])
    chosen = select("typical", FIRST_LABELS, Pool(vectors=vectors), seed=ctx.task.seed)
    return [drawn_sample(left[i], place=place) for place, i in enumerate(chosen)]


def _written(ctx: RunContext) -> list[Sample]:
    """Return texts that the generator writes from the label descriptions, the same number for every label."""
    labels = [*ctx.task.labels, *ctx.task.type.no_label]
    requests = requests_for("any", apportion(dict.fromkeys(labels, 1.0), FIRST_LABELS))
    seed = random.Random(f"{ctx.task.seed} first texts").randrange(2**30)
    samples = generator.write(ctx.teacher, ctx.task.brief(), requests, Evidence(), seed=seed)
    near = ctx.corpus.neighbours([sample["text"] for sample in samples])
    return [sample for sample, neighbour in zip(samples, near, strict=True) if neighbour is None]


def _check(teacher: Teacher, task: Task, rows: list[Row], labelled: list[Sample]) -> None:
    present = {label for row in rows for label in task.type.labels_in(row["label"])}
    if len(rows) >= 2 * task.fold_count and len(present) >= min(2, task.type.min_labels or 1):
        return
    reason = next((s["reason"] for s in labelled if "label" not in s), "all of them got the same label")
    why = teacher.refusal() or reason
    raise TeacherDownError(
        f"the teacher labelled {len(rows)} of {len(labelled)} first texts, too few to train on ({why}); raise"
        " the budget, or label some rows yourself and set `data.labelled` to their file"
    )


def _write_rows_to_check(task: Task, folder: RunFolder, rows: list[Row]) -> None:
    """Write random rows with the teacher's label and an empty column for the label that a person sets."""
    drawn = random.Random(f"{task.seed} to check").sample(rows, min(TO_CHECK, len(rows)))
    records = [to_record(row["text"], row["label"], task_type=task.type, fields=task.fields) for row in drawn]
    cells = [{key: _cell(value) for key, value in record.items()} for record in records]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*cells[0], "right_label"])
    writer.writeheader()
    writer.writerows({**record, "right_label": ""} for record in cells)
    folder.write(folder.rows_to_check, text.getvalue())


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
