"""The node that opens a round with the weaknesses of the best students."""

import random
from collections.abc import Sequence

from tutelage.agents import analyst as the_analyst
from tutelage.agents.analyst import Weakness
from tutelage.graph.context import Workshop
from tutelage.graph.requests import evidence
from tutelage.graph.requests.attempts import seed_for
from tutelage.graph.requests.gaps import gaps
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold, folds
from tutelage.graph.students.predictions import answers_on_diagnose
from tutelage.graph.weaknesses import Card, before, open_cards, read_cards, write_cards


def analyst(shop: Workshop, state: State) -> State:
    """Open the next round: find the best students' weaknesses in their answers and open their cards.

    Each call is shown answers to the rows of one fold, and the weaknesses it finds belong to this fold.
    """
    strategy, round = shop.strategy, state["round"] + 1
    opened: State = {"round": round, "attempt": 0, "rejudge": False, "weaknesses": []}
    unheard = strategy.feedback in ("none", "band") or not strategy.writes
    if unheard or round <= strategy.paraphrase_rounds:
        return opened
    cards = before(read_cards(shop.folder), round)
    found: list[Weakness] = []
    for fold in folds(shop):
        found += _weaknesses(shop, state, cards, fold, first=len(found))
    found = evidence.sliced(shop, found)
    cards, served = open_cards(shop.task.form, cards, found, answers_on_diagnose(shop, state["best"]))
    write_cards(shop.folder, cards)
    shop.trace.tell(weaknesses={card["id"]: card["name"] for card in cards if card["id"] in served})
    return {**opened, "weaknesses": served}


def _weaknesses(
    shop: Workshop, state: State, cards: Sequence[Card], fold: Fold, *, first: int
) -> list[Weakness]:
    """Find the weaknesses that the answers to one fold show (to all rows, where nothing is folded).

    Where texts are written for gaps of the pool alone, answers that the pool covers are left out.
    """
    strategy, form, round = shop.strategy, shop.task.form, state["round"] + 1
    answers = shown = evidence.probed(shop, state, fold)
    if strategy.fill_gaps and (uncovered := gaps(shop, state["best"], round)):
        shown = [a for a in answers if a["label"] == a["predicted"] or uncovered.lacks(form, a)]
    chance = random.Random(f"{shop.task.seed} {round}" + ("" if fold is None else f" {fold}"))
    right, wrong = evidence.right_and_wrong(form, strategy, shown, chance)
    limit = -(-strategy.weaknesses // len(folds(shop)))
    if strategy.feedback == "errors":
        found = the_analyst.grouped(form, wrong, limit=limit, round=round)
    else:
        own = [card for card in cards if fold is None or card.get("fold") == fold]
        report = evidence.told(shop, state, evidence.graded_answers(shop, answers), own)
        found = the_analyst.diagnose(
            shop.teacher,
            shop.task.brief(),
            right,
            wrong,
            report,
            limit=limit,
            round=round,
            seed=seed_for(shop, state, 1, fold),
        )
    if fold is None:
        return found
    return [
        Weakness(**{**one, "id": f"w{round:02d}-{first + number}", "fold": fold})
        for number, one in enumerate(found, 1)
    ]
