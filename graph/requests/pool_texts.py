"""The pool: the user's unlabelled texts that can still be drawn."""

import random

from tutelage.graph.context import RunContext
from tutelage.graph.students.committee import predictions
from tutelage.graph.task.splits import Splits
from tutelage.student.corpus import Corpus, is_drawn
from tutelage.student.data.rows import Row
from tutelage.student.models.predictions import Predictions


def left_in_pool(splits: Splits, corpus: Corpus, before: tuple[int, int] | None = None) -> list[Row]:
    """Return the texts of the pool that were not drawn before the given round and attempt, or that were drawn
    in an earlier round and not chosen.
    """
    drafts = [s for s in corpus.drafts() if is_drawn(s)]
    last = max((s["round"] for s in drafts), default=0) + 1
    round, attempt = before or (last, 1)
    used = {
        s["id"]
        for s in drafts
        if (s["round"], s["attempt"]) < (round, attempt) and (s["status"] != "surplus" or s["round"] == round)
    }
    return [row for row in splits.unlabelled if row["id"] not in used]


def pool_candidates(ctx: RunContext, round: int) -> list[Row]:
    """Return the texts among which the students choose in a round: at most `choose_from` of those left in the
    pool before it, drawn at random.
    """
    left = left_in_pool(ctx.splits, ctx.corpus, before=(round, 1))
    count = min(ctx.strategy.choose_from, len(left))
    return random.Random(f"{ctx.task.seed} {round} candidates").sample(left, count)


def candidate_predictions(ctx: RunContext, best: int, round: int) -> list[Predictions]:
    """Return the predictions of each student of round `best` for `pool_candidates`.

    They are cached: a round needs them several times, and computing them takes as long as a short training.
    """
    key = (best, round)
    if key not in ctx.pool_predictions:
        ctx.pool_predictions.clear()
        texts = [row["text"] for row in pool_candidates(ctx, round)]
        ctx.pool_predictions[key] = predictions(ctx, best, texts)
    return ctx.pool_predictions[key]
