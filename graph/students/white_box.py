"""Train a student by distillation from a white-box teacher's representations of its rows (KSM)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tutelage.graph.context import RunContext
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.observer import Observer

if TYPE_CHECKING:
    from tutelage.student.distillation.white_box_teacher import Views


def distilled(ctx: RunContext, rows: Sequence[Row], knowledge: Knowledge, observer: Observer) -> Student:
    """Train a fresh student with the task's `white_box_teacher`, or with labels and encoder without one.

    Raises:
        InputError: the teacher cannot be loaded, or the rows are too few to train a policy.
    """
    from tutelage.student.distillation.loop import distil

    training_config, seed = ctx.task.training_config(), ctx.task.seed
    views = _views(ctx, rows, knowledge)
    done = distil(rows, ctx.labels, training_config, knowledge, seed=seed, views=views, observer=observer)
    ctx.trace.log(distilled=done.report)
    return done.student


def _views(ctx: RunContext, rows: Sequence[Row], knowledge: Knowledge) -> "Views":
    from tutelage.student.distillation.white_box_teacher import black_box

    if ctx.white_box_teacher is None:
        return black_box(rows, ctx.labels, ctx.encoder)
    return ctx.white_box_teacher.views([row["text"] for row in rows], knowledge)
