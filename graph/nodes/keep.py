"""The node that keeps accepted samples and refuses the others, with reasons."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tutelage.graph.context import RunContext
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import mean_predictions, members
from tutelage.graph.weaknesses import read_cards, write_cards
from tutelage.student.corpus import Corpus, Sample, changed, is_drawn


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
    kept = with_predictions(ctx, state, [changed(s, status="kept") for s in accepted])
    # Refused samples are remembered too, unless they are unjudged, so that no text is paid for twice.
    ctx.corpus.add_judged([*kept, *(sample for sample in refused if sample["status"] == "refused")])
    ctx.settle([*kept, *refused])
    count_on_cards(ctx.folder, ctx.corpus)
    empty = not ctx.corpus.drafts(round=state["round"], status="kept")
    return {"rejudge": False, "stop": (ctx.teacher.refusal() or "") if empty else ""}


def with_predictions(ctx: RunContext, state: State, samples: Sequence[Sample]) -> list[Sample]:
    """Return samples with the best students' answer, its energy, and the loss on the sample's label."""
    if not samples:
        return []
    texts, labels = [s["text"] for s in samples], [s["label"] for s in samples]
    mean = mean_predictions([student.predict(texts, labels) for _, student in members(ctx, state["best"])])
    assert mean.nll is not None, "labels were passed"
    predicted = [
        changed(sample, answered=answer, energy=round(float(energy), 4), nll=round(float(nll), 4))
        for sample, answer, energy, nll in zip(samples, mean.answers, mean.energy, mean.nll, strict=True)
    ]
    if ctx.strategy.label_mix and mean.probabilities is not None:
        predicted = [
            changed(sample, predicted_before=[round(float(p), 4) for p in row])
            for sample, row in zip(predicted, mean.probabilities, strict=True)
        ]
    return _baseline_probabilities(ctx, predicted) if ctx.strategy.importance else predicted


def _baseline_probabilities(ctx: RunContext, samples: Sequence[Sample]) -> list[Sample]:
    """Return samples; written ones with the probability of their label under each student of round 0."""
    written = [s for s in samples if not is_drawn(s)]
    texts, labels = [s["text"] for s in written], [s["label"] for s in written]
    found = [student.predict(texts, labels).nll for _, student in members(ctx, 0)] if written else []
    chances = {
        s["id"]: [round(float(np.exp(-one[i])), 4) for one in found if one is not None]
        for i, s in enumerate(written)
    }
    return [changed(s, baseline_probability=chances[s["id"]]) if s["id"] in chances else s for s in samples]


def count_on_cards(folder: RunFolder, corpus: Corpus) -> None:
    """Count on each weakness card the samples that were requested and kept for it."""
    if not (cards := read_cards(folder)):
        return
    written = corpus.drafts()
    requested = Counter(s["weakness"] for s in written)
    kept = Counter(s["weakness"] for s in written if s["status"] == "kept")
    for card in cards:
        card["requested"], card["kept"] = requested[card["id"]], kept[card["id"]]
    write_cards(folder, cards)


def _accepted(strategy: Strategy, sample: Sample) -> bool:
    return strategy.critic == "none" or sample.get("verdict") in ("accept", "undisputed")


def _refuse(sample: Sample) -> Sample:
    prefixes = {"relabel": "labeler and critic disagree twice: ", "rewrite": "to be written better: "}
    verdict = sample.get("verdict", "unjudged")
    status = "unjudged" if verdict == "unjudged" else "refused"
    return changed(
        sample, status=status, reason=prefixes.get(verdict, "") + sample.get("reason", "not judged")
    )
