"""Weakness cards: the weaknesses found, the samples written for them, and their error counts over time."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Literal, cast

from tutelage.agents.analyst import LabelledPrediction, Weakness, identity
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.corpus import Sample
from tutelage.student.evaluation.evaluate import wilson
from tutelage.student.tasks.task_type import INVENTED, TaskType


class Card(Weakness):
    """A weakness with its error counts on the diagnose set or its fold. Each pair of labels (and fold) has
    one.

    `support` counts the diagnose texts with `label`; if the label is invented, those without it and those
    where it was invented. `errors` counts the ones answered `confused_with` when the weakness was first
    found. They are not counted on the shown errors alone: those were selected for being wrong, and the
    weakness would look cured by chance. `found_in` lists the rounds whose analysis named it. `history` holds
    [round, errors] of every later evaluation; `requested` and `kept` count samples written for it.
    """

    support: int
    errors: int
    found_in: list[int]
    requested: int
    kept: int
    history: list[list[int]]
    status: Literal["open", "cured", "returned"]


def open_cards(
    task_type: TaskType,
    cards: Sequence[Card],
    found: Sequence[Weakness],
    answers: Sequence[LabelledPrediction],
) -> tuple[list[Card], list[str]]:
    """Return the cards with the weaknesses of a new analysis added, and the ids of these weaknesses.

    A pair of labels that has a card keeps it, with the new hypothesis, evidence and examples.
    """
    by_pair = {identity(card): card for card in cards}
    served = []
    for weakness in found:
        pair = identity(weakness)
        if old := by_pair.get(pair):
            renewed = {key: weakness[key] for key in _RENEWED}  # type: ignore[literal-required]
            by_pair[pair] = cast(Card, {**old, **renewed, "found_in": [*old["found_in"], weakness["round"]]})
        else:
            support, errors = _measure(task_type, weakness, answers)
            by_pair[pair] = Card(
                **weakness,
                support=support,
                errors=errors,
                found_in=[weakness["round"]],
                requested=0,
                kept=0,
                history=[],
                status="open",
            )
        served.append(by_pair[pair]["id"])
    return list(by_pair.values()), served


def cards_before(cards: Sequence[Card], round: int) -> list[Card]:
    """Return the cards as they were before the analysis of a round, which is about to be repeated."""
    return [
        _with(
            cast(Card, {**card, "found_in": [r for r in card["found_in"] if r < round]}),
            [entry for entry in card["history"] if entry[0] < round],
        )
        for card in cards
        if card["round"] < round
    ]


_RENEWED = ("name", "hypothesis", "evidence", "examples", "found_by")


def measure_again(
    task_type: TaskType, cards: Sequence[Card], answers: Sequence[LabelledPrediction], round: int
) -> list[Card]:
    """Return the cards with the error counts and the status after a new evaluation.

    A weakness is `cured` while its errors are at most half of the initial ones, and `returned` if that was
    true before and no longer is. Counts are small, so reports show them with an interval.
    """
    result = []
    for card in cards:
        errors = _measure(task_type, card, answers)[1]
        history = [entry for entry in card["history"] if entry[0] < round] + [[round, errors]]
        result.append(_with(card, history))
    return result


def rate(errors: int, support: int) -> str:
    """Return an error rate with its 95 % interval (Wilson) as text."""
    low, high = wilson(errors, support)
    return f"{errors}/{support} ({low:.0%}-{high:.0%})"


def read_cards(folder: RunFolder) -> list[Card]:
    """Return all cards of a run, oldest first."""
    if not folder.weaknesses.exists():
        return []
    found: list[Card] = json.loads(folder.weaknesses.read_text(encoding="utf-8"))
    return found


def write_cards(folder: RunFolder, cards: Sequence[Card]) -> None:
    """Write weaknesses.json anew."""
    folder.write_json(folder.weaknesses, list(cards))


def _with(card: Card, history: list[list[int]]) -> Card:
    """Return the card with this history, and the status that follows from it."""
    halved = [0 < card["errors"] >= 2 * count for _, count in history]
    status = "cured" if halved and halved[-1] else "returned" if any(halved) else "open"
    return cast(Card, {**card, "history": history, "status": status})


def _measure(
    task_type: TaskType, weakness: Weakness, answers: Sequence[LabelledPrediction]
) -> tuple[int, int]:
    pair = weakness["label"], weakness["confused_with"]
    answers = [a for a in answers if a["id"] in weakness.get("slice", (a["id"],))]
    answers = [a for a in answers if a.get("fold") == weakness.get("fold", a.get("fold"))]
    errors = [pair in task_type.error_pairs(answer["label"], answer["predicted"]) for answer in answers]
    has_label = [pair[0] in task_type.labels_in(answer["label"]) for answer in answers]
    wanted = [not x for x in has_label] if pair[1] == INVENTED else has_label
    slice_ = [inside or error for inside, error in zip(wanted, errors, strict=True)]
    return sum(slice_), sum(errors)


def count_on_cards(folder: RunFolder, samples: Sequence[Sample]) -> None:
    """Count on each weakness card the samples that were requested and kept for it."""
    if not (cards := read_cards(folder)):
        return
    requested = Counter(s["weakness"] for s in samples)
    kept = Counter(s["weakness"] for s in samples if s["status"] == "kept")
    for card in cards:
        card["requested"], card["kept"] = requested[card["id"]], kept[card["id"]]
    write_cards(folder, cards)
