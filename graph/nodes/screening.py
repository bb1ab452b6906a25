"""Nodes that decide on samples: screen before labels are paid for, keep after they are judged."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from tutelage.graph.context import Workshop
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import mean_reading, members, readings
from tutelage.graph.weaknesses import read_cards, write_cards
from tutelage.student.corpus import Neighbour, Sample, changed, is_drawn
from tutelage.student.data.rows import filed
from tutelage.student.selection import NEEDS_VECTORS, select, uncertainty
from tutelage.student.tasks.user_functions import filtered, title


def screen(shop: Workshop, state: State) -> State:
    """Refuse near-duplicates and leaks, and what the student is sure of, before labels are paid for."""
    samples = batch(shop, state)
    near = shop.corpus.neighbours([sample["text"] for sample in samples])
    refused = [_refuse_near(s, n) for s, n in zip(samples, near, strict=True) if n]
    fresh = [s for s, n in zip(samples, near, strict=True) if not n]
    kept_before = len(shop.corpus.drafts(round=state["round"], status="kept"))
    refused += _surplus(shop, state, fresh, shop.strategy.samples - kept_before)
    shop.corpus.update(refused)
    _tell_fates(shop, refused)
    return {}


def keep(shop: Workshop, state: State) -> State:
    """Keep what the critic accepts (without one, all that is labelled) and nothing objects to; refuse the
    rest with its reason, and count both on the cards. Of what is kept, note what the student makes of it
    before it is trained on it.
    """
    found = batch(shop, state)
    against = {s["id"]: objection(shop, s) for s in found if "label" in s}
    labelled = [s for s in found if s["id"] in against]
    judged = [s for s in labelled if not against[s["id"]] and _accepted(shop.strategy, s)]
    student = next(iter(members(shop, state["best"])))[1]
    problems = {s["id"]: student.unlearnt(s["label"]) for s in judged}
    accepted = [s for s in judged if not problems[s["id"]]]
    ids = {s["id"] for s in judged}
    refused = [_refuse(s, against.get(s["id"], "")) for s in found if s["id"] not in ids]
    refused += [changed(s, status="refused", reason=why) for s in judged if (why := problems[s["id"]])]
    kept = _examined(shop, state, [changed(s, status="kept") for s in accepted])
    # The refused too, unless nobody judged them: none is paid for twice.
    shop.corpus.know([*kept, *(sample for sample in refused if sample["status"] == "refused")])
    shop.corpus.update([*kept, *refused])
    _count_on_cards(shop)
    _tell_fates(shop, [*kept, *refused])
    return {"rejudge": False}


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


def _examined(shop: Workshop, state: State, samples: Sequence[Sample]) -> list[Sample]:
    """Samples with the best students' answer, its energy, and its loss on the label."""
    if not samples:
        return []
    texts, labels = [s["text"] for s in samples], [s["label"] for s in samples]
    found = [student.read(texts, labels) for _, student in members(shop, state["best"])]
    seen = mean_reading(found)
    assert seen.nll is not None, "labels were given"
    examined = [
        changed(sample, answered=answer, energy=round(float(out), 4), nll=round(float(nll), 4))
        for sample, answer, out, nll in zip(samples, seen.answers, seen.energy, seen.nll, strict=True)
    ]
    if shop.strategy.label_mix and seen.probabilities is not None:
        examined = [
            changed(sample, answer_before=[round(float(p), 4) for p in row])
            for sample, row in zip(examined, seen.probabilities, strict=True)
        ]
    return _own_probabilities(shop, examined) if shop.strategy.importance else examined


def _own_probabilities(shop: Workshop, samples: Sequence[Sample]) -> list[Sample]:
    """Written samples with the probability that each student of the user's labels alone gives their label."""
    written = [s for s in samples if not is_drawn(s)]
    texts, labels = [s["text"] for s in written], [s["label"] for s in written]
    found = [student.read(texts, labels).nll for _, student in members(shop, 0)] if written else []
    chances = {
        s["id"]: [round(float(np.exp(-one[i])), 4) for one in found if one is not None]
        for i, s in enumerate(written)
    }
    return [changed(s, own_probability=chances[s["id"]]) if s["id"] in chances else s for s in samples]


def _count_on_cards(shop: Workshop) -> None:
    if not (cards := read_cards(shop.folder)):
        return
    written = shop.corpus.drafts()
    ordered = Counter(s["weakness"] for s in written)
    kept = Counter(s["weakness"] for s in written if s["status"] == "kept")
    for card in cards:
        card["ordered"], card["kept"] = ordered[card["id"]], kept[card["id"]]
    write_cards(shop.folder, cards)


def _tell_fates(shop: Workshop, samples: Sequence[Sample]) -> None:
    fates: dict[str, list[str]] = {}
    for sample in samples:
        fates.setdefault(sample["status"], []).append(sample["id"])
    shop.trace.tell(samples=fates)


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


def _accepted(strategy: Strategy, sample: Sample) -> bool:
    return strategy.critic == "none" or sample.get("verdict") in ("accept", "undisputed")


def _refuse(sample: Sample, objection: str) -> Sample:
    if objection:
        return changed(sample, status="refused", reason=objection)
    prefixes = {"relabel": "labeler and critic disagree twice: ", "rewrite": "to be written better: "}
    verdict = sample.get("verdict", "unjudged")
    status = "unjudged" if verdict == "unjudged" else "refused"
    return changed(
        sample, status=status, reason=prefixes.get(verdict, "") + sample.get("reason", "not judged")
    )
