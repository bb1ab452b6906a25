"""The node that keeps judged samples, and refuses the others with their reasons."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tutelage.graph.context import Workshop
from tutelage.graph.requests.attempts import batch, objection, tell_fates
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import mean_reading, members
from tutelage.graph.weaknesses import read_cards, write_cards
from tutelage.student.corpus import Sample, changed, is_drawn


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
    tell_fates(shop, [*kept, *refused])
    return {"rejudge": False}


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
