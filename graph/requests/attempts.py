"""The attempts of a round: their unfinished samples, objections to samples, and whether to try again."""

import random
from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold
from tutelage.student.corpus import Sample, is_drawn
from tutelage.student.data.rows import filed
from tutelage.student.tasks.user_functions import filtered, title


def short_of_samples(ctx: RunContext, state: State) -> bool:
    """Return whether the round has kept too few samples and may still request or draw more texts."""
    strategy = ctx.strategy
    kept = len(ctx.corpus.drafts(round=state["round"], status="kept"))
    short = kept < strategy.enough * strategy.samples
    if not short or state["attempt"] > strategy.attempts:
        return False
    if (
        strategy.draws
        and not strategy.writes
        and not left_in_pool(ctx, before=(state["round"], state["attempt"] + 1))
    ):
        return False
    if refusal := ctx.teacher.refusal():
        # Logged like a refused call: with a higher budget, a resumed run starts this round again.
        ctx.trace.call({"role": "generator", "refused": refusal, "over_budget": True})
        return False
    return True


def batch(ctx: RunContext, state: State) -> list[Sample]:
    """Return the samples of this attempt that are neither kept nor rejected yet."""
    drafts = ctx.corpus.drafts(round=state["round"], status="draft")
    return [sample for sample in drafts if sample["attempt"] == state["attempt"]]


def objection(ctx: RunContext, sample: Sample) -> str:
    """Return why a labelled sample is refused regardless of the critic, or "" if it is not: its label is not
    the one it was written for (with `Strategy.agree`), or a filter of the task rejects it.
    """
    task, text, label = ctx.task, sample["text"], sample["label"]
    written = ctx.strategy.agree and not is_drawn(sample)
    if written and sample["requested"] not in task.type.labels_in(label):
        shown = task.type.to_text(label, text)
        return f"written for {sample['requested'] or 'none'}, and labelled {shown}"
    row = filed(text, label, task_type=task.type, fields=task.fields)
    reasons = ((name, filtered(name, row)) for name in task.filters)
    return next((f"{title(name)}: {reason}" for name, reason in reasons if reason), "")


def log_statuses(ctx: RunContext, samples: Sequence[Sample]) -> None:
    """Write the new status of samples to the trace."""
    status_counts: dict[str, list[str]] = {}
    for sample in samples:
        status_counts.setdefault(sample["status"], []).append(sample["id"])
    ctx.trace.log(samples=status_counts)


def seed_for(ctx: RunContext, state: State, step: int, fold: Fold = None) -> int:
    """Return the seed for one step's calls: different for every run seed, round, attempt, step and fold."""
    place = f"{ctx.task.seed} {state['round']} {state['attempt']} {step}"
    of_fold = f" {fold}" if fold is not None else ""
    return random.Random(place + of_fold).randrange(2**30)  # agents count up from it
