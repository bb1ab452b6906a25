"""The node that refuses near-duplicates, leaks and surplus texts before their labels are paid for."""

import random
from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.committee import predictions
from tutelage.student.corpus import Neighbour, Sample, changed, is_drawn
from tutelage.student.selection import NEEDS_VECTORS, Pool, select, uncertainty


def screen(ctx: RunContext, state: State) -> State:
    """Refuse near-duplicates, near-copies of held-out texts, and texts beyond the number wanted."""
    samples = ctx.unfinished(state)
    near = ctx.corpus.neighbours([sample["text"] for sample in samples])
    refused = [_refuse_near(s, n) for s, n in zip(samples, near, strict=True) if n]
    fresh = [s for s, n in zip(samples, near, strict=True) if not n]
    kept_before = len(ctx.corpus.drafts(round=state["round"], status="kept"))
    refused += _surplus(ctx, state, fresh, ctx.strategy.samples - kept_before)
    ctx.settle(refused)
    return {}


def _surplus(ctx: RunContext, state: State, fresh: Sequence[Sample], wanted: int) -> list[Sample]:
    """Return the surplus of drawn and of written texts; if one kind has too few, more of the other stay."""
    drawn, written = ([s for s in fresh if is_drawn(s) == of] for of in (True, False))
    of_pool = max(ctx.strategy.from_pool(wanted), wanted - len(written))
    parts = ((drawn, of_pool), (written, wanted - min(of_pool, len(drawn))))
    return [s for part, count in parts for s in _lowest_ranked(ctx, state, part, len(part) - count)]


def _lowest_ranked(ctx: RunContext, state: State, fresh: Sequence[Sample], surplus: int) -> list[Sample]:
    """Return `surplus` samples that the selection method passes over, or any if nothing is selected."""
    strategy, reason = ctx.strategy, "more texts were written or drawn than are needed"
    how = strategy.selection_in(state["round"])
    if surplus <= 0:
        return []
    if strategy.candidates(state["round"]) == 1:
        return [changed(s, status="surplus", reason=reason) for s in fresh[-surplus:]]
    if how == "random":  # not the last ones: hard texts are requested first
        chance = random.Random(f"{ctx.task.seed} {state['round']} {state['attempt']} surplus")
        return [changed(s, status="surplus", reason=reason) for s in chance.sample(fresh, surplus)]
    texts = [s["text"] for s in fresh]
    found = predictions(ctx, state["best"], texts)
    if how in NEEDS_VECTORS:
        seed = random.Random(f"{ctx.task.seed} {state['round']} {state['attempt']} surplus").randrange(2**30)
        vectors, count = ctx.encoder.encode(texts), len(fresh) - surplus
        wanted = set(select(how, count, Pool(found, vectors), seed=seed))
        left = [i for i in range(len(fresh)) if i not in wanted]
    else:
        left = [int(i) for i in uncertainty(how, found).argsort(kind="stable")[:surplus]]
    rank = uncertainty(how, found)
    reason = f"other texts were chosen for labelling ({how.replace('_', ' ')} {{:.2f}})"
    return [changed(fresh[i], status="surplus", reason=reason.format(rank[i])) for i in left]


def _refuse_near(sample: Sample, neighbour: Neighbour) -> Sample:
    leak = neighbour.source == "held_out"
    source = "gate or test" if leak else {"known": "the corpus", "batch": "this batch"}[neighbour.source]
    return changed(
        sample,
        status="leak" if leak else "duplicate",
        reason=f"too near to a text in {source}",
        neighbour=neighbour.text,
        similarity=round(neighbour.similarity, 4),
    )
