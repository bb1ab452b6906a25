"""Expertise: a round's student distilled from what a teacher knows of its rows (KSM)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tutelage.graph.context import Workshop
from tutelage.student.data.rows import Row
from tutelage.student.models.base import Student
from tutelage.student.training.knowledge import Knowledge

if TYPE_CHECKING:
    from tutelage.student.distillation.white_box_teacher import Views


def distilled(shop: Workshop, rows: Sequence[Row], knowledge: Knowledge) -> Student:
    """A fresh student, taught by the task's `expert` or, without one, by labels and encoder alone.

    Raises:
        InputError: the expert cannot be loaded, or the rows are too few for a policy.
    """
    from tutelage.student.distillation.loop import distil

    recipe, seed = shop.task.recipe(), shop.task.seed
    views = _views(shop, rows, knowledge)
    told: dict[str, object] = {}
    student = distil(rows, shop.labels, recipe, knowledge, seed=seed, views=views, tell=told.update)
    shop.trace.tell(distilled=told)
    return student


def _views(shop: Workshop, rows: Sequence[Row], knowledge: Knowledge) -> "Views":
    from tutelage.student.distillation.white_box_teacher import black_box, find_expert

    recipe, seed = shop.task.expert_recipe(), shop.task.seed
    if recipe is None:
        return black_box(rows, shop.labels, shop.encoder)
    if not shop.experts:
        # Not kept on disk: the same seeds make the same expert again after a crash.
        shop.experts.append(find_expert(recipe, shop.labels, shop.splits.seed, seed=seed))
    return shop.experts[0].views([row["text"] for row in rows], knowledge)
