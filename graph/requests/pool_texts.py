"""Texts of the pool: which of the user's unlabelled texts are left to be drawn."""

import random

from tutelage.graph.context import Workshop
from tutelage.graph.students.committee import readings
from tutelage.student.corpus import is_drawn
from tutelage.student.data.rows import Row
from tutelage.student.models.predictions import Reading


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


def pool_candidates(shop: Workshop, round: int) -> list[Row]:
    """Return the texts that the students choose from in a round: at most `choose_from` of what is left before
    it, by chance.
    """
    left = left_in_pool(shop, before=(round, 1))
    count = min(shop.strategy.choose_from, len(left))
    return random.Random(f"{shop.task.seed} {round} candidates").sample(left, count)


def candidate_readings(shop: Workshop, best: int, round: int) -> list[Reading]:
    """Return what each student of round `best` predicts for `pool_candidates`.

    It is kept in memory: a round asks for it several times, and it takes as long as a short training.
    """
    key = (best, round)
    if key not in shop.pool_readings:
        shop.pool_readings.clear()
        texts = [row["text"] for row in pool_candidates(shop, round)]
        shop.pool_readings[key] = readings(shop, best, texts)
    return shop.pool_readings[key]
