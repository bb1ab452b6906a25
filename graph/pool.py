"""The node that draws texts of the user's own, unlabelled."""

import random

from tutelage.graph.state import State
from tutelage.graph.workshop import Workshop
from tutelage.student.corpus import drawn_sample, is_drawn
from tutelage.student.rows import Row


def pool(shop: Workshop, state: State) -> State:
    """Begin an attempt: draw the pool's share of what the round still lacks, times `oversample`, from what is
    left of the pool.
    """
    round, attempt = state["round"], state["attempt"] + 1
    strategy = shop.strategy
    lacking = strategy.samples - len(shop.corpus.drafts(round=round, status="kept"))
    left = left_in_pool(shop, before=(round, attempt))
    count = min(strategy.from_pool(lacking) * strategy.candidates(round), len(left))
    drawn = random.Random(f"{shop.task.seed} {round} {attempt} pool").sample(left, count)
    samples = [
        drawn_sample(row, round=round, attempt=attempt, place=place) for place, row in enumerate(drawn)
    ]
    shop.corpus.put(samples)
    shop.trace.tell(attempt=attempt, drawn=[sample["id"] for sample in samples], left=len(left) - count)
    return {"attempt": attempt, "rejudge": False}


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
