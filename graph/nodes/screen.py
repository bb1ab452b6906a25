"""The node that refuses near-duplicates, leaks and surplus texts before labels are paid for."""

import random
from collections.abc import Sequence

from tutelage.graph.context import Workshop
from tutelage.graph.requests.attempts import batch, tell_fates
from tutelage.graph.state import State
from tutelage.graph.students.committee import readings
from tutelage.student.corpus import Neighbour, Sample, changed, is_drawn
from tutelage.student.selection import NEEDS_VECTORS, select, uncertainty


def screen(shop: Workshop, state: State) -> State:
    """Refuse near-duplicates and leaks, and what the student is sure of, before labels are paid for."""
    samples = batch(shop, state)
    near = shop.corpus.neighbours([sample["text"] for sample in samples])
    refused = [_refuse_near(s, n) for s, n in zip(samples, near, strict=True) if n]
    fresh = [s for s, n in zip(samples, near, strict=True) if not n]
    kept_before = len(shop.corpus.drafts(round=state["round"], status="kept"))
    refused += _surplus(shop, state, fresh, shop.strategy.samples - kept_before)
    shop.corpus.update(refused)
    tell_fates(shop, refused)
    return {}


def _surplus(shop: Workshop, state: State, fresh: Sequence[Sample], wanted: int) -> list[Sample]:
    """What is more than is wanted of drawn and of written texts; where one brings too few the other may bring
    more.
    """
    drawn, written = ([s for s in fresh if is_drawn(s) == of] for of in (True, False))
    of_pool = max(shop.strategy.from_pool(wanted), wanted - len(written))
    parts = ((drawn, of_pool), (written, wanted - min(of_pool, len(drawn))))
    return [s for part, count in parts for s in _least_wanted(shop, state, part, len(part) - count)]


def _least_wanted(shop: Workshop, state: State, fresh: Sequence[Sample], surplus: int) -> list[Sample]:
    """The `surplus` samples the best student wants least; any, where it does not choose."""
    strategy, reason = shop.strategy, "more texts came than were wanted"
    how = strategy.selection_in(state["round"])
    if surplus <= 0:
        return []
    if strategy.candidates(state["round"]) == 1:
        return [changed(s, status="surplus", reason=reason) for s in fresh[-surplus:]]
    if how == "random":  # not the last ones: orders come hard texts first
        chance = random.Random(f"{shop.task.seed} {state['round']} {state['attempt']} surplus")
        return [changed(s, status="surplus", reason=reason) for s in chance.sample(fresh, surplus)]
    texts = [s["text"] for s in fresh]
    found = readings(shop, state["best"], texts)
    if how in NEEDS_VECTORS:
        seed = random.Random(f"{shop.task.seed} {state['round']} {state['attempt']} surplus").randrange(2**30)
        vectors, count = shop.encoder.encode(texts), len(fresh) - surplus
        wanted = set(select(how, count, found, vectors, seed=seed))
        left = [i for i in range(len(fresh)) if i not in wanted]
    else:
        left = [int(i) for i in uncertainty(how, found).argsort(kind="stable")[:surplus]]
    rank = uncertainty(how, found)
    reason = f"the student wants others more ({how.replace('_', ' ')} {{:.2f}})"
    return [changed(fresh[i], status="surplus", reason=reason.format(rank[i])) for i in left]


def _refuse_near(sample: Sample, neighbour: Neighbour) -> Sample:
    leak = neighbour.source == "sealed"
    place = "gate or test" if leak else {"known": "the corpus", "batch": "this batch"}[neighbour.source]
    return changed(
        sample,
        status="leak" if leak else "duplicate",
        reason=f"too near to a text in {place}",
        neighbour=neighbour.text,
        similarity=round(neighbour.similarity, 4),
    )
