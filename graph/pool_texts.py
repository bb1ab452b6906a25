"""Texts of the pool: which of the user's unlabelled texts are left to be drawn."""

import random

from tutelage.graph.workshop import Workshop
from tutelage.student.corpus import is_drawn
from tutelage.student.rows import Row


def left_in_pool(shop: Workshop, before: tuple[int, int] | None = None) -> list[Row]:
    """Texts of the pool that were not drawn yet (before a round and attempt), or were drawn in an earlier
    round and not chosen.
    """
    drafts = [s for s in shop.corpus.drafts() if is_drawn(s)]
    last = max((s["round"] for s in drafts), default=0) + 1
    round, attempt = before or (last, 1)
    used = {
        s["id"]
        for s in drafts
        if (s["round"], s["attempt"]) < (round, attempt) and (s["status"] != "surplus" or s["round"] == round)
    }
    return [row for row in shop.splits.unlabelled if row["id"] not in used]


def pool_candidates(shop: Workshop, round: int, attempt: int) -> list[Row]:
    """Return the texts that the students choose from: at most `choose_from` of what is left, by chance."""
    left = left_in_pool(shop, before=(round, attempt))
    count = min(shop.strategy.choose_from, len(left))
    return random.Random(f"{shop.task.seed} {round} {attempt} candidates").sample(left, count)
