"""The node that trains the delivered student, and the students with which it is compared."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from tutelage.agents import labeler
from tutelage.graph.context import RunContext
from tutelage.graph.requests.evidence import labeler_settings
from tutelage.graph.state import State
from tutelage.graph.students.confidence import chosen_agreement, fold_reliability, store_agreement
from tutelage.graph.students.self_training import (
    can_self_train,
    first_pool_probabilities,
    leak_free_sample,
    pool_probabilities,
    self_training_helps,
    soft_rows,
)
from tutelage.graph.students.training import refitted_student
from tutelage.graph.students.training_rows import kept_samples, mixed_row, objection, own_rows, sample_row
from tutelage.graph.task.splits import compares_at_random
from tutelage.student.corpus import drawn_sample
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Classifier

NEARLY_ALL = 0.9  # share of the random texts that must get a label to count as a random sample (ours)


@dataclass(frozen=True)
class Arm:
    """A student that is trained at the end, and its training set.

    `name` is a key of `TITLES` in graph/report/comparison_section.py. `teacher_labels` counts the rows that
    the teacher labelled, `soft` the unlabelled texts with the students' predictions as targets.
    """

    name: str
    rows: list[Row]
    teacher_labels: int
    soft: int = 0

    @property
    def sees_teacher(self) -> bool:
        """Whether any of the rows has a label of the teacher."""
        return self.teacher_labels > 0


def refit(ctx: RunContext, state: State) -> State:
    """Train the delivered student on every labelled row and all promoted samples.

    With a test set, also train students on the user's labels alone, on these and the unlabelled texts, and on
    as many labels of random texts. All are trained alike. Their answers on test are stored, not graded.
    """
    arms = _arms(ctx, state)
    ctx.folder.write_json(ctx.folder.arms, [_about(arm) for arm in arms])
    for measured in (ctx.folder.confidence, ctx.folder.agreement):
        measured.unlink(missing_ok=True)  # of the student before the run was extended
    reliability, agreement = fold_reliability(ctx, state["best"]), None
    for arm in arms:
        delivered = arm is arms[-1]
        if not delivered and not ctx.splits.test:
            continue
        ctx.trace.write("arm", name=arm.name, rows=len(arm.rows))
        similar = state["best"] if arm.sees_teacher or not ctx.splits.folded else 0
        student = refitted_student(ctx, arm.rows, similar)
        if reliability:
            cast(Classifier, student).divide_logits(reliability.temperature)
        texts = [row["text"] for row in ctx.splits.test]
        answers = student.predict_best(texts) if texts else []
        ctx.folder.store_predictions(f"arm-{arm.name}", test=np.array(answers, str))
        if delivered:
            student.save(ctx.folder.refitted)
            if agreement:
                store_agreement(ctx, agreement, student, arm.rows[: len(arm.rows) - arm.soft])
        elif arm.name == "chosen":
            agreement = chosen_agreement(ctx, student, arm.rows)
    if reliability:
        reliability.save(ctx.folder.path)
    ctx.trace.log(arms=[_about(arm) for arm in arms])
    return {}


def _arms(ctx: RunContext, state: State) -> list[Arm]:
    """Return the students to train; the delivered one is last.

    Of the students with teacher labels only the delivered one learns soft targets. They come from students
    that were trained on the chosen labels, so the one with random labels would otherwise learn from both.
    """
    own, strategy = own_rows(ctx.strategy, ctx.splits.labelled), ctx.strategy
    kept = [
        mixed_row(strategy, sample, ctx.labels, ctx.task.type)
        for sample in kept_samples(ctx.corpus, state["promoted"], until=state["round"])
    ]
    arms, known = [Arm("labels_alone", own, 0)], {row["id"] for row in kept}
    unwanted = _refused_by_a_person(ctx)
    first: list[Row] = []
    soft: list[Row] = []
    if can_self_train(ctx.task, strategy, ctx.splits):
        first = soft_rows(ctx, first_pool_probabilities(ctx.folder), unwanted)
        arms.append(Arm("self_trained", [*own, *first], 0, len(first)))
        answers = pool_probabilities(ctx, state["best"])
        if self_training_helps(ctx, answers, state["best"], state["promoted"]):
            soft = soft_rows(ctx, answers, unwanted)
    if not kept:
        return arms if soft or not first else arms[::-1]
    drawn, complete = (
        _control(ctx, len(kept)) if compares_at_random(ctx.strategy, ctx.splits) else ([], False)
    )
    if complete:
        arms.append(_arm("random", own, drawn))
    known |= {s["id"] for s in ctx.corpus.drafts(status="refused")}  # refused texts are not trained on
    new = [row for row in drawn if row["id"] not in known]
    if not new and not (complete and soft):
        return [*arms, _arm("chosen", own, kept, soft)]
    return [*arms, _arm("chosen", own, kept), _arm("all", own, [*kept, *new], soft)]


def _arm(name: str, own: Sequence[Row], labelled: Sequence[Row], soft: Sequence[Row] = ()) -> Arm:
    taken = {row["id"] for row in labelled}
    left = [row for row in soft if row["id"] not in taken]
    return Arm(name, [*own, *labelled, *left], len(labelled), len(left))


def _refused_by_a_person(ctx: RunContext) -> set[str]:
    """Return the ids of the texts that no student may be trained on, with a label or without."""
    return {s["id"] for s in ctx.corpus.drafts(status="refused") if s.get("reviewed") == "refuse"}


def _control(ctx: RunContext, count: int) -> tuple[list[Row], bool]:
    """Return random texts of the pool with the teacher's labels, as many as were chosen, and whether nearly
    all of them got a label. Texts that are labelled already are not paid for again.

    If the budget ends early, the labelled ones are no random sample: most of them are chosen texts.
    """
    # A longer run of the same seed draws these texts too, and others after them.
    drawn = leak_free_sample(ctx.corpus, ctx.splits.unlabelled, count, f"{ctx.task.seed} control")
    if not drawn:
        return [], False
    bought: list[Row] = ctx.folder.read_lines(ctx.folder.control_labels)  # before the run was extended
    labelled = {row["id"]: row for row in bought} | {
        s["id"]: sample_row(ctx.strategy, s)
        for s in ctx.corpus.drafts()
        if s["status"] in ("kept", "refused") and "label" in s
    }
    asked = [
        drawn_sample(row, round=0, place=place)
        for place, row in enumerate(row for row in drawn if row["id"] not in labelled)
    ]
    found = labeler.label(
        ctx.teacher,
        ctx.task.brief(),
        asked,
        labeler_settings(ctx, round=0),
        seed=random.Random(f"{ctx.task.seed} control labels").randrange(2**30),
    )
    labelled |= {
        s["id"]: sample_row(ctx.strategy, s)
        for s in found
        if "label" in s and not objection(ctx.task, ctx.strategy, s)
    }
    unwanted = _refused_by_a_person(ctx)
    rows = [labelled[row["id"]] for row in drawn if row["id"] in labelled and row["id"] not in unwanted]
    ctx.folder.write_lines(ctx.folder.control_labels, rows)
    return rows, len(rows) >= NEARLY_ALL * len(drawn)


def _about(arm: Arm) -> dict[str, object]:
    return {
        "name": arm.name,
        "rows": len(arm.rows),
        "teacher_labels": arm.teacher_labels,
        "soft": arm.soft,
    }
