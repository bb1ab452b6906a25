"""The node that refuses labels with an objection, and in which the critic judges the others."""

from collections import Counter
from collections.abc import Sequence

from tutelage.agents import critic as the_critic
from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.committee import predictions
from tutelage.graph.students.training_rows import objection
from tutelage.student.corpus import Sample, changed

DISPUTED = 0.5  # dispute from which on a label is judged, with `critic: disputed` (ours)


def critic(ctx: RunContext, state: State) -> State:
    """Refuse labelled samples that meet an objection. Let the critic judge the others, first (or only) those
    whose label the students confidently dispute. Ask once for a second label where the critic disagrees.
    """
    labelled = [s for s in ctx.unfinished(state) if "label" in s and "verdict" not in s]
    objections = {s["id"]: objection(ctx.task, ctx.strategy, s) for s in labelled}
    refused = [changed(s, status="refused", reason=why) for s in labelled if (why := objections[s["id"]])]
    ctx.corpus.add_judged(refused)  # like kept ones, so that no text is paid for twice
    ctx.settle(refused)
    if ctx.strategy.critic == "none":
        return {"rejudge": False}
    undecided = [s for s in labelled if not objections[s["id"]]]
    disputes = dispute(ctx, state["best"], undecided)
    undecided = sorted(undecided, key=lambda s: -disputes[s["id"]])
    if ctx.strategy.critic == "disputed":
        unjudged = [changed(s, verdict="undisputed") for s in undecided if disputes[s["id"]] < DISPUTED]
        ctx.corpus.update(unjudged)
        undecided = [s for s in undecided if disputes[s["id"]] >= DISPUTED]
    seed = ctx.call_seed(state, 6 if state.get("rejudge") else 5)
    judged = the_critic.judge(ctx.teacher, ctx.task.brief(), undecided, seed=seed)
    ctx.corpus.update(judged)
    ctx.trace.log(verdicts=dict(Counter(s["verdict"] for s in judged)))
    again = any(s.get("verdict") == "relabel" for s in ctx.unfinished(state))
    return {"rejudge": again and not state.get("rejudge", False)}


def dispute(ctx: RunContext, round: int, samples: Sequence[Sample]) -> dict[str, float]:
    """Return how confidently the students of a round, not trained on a sample, contradict its label: the mean
    confidence of those that do, times their share; 0 if all agree. It is rounded to four digits because a
    resumed run predicts in other batches, which changes the last digits.
    """
    if not samples:
        return {}
    found = predictions(ctx, round, [s["text"] for s in samples])
    values = [
        sum(float(one.confidence[i]) for one in found if one.answers[i] != s["label"]) / len(found)
        for i, s in enumerate(samples)
    ]
    return {s["id"]: float(f"{value:.4f}") for s, value in zip(samples, values, strict=True)}
