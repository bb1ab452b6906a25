"""Weakness cards: what was found, what was done about it, and whether it helped."""

import json
from collections.abc import Sequence
from typing import Literal, cast

from tutelage.agents.analyst import Answer, Weakness, identity
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.evaluation.evaluate import wilson
from tutelage.student.tasks import INVENTED, Kind


class Card(Weakness):
    """A weakness with its numbers on the diagnose set, or on its fold; one card for a pair of labels (and
    fold).

    The slice is all diagnose texts of `label` (of a label that is invented, all others and where it was); an
    error is one answered `confused_with`. It is not the shown errors alone: those are wrong by choice, and
    would look cured by chance. `found_in` lists the rounds whose analysis named it, `errors` is the count at
    the first of them, `history` holds [round, errors] of every exam since; `ordered` and `kept` count samples
    written for it.
    """

    support: int
    errors: int
    found_in: list[int]
    ordered: int
    kept: int
    history: list[list[int]]
    status: Literal["open", "cured", "returned"]


def open_cards(
    kind: Kind, cards: Sequence[Card], found: Sequence[Weakness], answers: Sequence[Answer]
) -> tuple[list[Card], list[str]]:
    """Cards with the weaknesses of a new analysis, and the ids of those to be served now.

    A pair of labels that has a card keeps it, with the new hypothesis, evidence and examples.
    """
    by_pair = {identity(card): card for card in cards}
    served = []
    for weakness in found:
        pair = identity(weakness)
        if old := by_pair.get(pair):
            told = {key: weakness[key] for key in _RENEWED}  # type: ignore[literal-required]
            by_pair[pair] = cast(Card, {**old, **told, "found_in": [*old["found_in"], weakness["round"]]})
        else:
            support, errors = _measure(kind, weakness, answers)
            by_pair[pair] = Card(
                **weakness,
                support=support,
                errors=errors,
                found_in=[weakness["round"]],
                ordered=0,
                kept=0,
                history=[],
                status="open",
            )
        served.append(by_pair[pair]["id"])
    return list(by_pair.values()), served


def before(cards: Sequence[Card], round: int) -> list[Card]:
    """Cards as they stood before a round's analysis, for when it is done again."""
    return [
        _with(
            cast(Card, {**card, "found_in": [r for r in card["found_in"] if r < round]}),
            [entry for entry in card["history"] if entry[0] < round],
        )
        for card in cards
        if card["round"] < round
    ]


_RENEWED = ("name", "hypothesis", "evidence", "examples", "found_by")


def measure_again(kind: Kind, cards: Sequence[Card], answers: Sequence[Answer], round: int) -> list[Card]:
    """Cards with the error counts of a new exam and what has become of them.

    A weakness is cured while its errors are at most half of those it was found with, and returned
    when they were and no longer are. Counts are small: reports show them with their interval.
    """
    result = []
    for card in cards:
        errors = _measure(kind, card, answers)[1]
        history = [entry for entry in card["history"] if entry[0] < round] + [[round, errors]]
        result.append(_with(card, history))
    return result


def rate(errors: int, support: int) -> str:
    """An error rate with its 95 % interval, for people."""
    low, high = wilson(errors, support)
    return f"{errors}/{support} ({low:.0%}-{high:.0%})"


def read_cards(folder: RunFolder) -> list[Card]:
    """All cards of a run, oldest first."""
    if not folder.weaknesses.exists():
        return []
    found: list[Card] = json.loads(folder.weaknesses.read_text(encoding="utf-8"))
    return found


def write_cards(folder: RunFolder, cards: Sequence[Card]) -> None:
    """Replace weaknesses.json."""
    folder.write_json(folder.weaknesses, list(cards))


def _with(card: Card, history: list[list[int]]) -> Card:
    """The card with its exams since it was found, and what has become of it by them."""
    healed = [0 < card["errors"] >= 2 * count for _, count in history]
    status = "cured" if healed and healed[-1] else "returned" if any(healed) else "open"
    return cast(Card, {**card, "history": history, "status": status})


def _measure(kind: Kind, weakness: Weakness, answers: Sequence[Answer]) -> tuple[int, int]:
    pair = weakness["label"], weakness["confused_with"]
    answers = [a for a in answers if a["id"] in weakness.get("slice", (a["id"],))]
    answers = [a for a in answers if a.get("fold") == weakness.get("fold", a.get("fold"))]
    met = [pair in kind.slips(answer["label"], answer["predicted"]) for answer in answers]
    there = [pair[0] in kind.groups(answer["label"]) for answer in answers]
    wanted = [not x for x in there] if pair[1] == INVENTED else there
    slice_ = [inside or error for inside, error in zip(wanted, met, strict=True)]
    return sum(slice_), sum(met)
