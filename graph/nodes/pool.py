"""The node that draws texts of the user's own, unlabelled."""

import random

from tutelage.graph.context import Workshop
from tutelage.graph.requests.gaps import gaps, to_write
from tutelage.graph.requests.pool_texts import candidate_readings, left_in_pool, pool_candidates
from tutelage.graph.state import State
from tutelage.graph.students.committee import reading_at
from tutelage.graph.weaknesses import read_cards
from tutelage.student.corpus import Sample, changed, drawn_sample
from tutelage.student.data.rows import Row
from tutelage.student.selection import NEEDS_NO_STUDENT, NEEDS_VECTORS, select, uncertainty


def pool(shop: Workshop, state: State) -> State:
    """Begin an attempt: draw the pool's share of what the round still lacks, times `oversample`, from what is
    left of the pool; by chance or, with `choose_from`, as the students choose.
    """
    round, attempt = state["round"], state["attempt"] + 1
    strategy = shop.strategy
    lacking = strategy.samples - len(shop.corpus.drafts(round=round, status="kept"))
    left = left_in_pool(shop, before=(round, attempt))
    written = _to_write(shop, state, lacking)
    count = min(strategy.from_pool(lacking - written) * strategy.candidates(round), len(left))
    if strategy.choose_from and strategy.selection_in(round) != "random":
        samples = _chosen(shop, state, attempt, count)
    else:
        drawn = random.Random(f"{shop.task.seed} {round} {attempt} pool").sample(left, count)
        samples = [_drawn(row, state, attempt, place) for place, row in enumerate(drawn)]
    shop.corpus.put(samples)
    shop.trace.tell(attempt=attempt, drawn=[sample["id"] for sample in samples], left=len(left) - count)
    if strategy.fill_gaps:
        # What the pool has no more is written too.
        written = max(0, lacking - count // strategy.candidates(round))
    return {"attempt": attempt, "rejudge": False, "to_write": written}


def _to_write(shop: Workshop, state: State, lacking: int) -> int:
    """How many texts of this attempt are to be written, though the pool has texts left."""
    if not shop.strategy.fill_gaps:
        return 0
    cards = [card for card in read_cards(shop.folder) if card["id"] in state["weaknesses"]]
    return to_write(shop, gaps(shop, state["best"], state["round"]), len(cards), lacking)


def _chosen(shop: Workshop, state: State, attempt: int, count: int) -> list[Sample]:
    """Draw what the students of the best round choose, each with their uncertainty."""
    strategy, round = shop.strategy, state["round"]
    how = strategy.selection_in(round)
    left = {row["id"] for row in left_in_pool(shop, before=(round, attempt))}
    candidates = pool_candidates(shop, round)
    places = [i for i, row in enumerate(candidates) if row["id"] in left]
    rows = [candidates[i] for i in places]
    texts = [row["text"] for row in rows]
    asked = how not in NEEDS_NO_STUDENT and rows
    of_all = candidate_readings(shop, state["best"], round) if asked else []
    found = [reading_at(one, places) for one in of_all]
    vectors = shop.encoder.encode(texts) if how in NEEDS_VECTORS else None
    labelled = [*shop.splits.labelled, *shop.corpus.drafts(status="kept")]
    known = [one["text"] for one in labelled] if how in NEEDS_VECTORS else []
    chosen = select(
        how,
        count,
        found,
        vectors,
        seed=random.Random(f"{shop.task.seed} {round} {attempt} choice").randrange(2**30),
        known=shop.encoder.encode(known) if known else None,
    )
    doubt = uncertainty(how, found) if found else None
    samples = []
    for place, i in enumerate(chosen):
        sample = _drawn(rows[i], state, attempt, place)
        score = {} if doubt is None else {"uncertainty": float(f"{doubt[i]:.4f}")}
        samples.append(changed(sample, **score))
    return samples


def _drawn(row: Row, state: State, attempt: int, place: int) -> Sample:
    return drawn_sample(row, round=state["round"], attempt=attempt, place=place)
