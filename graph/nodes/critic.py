"""The node that has labels judged, the disputed ones first."""

from collections import Counter
from collections.abc import Sequence

from tutelage.agents import critic as the_critic
from tutelage.graph.context import Workshop
from tutelage.graph.requests.attempts import batch, objection, seed_for
from tutelage.graph.state import State
from tutelage.graph.students.committee import readings
from tutelage.student.corpus import Sample, changed

DISPUTED = 0.5  # from this doubt of the students on a label is judged, with `critic: disputed` (ours)


def critic(shop: Workshop, state: State) -> State:
    """Judge what is labelled and not judged yet, first those samples whose label the students confidently
    dispute (or those alone); ask once for a second label where the critic disagrees.
    """
    if shop.strategy.critic == "none":
        return {"rejudge": False}
    labelled = [s for s in batch(shop, state) if "label" in s and "verdict" not in s]
    found = [s for s in labelled if not objection(shop, s)]  # those are refused in any case
    doubts = dispute(shop, state["best"], found)
    found = sorted(found, key=lambda s: -doubts[s["id"]])
    if shop.strategy.critic == "disputed":
        unjudged = [changed(s, verdict="undisputed") for s in found if doubts[s["id"]] < DISPUTED]
        shop.corpus.update(unjudged)
        found = [s for s in found if doubts[s["id"]] >= DISPUTED]
    seed = seed_for(shop, state, 6 if state.get("rejudge") else 5)
    judged = the_critic.judge(shop.teacher, shop.task.brief(), found, seed=seed)
    shop.corpus.update(judged)
    shop.trace.tell(verdicts=dict(Counter(s["verdict"] for s in judged)))
    again = any(s.get("verdict") == "relabel" for s in batch(shop, state))
    return {"rejudge": again and not state.get("rejudge", False)}


def dispute(shop: Workshop, round: int, samples: Sequence[Sample]) -> dict[str, float]:
    """Return for each sample how confidently the students of a round, which have not learnt it, give another
    answer than its label: the mean confidence of those that do, times their share; 0 where all agree. To four
    digits: a resumed run reads the texts in other company, and the last digits are at the mercy of that.
    """
    if not samples:
        return {}
    found = readings(shop, round, [s["text"] for s in samples])
    doubts = [
        sum(float(one.confidence[i]) for one in found if one.answers[i] != s["label"]) / len(found)
        for i, s in enumerate(samples)
    ]
    return {s["id"]: float(f"{doubt:.4f}") for s, doubt in zip(samples, doubts, strict=True)}
