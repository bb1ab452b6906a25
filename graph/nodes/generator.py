"""The node in which the generator writes texts."""

import random
from collections import Counter
from collections.abc import Sequence

from tutelage.agents import generator as the_generator
from tutelage.agents.generator import DraftRules, Evidence, GenerationRequest
from tutelage.agents.prompt_injection import is_injection
from tutelage.graph.context import RunContext
from tutelage.graph.requests import evidence
from tutelage.graph.requests.gaps import gaps
from tutelage.graph.requests.generation_requests import apportion, gap_requests, paraphrases, plan_requests
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold
from tutelage.graph.weaknesses import Card, read_cards
from tutelage.student.corpus import Sample, changed, is_drawn


def generator(ctx: RunContext, state: State) -> State:
    """Let the generator write the texts that the round still lacks beside those drawn in this attempt. Each
    call shows rows of one fold, and its texts are marked with that fold.
    """
    strategy, round = ctx.strategy, state["round"]
    attempt = state["attempt"] + (not strategy.draws)  # otherwise the node `pool` has begun the attempt
    # Earlier attempts only: if the process dies after `put`, this attempt must send the same requests again.
    drafts = ctx.corpus.drafts(round=round)
    so_far = [sample for sample in drafts if sample["attempt"] < attempt]
    lacking = strategy.samples - sum(sample["status"] == "kept" for sample in so_far)
    drawn = [sample for sample in drafts if sample["attempt"] == attempt and is_drawn(sample)]
    count = lacking * strategy.candidates(round) - len(drawn)
    if strategy.fill_gaps:
        count = state["to_write"]
    shares = apportion(_fold_weights(ctx, state), count)
    samples: list[Sample] = []
    for fold in ctx.folds:
        first = len(drawn) + len(samples)
        samples += _written(ctx, {**state, "attempt": attempt}, shares[str(fold)], so_far, fold, first)
    ctx.corpus.put(samples)
    ctx.trace.log(attempt=attempt, written=[sample["id"] for sample in samples])
    return {"attempt": attempt, "rejudge": False}


def _fold_weights(ctx: RunContext, state: State) -> dict[str, float]:
    """Return the share of each fold in the texts to write: equal or, for gaps, by the fold's weaknesses."""
    found = gaps(ctx, state["best"], state["round"]) if ctx.strategy.fill_gaps else None
    weaknesses = Counter(c.get("fold") for c in read_cards(ctx.folder) if c["id"] in state["weaknesses"])
    every, missing = ctx.folds, len(found.labels) if found else 0
    if not (missing or weaknesses) or not ctx.strategy.fill_gaps:
        return {str(fold): 1.0 for fold in every}
    return {str(fold): weaknesses[fold] + missing / len(every) for fold in every}


def _written(
    ctx: RunContext, state: State, count: int, so_far: Sequence[Sample], fold: Fold, first: int
) -> list[Sample]:
    """Let the generator write `count` texts; it is shown rows of one fold."""
    strategy, round, attempt = ctx.strategy, state["round"], state["attempt"]
    of_fold = f" {fold}" if fold is not None else ""
    cards = [
        card
        for card in read_cards(ctx.folder)
        if card["id"] in state["weaknesses"] and (fold is None or card.get("fold") == fold)
    ]
    feedback = evidence.band(strategy, ctx.corpus, round) if strategy.feedback == "band" else []
    # The word "orders" is part of the seed: another word would change the results.
    chance = random.Random(f"{ctx.task.seed} {round} {attempt} orders{of_fold}")
    if round <= strategy.paraphrase_rounds:
        safe = [row for row in ctx.splits.rows_of("seed", fold) if not is_injection(row["text"])]
        requests = paraphrases(ctx.task.type, safe, count, chance)
    elif not (requests := _for_gaps(ctx, state, count, cards)):
        requests = plan_requests(
            strategy, count, cards, _f1(ctx, state, fold), chance, has_feedback=bool(feedback)
        )
    own = [s for s in so_far if not is_drawn(s) and (fold is None or s.get("fold") == fold)]
    shown = Evidence(
        weaknesses=cards,
        shots=evidence.shots(ctx.task, strategy, ctx.splits, round, fold),
        avoid=evidence.rejected_examples(own),
        resemble=feedback,
    )
    rules = DraftRules(with_labels=not strategy.blind_labels, length=strategy.length)
    seed = ctx.call_seed(state, 2, fold)
    with ctx.trace.fold(fold):
        samples = the_generator.write(ctx.teacher, ctx.task.brief(), requests, shown, rules, seed=seed)
    of_run = {"round": round, "attempt": attempt} | ({} if fold is None else {"fold": fold})
    return [changed(sample, place=place, **of_run) for place, sample in enumerate(samples, first)]


def _for_gaps(ctx: RunContext, state: State, count: int, cards: Sequence[Card]) -> list[GenerationRequest]:
    """Return requests for what the pool lacks, or none if no gap was found."""
    found = gaps(ctx, state["best"], state["round"]) if ctx.strategy.fill_gaps else None
    return gap_requests(count, cards, found.labels) if found else []


def _f1(ctx: RunContext, state: State, fold: Fold) -> dict[str, float]:
    """Return label -> F1 of the best student on the probed answers. It is 1 for labels without such a text,
    and for texts without any label, if the task type allows them.
    """
    opened: State = {**state, "round": state["round"] - 1}
    report = evidence.graded_predictions(ctx.task, evidence.probed_predictions(ctx, opened, fold))
    f1 = {c["label"]: c["f1"] if c["support"] else 1.0 for c in report["classes"]}
    return {**f1, **dict.fromkeys(ctx.task.type.no_label, 1.0)}
