"""The node that trains the student which the run leaves, and the students it is compared with."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tutelage.agents import labeler
from tutelage.graph.context import Workshop
from tutelage.graph.requests.attempts import objection
from tutelage.graph.requests.evidence import shots
from tutelage.graph.state import State
from tutelage.graph.students.self_training import (
    can_self_train,
    first_pool_answers,
    leak_free,
    pool_answers,
    self_training_helps,
    soft_rows,
)
from tutelage.graph.students.training import refitted_student
from tutelage.graph.students.training_rows import kept_samples, mixed_row, own_rows, sample_row
from tutelage.student.corpus import drawn_sample
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student

NEARLY_ALL = 0.9  # of the texts drawn at random have to be labelled to stand for random ones (ours)


@dataclass(frozen=True)
class Arm:
    """A student that is trained at the end: its name (see graph/students/comparison.py), what it learns, how
    many of these rows the teacher has labelled, and how many are unlabelled texts with the students' own
    answers.
    """

    name: str
    rows: list[Row]
    teacher_labels: int
    soft: int = 0

    @property
    def sees_teacher(self) -> bool:
        """Whether any of its rows has the teacher's label."""
        return self.teacher_labels > 0


def refit(shop: Workshop, state: State) -> State:
    """Train the student that the run leaves, on every labelled row and all promoted samples; where there is a
    test set, beside it the students of the user's labels alone, of these and the unlabelled texts, and of
    as many labels of texts drawn at random.

    All are trained alike. Their answers on test are stored without being graded.
    """
    arms = _arms(shop, state)
    shop.folder.write_json(shop.folder.path / "sealed" / "arms.json", [_about(arm) for arm in arms])
    for arm in arms:
        delivered = arm is arms[-1]
        if not delivered and not shop.splits.test:
            continue
        shop.trace.write("arm", name=arm.name, rows=len(arm.rows))
        alike = state["best"] if arm.sees_teacher or not shop.splits.folded else 0
        student = refitted_student(shop, arm.rows, alike)
        _store(shop, arm, student)
        if delivered:
            student.save(shop.folder.refitted)
    shop.trace.tell(arms=[_about(arm) for arm in arms])
    return {}


def refits(shop: Workshop) -> bool:
    """Return whether the run ends with a refitted student; of folds it always does."""
    return shop.splits.folded or shop.strategy.refit


def compares_at_random(shop: Workshop) -> bool:
    """Return whether texts of the pool are drawn at random and labelled at the end, to be compared with the
    chosen ones.
    """
    return bool(shop.strategy.control and refits(shop) and shop.splits.test and shop.splits.unlabelled)


def _arms(shop: Workshop, state: State) -> list[Arm]:
    """The students to train, the one that the run leaves last."""
    own, strategy = own_rows(shop.strategy, shop.splits.labelled), shop.strategy
    kept = [
        mixed_row(strategy, sample, shop.labels, shop.task.form)
        for sample in kept_samples(shop, set(state["promoted"]))
    ]
    arms, known = [Arm("own", own, 0)], {row["id"] for row in kept}
    first: list[Row] = []
    soft: list[Row] = []
    if can_self_train(shop):
        first = soft_rows(shop, first_pool_answers(shop), set())
        arms.append(Arm("self_trained", [*own, *first], 0, len(first)))
        answers = pool_answers(shop, state["best"])
        if self_training_helps(shop, answers, state["best"], state["promoted"]):
            soft = soft_rows(shop, answers, set())
    if not kept:
        return arms if soft or not first else arms[::-1]
    drawn, whole = _control(shop, len(kept)) if compares_at_random(shop) else ([], False)
    if whole:
        arms.append(_arm("random", own, drawn, soft))
    arms.append(_arm("chosen", own, kept, soft))
    known |= {s["id"] for s in shop.corpus.drafts(status="refused")}  # with its reason, and not trained on
    if new := [row for row in drawn if row["id"] not in known]:
        arms.append(_arm("all", own, [*kept, *new], soft))
    return arms


def _arm(name: str, own: Sequence[Row], labelled: Sequence[Row], soft: Sequence[Row]) -> Arm:
    taken = {row["id"] for row in labelled}
    left = [row for row in soft if row["id"] not in taken]
    return Arm(name, [*own, *labelled, *left], len(labelled), len(left))


def _control(shop: Workshop, count: int) -> tuple[list[Row], bool]:
    """Return texts of the pool drawn at random with the teacher's labels, as many as were chosen, and whether
    nearly all of them got one; a text that is labelled already is not paid for again.

    Where the budget ends before, those with a label are no random texts any more: most were chosen.
    """
    pool = leak_free(shop, shop.splits.unlabelled)
    if not pool:
        return [], False
    drawn = random.Random(f"{shop.task.seed} control").sample(pool, min(count, len(pool)))
    labelled = {
        s["id"]: s for s in shop.corpus.drafts() if s["status"] in ("kept", "refused") and "label" in s
    }
    asked = [
        drawn_sample(row, round=0, place=place)
        for place, row in enumerate(row for row in drawn if row["id"] not in labelled)
    ]
    found = labeler.label(
        shop.teacher,
        shop.task.brief(),
        asked,
        seed=random.Random(f"{shop.task.seed} control labels").randrange(2**30),
        votes=shop.task.teacher.votes,
        calibration=shop.folder.read_calibration(),
        shots=shots(shop, 0),
    )
    labelled |= {s["id"]: s for s in found if "label" in s and not objection(shop, s)}
    rows = [sample_row(shop.strategy, labelled[row["id"]]) for row in drawn if row["id"] in labelled]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    shop.folder.write(shop.folder.control_labels, lines)
    return rows, len(rows) >= NEARLY_ALL * len(drawn)


def _store(shop: Workshop, arm: Arm, student: Student) -> None:
    texts = [row["text"] for row in shop.splits.test]
    answers = student.answer(texts) if texts else []
    shop.folder.seal(f"arm-{arm.name}", test=np.array(answers, str))


def _about(arm: Arm) -> dict[str, object]:
    return {
        "name": arm.name,
        "rows": len(arm.rows),
        "teacher_labels": arm.teacher_labels,
        "soft": arm.soft,
    }
