"""What is under way in a round: its samples, what objects to one, whether more are to be asked for."""

import random
from collections.abc import Sequence

from tutelage.graph.context import Workshop
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold
from tutelage.student.corpus import Sample, is_drawn
from tutelage.student.data.rows import filed
from tutelage.student.tasks.user_functions import filtered, title


def short_of_samples(shop: Workshop, state: State) -> bool:
    """Whether a round has kept too few and more texts may be asked for, or drawn."""
    strategy = shop.strategy
    kept = len(shop.corpus.drafts(round=state["round"], status="kept"))
    short = kept < strategy.enough * strategy.samples
    if not short or state["attempt"] > strategy.attempts:
        return False
    if (
        strategy.draws
        and not strategy.writes
        and not left_in_pool(shop, before=(state["round"], state["attempt"] + 1))
    ):
        return False
    if refusal := shop.teacher.refusal():
        # As if the generator had asked: with more to spend, this round is to be begun again.
        shop.trace.call({"role": "generator", "refused": refusal, "over_budget": True})
        return False
    return True


def batch(shop: Workshop, state: State) -> list[Sample]:
    """This attempt's samples that are still under way."""
    drafts = shop.corpus.drafts(round=state["round"], status="draft")
    return [sample for sample in drafts if sample["attempt"] == state["attempt"]]


def objection(shop: Workshop, sample: Sample) -> str:
    """Why a labelled sample is refused whatever the critic may say, "" if it is not: who labelled it does not
    find in it what it was written for, where they are to agree, or a filter of the task's finds it wrong.
    """
    task, text, label = shop.task, sample["text"], sample["label"]
    written = shop.strategy.agree and not is_drawn(sample)
    if written and sample["requested"] not in task.form.groups(label):
        given = task.form.words(label, text)
        return f"written for {sample['requested'] or 'none'}, and labelled {given}"
    row = filed(text, label, kind=task.form, fields=task.fields)
    found = ((name, filtered(name, row)) for name in task.filters)
    return next((f"{title(name)}: {wrong}" for name, wrong in found if wrong), "")


def tell_fates(shop: Workshop, samples: Sequence[Sample]) -> None:
    """Write the new status of samples to the trace."""
    fates: dict[str, list[str]] = {}
    for sample in samples:
        fates.setdefault(sample["status"], []).append(sample["id"])
    shop.trace.tell(samples=fates)


def seed_for(shop: Workshop, state: State, step: int, fold: Fold = None) -> int:
    """A seed for the calls of one step: apart for every run seed, round, attempt, step and fold."""
    place = f"{shop.task.seed} {state['round']} {state['attempt']} {step}"
    of_fold = f" {fold}" if fold is not None else ""
    return random.Random(place + of_fold).randrange(2**30)  # agents count on from it
