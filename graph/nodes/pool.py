"""The node that draws from the pool of the user's unlabelled texts."""

import random
from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.requests.gaps import gaps, to_write
from tutelage.graph.requests.pool_texts import candidate_predictions, left_in_pool, pool_candidates
from tutelage.graph.state import State
from tutelage.graph.students.committee import predictions_at
from tutelage.graph.weaknesses import read_cards
from tutelage.student.corpus import Sample, changed, drawn_sample
from tutelage.student.data.rows import Row
from tutelage.student.selection import NEEDS_NO_STUDENT, NEEDS_VECTORS, Pool, select, uncertainty


def pool(ctx: RunContext, state: State) -> State:
    """Begin an attempt: draw the pool's share of the samples that the round still lacks, times `oversample`,
    at random or, with `choose_from`, by the strategy's selection method.
    """
    round, attempt = state["round"], state["attempt"] + 1
    strategy = ctx.strategy
    lacking = strategy.samples - len(ctx.corpus.drafts(round=round, status="kept"))
    left = left_in_pool(ctx.splits, ctx.corpus, before=(round, attempt))
    written = _to_write(ctx, state, lacking)
    count = min(strategy.from_pool(lacking - written) * strategy.candidates(round), len(left))
    if strategy.choose_from and strategy.selection_in(round) != "random":
        samples = _chosen(ctx, state, left, attempt, count)
    else:
        drawn = random.Random(f"{ctx.task.seed} {round} {attempt} pool").sample(left, count)
        samples = [_drawn(row, state, attempt, place) for place, row in enumerate(drawn)]
    ctx.corpus.put(samples)
    ctx.trace.log(attempt=attempt, drawn=[sample["id"] for sample in samples], left=len(left) - count)
    if strategy.fill_gaps:
        # Texts that the pool can no longer supply are written too.
        written = max(0, lacking - count // strategy.candidates(round))
    return {"attempt": attempt, "rejudge": False, "to_write": written}


def _to_write(ctx: RunContext, state: State, lacking: int) -> int:
    """Return how many texts of this attempt are to be written although the pool has texts left."""
    if not ctx.strategy.fill_gaps:
        return 0
    cards = [card for card in read_cards(ctx.folder) if card["id"] in state["weaknesses"]]
    return to_write(ctx.labels, gaps(ctx, state["best"], state["round"]), len(cards), lacking)


def _chosen(ctx: RunContext, state: State, left: Sequence[Row], attempt: int, count: int) -> list[Sample]:
    """Return texts left in the pool, selected with the students of the best round, with their uncertainty."""
    strategy, round = ctx.strategy, state["round"]
    how = strategy.selection_in(round)
    candidates = pool_candidates(ctx, round)
    places = {row["id"]: i for i, row in enumerate(candidates)}
    indices = sorted(places[row["id"]] for row in left if row["id"] in places)
    rows = [candidates[i] for i in indices]
    texts = [row["text"] for row in rows]
    of_all = [] if how in NEEDS_NO_STUDENT else candidate_predictions(ctx, state["best"], round)
    found = [predictions_at(one, indices) for one in of_all]
    vectors = ctx.encoder.encode(texts) if how in NEEDS_VECTORS else None
    labelled = [*ctx.splits.labelled, *ctx.corpus.drafts(status="kept")]
    known = [one["text"] for one in labelled] if how in NEEDS_VECTORS else []
    seed = random.Random(f"{ctx.task.seed} {round} {attempt} choice").randrange(2**30)
    unlabelled = Pool(found, vectors, ctx.encoder.encode(known) if known else None)
    chosen = select(how, count, unlabelled, seed=seed)
    scores = uncertainty(how, found) if found else None
    samples = []
    for place, i in enumerate(chosen):
        sample = _drawn(rows[i], state, attempt, place)
        score = {} if scores is None else {"uncertainty": float(f"{scores[i]:.4f}")}
        samples.append(changed(sample, **score))
    return samples


def _drawn(row: Row, state: State, attempt: int, place: int) -> Sample:
    return drawn_sample(row, round=state["round"], attempt=attempt, place=place)
