"""The node that has texts written."""

import random
from collections import Counter
from collections.abc import Sequence

from tutelage.agents import generator as the_generator
from tutelage.agents.generator import Request
from tutelage.agents.prompt_injection import is_hostile
from tutelage.graph.context import Workshop
from tutelage.graph.requests import evidence
from tutelage.graph.requests.attempts import seed_for
from tutelage.graph.requests.gaps import gaps
from tutelage.graph.requests.generation_requests import apportion, gap_requests, paraphrases, plan
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold, folds
from tutelage.graph.weaknesses import Card, read_cards
from tutelage.student.corpus import Sample, changed, is_drawn


def generator(shop: Workshop, state: State) -> State:
    """Have the texts written that the round still lacks, beside those that were drawn in this attempt. Each
    call is shown rows of one fold, and each text keeps that fold.
    """
    strategy, round = shop.strategy, state["round"]
    attempt = state["attempt"] + (not strategy.draws)  # the pool, where there is one, has begun it
    # Of earlier attempts only: cut off after its work was stored, this one must ask the same again.
    drafts = shop.corpus.drafts(round=round)
    so_far = [sample for sample in drafts if sample["attempt"] < attempt]
    lacking = strategy.samples - sum(sample["status"] == "kept" for sample in so_far)
    drawn = [sample for sample in drafts if sample["attempt"] == attempt and is_drawn(sample)]
    count = lacking * strategy.candidates(round) - len(drawn)
    if strategy.fill_gaps:
        count = state["to_write"]
    shares = apportion(_fold_weights(shop, state), count)
    samples: list[Sample] = []
    for fold in folds(shop):
        first = len(drawn) + len(samples)
        samples += _written(shop, {**state, "attempt": attempt}, shares[str(fold)], so_far, fold, first)
    shop.corpus.put(samples)
    shop.trace.tell(attempt=attempt, written=[sample["id"] for sample in samples])
    return {"attempt": attempt, "rejudge": False}


def _fold_weights(shop: Workshop, state: State) -> dict[str, float]:
    """How the texts to write are divided among the folds: evenly or, of gaps, by the weaknesses of each."""
    found = gaps(shop, state["best"], state["round"]) if shop.strategy.fill_gaps else None
    served = Counter(c.get("fold") for c in read_cards(shop.folder) if c["id"] in state["weaknesses"])
    every, of = folds(shop), len(found.labels) if found else 0
    if not (of or served) or not shop.strategy.fill_gaps:
        return {str(fold): 1.0 for fold in every}
    return {str(fold): served[fold] + of / len(every) for fold in every}


def _written(
    shop: Workshop, state: State, count: int, so_far: Sequence[Sample], fold: Fold, first: int
) -> list[Sample]:
    """Have `count` texts written with rows of one fold in view."""
    strategy, round, attempt = shop.strategy, state["round"], state["attempt"]
    of_fold = f" {fold}" if fold is not None else ""
    cards = [
        card
        for card in read_cards(shop.folder)
        if card["id"] in state["weaknesses"] and (fold is None or card.get("fold") == fold)
    ]
    fed = evidence.band(shop, round) if strategy.feedback == "band" else []
    chance = random.Random(f"{shop.task.seed} {round} {attempt} orders{of_fold}")
    if round <= strategy.paraphrase_rounds:
        calm = [row for row in evidence.shown_rows(shop, fold) if not is_hostile(row["text"])]
        requests = paraphrases(shop.task.form, calm, count, chance)
    elif not (requests := _for_gaps(shop, state, count, cards)):
        requests = plan(strategy, count, cards, _f1(shop, state, fold), chance, fed=bool(fed))
    own = [s for s in so_far if not is_drawn(s) and (fold is None or s.get("fold") == fold)]
    samples = the_generator.write(
        shop.teacher,
        shop.task.brief(),
        requests,
        cards,
        evidence.shots(shop, round, fold),
        evidence.avoided(own),
        fed=fed,
        answered=not strategy.label_apart,
        length=strategy.length,
        round=round,
        attempt=attempt,
        first=first,
        seed=seed_for(shop, state, 2, fold),
    )
    return samples if fold is None else [changed(sample, fold=fold) for sample in samples]


def _for_gaps(shop: Workshop, state: State, count: int, cards: Sequence[Card]) -> list[Request]:
    """Requests for what the pool lacks; none where nothing is known to be lacking."""
    found = gaps(shop, state["best"], state["round"]) if shop.strategy.fill_gaps else None
    return gap_requests(count, cards, found.labels) if found else []


def _f1(shop: Workshop, state: State, fold: Fold) -> dict[str, float]:
    """Label -> F1 of the best student on what it is probed on; 1 where a batch has no such text, and for
    texts with no label, where they are ordered.
    """
    opened: State = {**state, "round": state["round"] - 1}
    report = evidence.graded_answers(shop, evidence.probed(shop, opened, fold))
    f1 = {c["label"]: c["f1"] if c["support"] else 1.0 for c in report["classes"]}
    return {**f1, **dict.fromkeys(shop.task.form.bare, 1.0)}
