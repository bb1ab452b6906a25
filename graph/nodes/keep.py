"""The node that keeps accepted samples and refuses the others, with reasons."""

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import members
from tutelage.graph.students.predictions import with_predictions
from tutelage.graph.weaknesses import count_on_cards
from tutelage.student.corpus import Sample, changed


def keep(ctx: RunContext, state: State) -> State:
    """Keep samples that the critic accepts (without a critic, all labelled ones), and refuse the rest with a
    reason. Kept samples store the best students' predictions from before they are trained on them.

    Update the counts on the weakness cards. Stop the run if the budget ended before the round kept anything.
    """
    found = ctx.unfinished(state)
    judged = [s for s in found if "label" in s and _accepted(ctx.strategy, s)]
    student = next(iter(members(ctx, state["best"])))[1]
    problems = {s["id"]: student.why_unlearnable(s["label"]) for s in judged}
    accepted = [s for s in judged if not problems[s["id"]]]
    ids = {s["id"] for s in judged}
    refused = [_refuse(s) for s in found if s["id"] not in ids]
    refused += [changed(s, status="refused", reason=why) for s in judged if (why := problems[s["id"]])]
    kept = with_predictions(ctx, state["best"], [changed(s, status="kept") for s in accepted])
    # Refused samples are remembered too, unless they are unjudged, so that no text is paid for twice.
    ctx.corpus.add_judged([*kept, *(sample for sample in refused if sample["status"] == "refused")])
    ctx.settle([*kept, *refused])
    count_on_cards(ctx.folder, ctx.corpus.drafts())
    empty = not ctx.corpus.drafts(round=state["round"], status="kept")
    return {"rejudge": False, "stop": (ctx.teacher.refusal() or "") if empty else ""}


def _accepted(strategy: Strategy, sample: Sample) -> bool:
    return strategy.critic == "none" or sample.get("verdict") in ("accept", "undisputed")


def _refuse(sample: Sample) -> Sample:
    prefixes = {"relabel": "labeler and critic disagree twice: ", "rewrite": "to be written better: "}
    verdict = sample.get("verdict", "unjudged")
    status = "unjudged" if verdict == "unjudged" else "refused"
    return changed(
        sample, status=status, reason=prefixes.get(verdict, "") + sample.get("reason", "not judged")
    )
