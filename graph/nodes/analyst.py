"""The node that opens a round: the analyst looks for weaknesses of the best students."""

import random
from collections.abc import Sequence

from tutelage.agents import analyst as the_analyst
from tutelage.agents.analyst import Weakness
from tutelage.graph.context import RunContext
from tutelage.graph.requests import evidence
from tutelage.graph.requests.gaps import gaps
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold
from tutelage.graph.students.predictions import predictions_on_diagnose
from tutelage.graph.weaknesses import Card, cards_before, open_cards, read_cards, write_cards


def analyst(ctx: RunContext, state: State) -> State:
    """Open the next round: find weaknesses in the answers of the best students, and write their cards.

    Each call shows answers to the rows of one fold, and the weaknesses it finds belong to this fold.
    """
    strategy, round = ctx.strategy, state["round"] + 1
    opened: State = {"round": round, "attempt": 0, "rejudge": False, "weaknesses": []}
    unused = strategy.feedback in ("none", "band") or not strategy.writes
    if unused or round <= strategy.paraphrase_rounds:
        return opened
    cards = cards_before(read_cards(ctx.folder), round)
    found: list[Weakness] = []
    for fold in ctx.folds:
        found += _weaknesses(ctx, state, cards, fold, first=len(found))
    if not ctx.labels:
        found = evidence.with_slices(ctx.splits, ctx.encoder, found)
    answers = predictions_on_diagnose(ctx.folder, ctx.splits, state["best"])
    cards, served = open_cards(ctx.task.type, cards, found, answers)
    write_cards(ctx.folder, cards)
    ctx.trace.log(weaknesses={card["id"]: card["name"] for card in cards if card["id"] in served})
    return {**opened, "weaknesses": served}


def _weaknesses(
    ctx: RunContext, state: State, cards: Sequence[Card], fold: Fold, *, first: int
) -> list[Weakness]:
    """Find weaknesses in the answers to the rows of one fold, or to all rows if they are not folded.

    If texts are written only for gaps of the pool, errors that the pool covers are left out.
    """
    strategy, task_type, round = ctx.strategy, ctx.task.type, state["round"] + 1
    answers = shown = evidence.probed_predictions(ctx, state, fold)
    if strategy.fill_gaps and (uncovered := gaps(ctx, state["best"], round)):
        shown = [a for a in answers if a["label"] == a["predicted"] or uncovered.lacks(task_type, a)]
    chance = random.Random(f"{ctx.task.seed} {round}" + ("" if fold is None else f" {fold}"))
    right, wrong = evidence.right_and_wrong(task_type, strategy, shown, chance)
    limit = -(-strategy.weaknesses // len(ctx.folds))
    if strategy.feedback == "errors":
        found = the_analyst.grouped(task_type, wrong, limit=limit, round=round)
    else:
        own = [card for card in cards if fold is None or card.get("fold") == fold]
        report = evidence.analyst_report(state, evidence.graded_predictions(ctx.task, answers), own)
        with ctx.trace.fold(fold):
            found = the_analyst.diagnose(
                ctx.teacher,
                ctx.task.brief(),
                the_analyst.GradedPredictions(right, wrong, report),
                limit=limit,
                round=round,
                seed=ctx.call_seed(state, 1, fold),
            )
    if fold is None:
        return found
    return [
        Weakness(**{**one, "id": f"w{round:02d}-{first + number}", "fold": fold})
        for number, one in enumerate(found, 1)
    ]
