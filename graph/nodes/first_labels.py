"""The node that has the teacher label a first set of texts, where the user has labelled none."""

import csv
import io
import json
import random

from tutelage.agents import generator, labeler
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.generator import Request
from tutelage.graph.context import Workshop
from tutelage.graph.nodes.train import answer_untouched
from tutelage.graph.requests.generation_requests import apportion
from tutelage.graph.state import State
from tutelage.graph.students.self_training import leak_free
from tutelage.graph.task.splits import FIRST_LABELS, fold_rows
from tutelage.student.corpus import Sample, drawn_sample
from tutelage.student.data.rows import Row, filed
from tutelage.student.selection import select
from tutelage.student.tasks import Kind

TO_CHECK = 50  # rows that a person is asked to check (ours)


def first_labels(shop: Workshop, state: State) -> State:
    """Have the teacher label typical and varied texts of the pool or, without one, write texts for every
    label and label them blind; make the folds of these rows.

    Raises:
        TeacherDownError: too few of them got a label to go on.
    """
    if not shop.splits.labelled:  # else the run was resumed after they were stored
        rows = _labelled(shop)
        folds = fold_rows(shop.task, rows, shop.splits.notes)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        shop.folder.write(shop.folder.first_labels, lines)
        shop.splits.adopt(rows, folds)
    rows = shop.splits.labelled
    _write_rows_to_check(shop, rows)
    shop.corpus.plant(rows)
    answer_untouched(shop)
    _note(shop, len(rows))
    shop.trace.tell(labelled=[row["id"] for row in rows])
    return {}


def _labelled(shop: Workshop) -> list[Row]:
    """Return the first texts with the teacher's labels."""
    samples = _drawn(shop) if shop.splits.unlabelled else _written(shop)
    seed = random.Random(f"{shop.task.seed} first labels").randrange(2**30)  # agents count on from it
    votes = shop.task.teacher.votes
    labelled = labeler.label(shop.teacher, shop.task.brief(), samples, seed=seed, votes=votes)
    rows = [Row(id=s["id"], text=s["text"], label=s["label"]) for s in labelled if "label" in s]
    _check(shop, rows, labelled)
    return rows


def _drawn(shop: Workshop) -> list[Sample]:
    """Return typical and varied texts of the pool, none near to a held-out one (TypiClust: Hacohen et al.
    2022, arXiv 2202.02794).
    """
    left = leak_free(shop, shop.splits.unlabelled)
    vectors = shop.encoder.encode([row["text"] for row in left])
    chosen = select("typical", FIRST_LABELS, [], vectors, seed=shop.task.seed)
    return [drawn_sample(left[i], place=place) for place, i in enumerate(chosen)]


def _written(shop: Workshop) -> list[Sample]:
    """Return texts that the generator writes from the labels' descriptions, as many for every label."""
    ordered = [*shop.task.labels, *shop.task.form.bare]
    shares = apportion(dict.fromkeys(ordered, 1.0), FIRST_LABELS)
    requests = [
        Request(label=label, kind="any", count=count, weakness="") for label, count in shares.items() if count
    ]
    seed = random.Random(f"{shop.task.seed} first texts").randrange(2**30)
    samples = generator.write(
        shop.teacher, shop.task.brief(), requests, [], [], [], round=0, attempt=0, seed=seed
    )
    near = shop.corpus.neighbours([sample["text"] for sample in samples])
    return [sample for sample, neighbour in zip(samples, near, strict=True) if neighbour is None]


def _check(shop: Workshop, rows: list[Row], labelled: list[Sample]) -> None:
    present = {label for row in rows for label in shop.task.form.groups(row["label"])}
    enough = len(rows) >= 2 * shop.task.fold_count and len(present) >= min(2, shop.task.form.fewest or 1)
    if enough:
        return
    reason = next((s["reason"] for s in labelled if "label" not in s), "it gave them all one label")
    why = shop.teacher.refusal() or reason
    raise TeacherDownError(
        f"the teacher labelled {len(rows)} of {len(labelled)} first texts, too few to train on ({why}); raise"
        " the budget, or label some rows yourself and name them in `data.labelled`"
    )


def _note(shop: Workshop, count: int) -> None:
    """Say in run.json what the scores of such a run are."""
    about = shop.folder.about()
    scores = "scores out of fold" if shop.splits.test else "all scores"
    note = (
        f"no row was labelled by a person: {scores} are agreement with the teacher, which labelled the"
        f" first {count} texts, until somebody checks the {min(TO_CHECK, count)} rows in"
        f" {shop.folder.rows_to_check.name}"
    )
    if note not in about["notes"]:
        shop.folder.write_json(shop.folder.run_json, {**about, "notes": [*about["notes"], note]})


def _write_rows_to_check(shop: Workshop, rows: list[Row]) -> None:
    """Write rows drawn at random for a person to check: each with the teacher's label and an empty column."""
    kind: Kind = shop.task.form
    drawn = random.Random(f"{shop.task.seed} to check").sample(rows, min(TO_CHECK, len(rows)))
    records = [filed(row["text"], row["label"], kind=kind, fields=shop.task.fields) for row in drawn]
    told = [{key: _cell(value) for key, value in record.items()} for record in records]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*told[0], "right_label"])
    writer.writeheader()
    writer.writerows({**record, "right_label": ""} for record in told)
    shop.folder.write(shop.folder.rows_to_check, text.getvalue())


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
