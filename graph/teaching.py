"""Nodes around the teacher: analyst, generator, screen, labeler, critic, keep."""

import random
from collections import Counter
from collections.abc import Sequence

from tutelage.agents import analyst as the_analyst
from tutelage.agents import critic as the_critic
from tutelage.agents import generator as the_generator
from tutelage.agents import labeler as the_labeler
from tutelage.agents.analyst import Answer
from tutelage.agents.hostile import is_hostile
from tutelage.graph.cards import Card, before, open_cards, read_cards, write_cards
from tutelage.graph.exams import answers_on_diagnose, graded
from tutelage.graph.orders import plan
from tutelage.graph.state import State
from tutelage.graph.workshop import Workshop
from tutelage.student.corpus import Neighbour, Sample, changed
from tutelage.student.exam import entropy
from tutelage.student.rows import Row

SHOTS_A_LABEL = 3
AVOIDED = 12  # refused texts shown to the generator


def analyst(shop: Workshop, state: State) -> State:
    """Open the next round: find the best student's weaknesses on diagnose and open their cards."""
    round = state["round"] + 1
    opened: State = {"round": round, "attempt": 0, "rejudge": False, "weaknesses": []}
    if shop.strategy.feedback == "none":
        return opened
    answers = answers_on_diagnose(shop, state["best"])
    calm = [answer for answer in answers if not is_hostile(answer["text"])]
    right, wrong = _shown(calm, shop.strategy.shown, random.Random(f"{shop.task.seed} {round}"))
    cards = before(read_cards(shop.folder), round)
    found = the_analyst.diagnose(
        shop.teacher,
        shop.task.brief(),
        right,
        wrong,
        _told(shop, state, cards),
        limit=shop.strategy.weaknesses,
        round=round,
        seed=_seed(shop, state, 1),
    )
    cards, served = open_cards(cards, found, answers)
    write_cards(shop.folder, cards)
    shop.trace.tell(weaknesses={card["id"]: card["name"] for card in cards if card["id"] in served})
    return {**opened, "weaknesses": served}


def generator(shop: Workshop, state: State) -> State:
    """Have the texts written that the round still lacks."""
    round, attempt = state["round"], state["attempt"] + 1
    # Of earlier attempts only: cut off after its work was stored, this one must ask the same again.
    so_far = [sample for sample in shop.corpus.drafts(round=round) if sample["attempt"] < attempt]
    lacking = shop.strategy.samples - sum(sample["status"] == "kept" for sample in so_far)
    cards = [card for card in read_cards(shop.folder) if card["id"] in state["weaknesses"]]
    f1 = {entry["label"]: entry["f1"] for entry in graded(shop, state["best"], "diagnose")["classes"]}
    samples = the_generator.write(
        shop.teacher,
        shop.task.brief(),
        plan(shop.strategy, lacking * _oversample(shop, state), cards, f1),
        cards,
        _shots(shop, state),
        _avoid(so_far),
        round=round,
        attempt=attempt,
        seed=_seed(shop, state, 2),
    )
    shop.corpus.put(samples)
    shop.trace.tell(attempt=attempt, written=[sample["id"] for sample in samples])
    return {"attempt": attempt, "rejudge": False}


def screen(shop: Workshop, state: State) -> State:
    """Refuse near-duplicates and leaks, and what the student is sure of, before labels are paid for."""
    samples = _batch(shop, state)
    near = shop.corpus.neighbours([sample["text"] for sample in samples])
    refused = [_refuse_near(s, n) for s, n in zip(samples, near, strict=True) if n]
    fresh = [s for s, n in zip(samples, near, strict=True) if not n]
    kept_before = len(shop.corpus.drafts(round=state["round"], status="kept"))
    surplus = len(fresh) - (shop.strategy.samples - kept_before)
    if surplus > 0:
        refused += _least_doubted(shop, state, fresh, surplus)
    shop.corpus.put(refused)
    _tell_fates(shop, refused)
    return {}


def labeler(shop: Workshop, state: State) -> State:
    """Label blind what has no label; on the critic's word, label a second time."""
    again = state.get("rejudge", False)
    batch = [
        s for s in _batch(shop, state) if ("label" not in s or (again and s.get("verdict") == "relabel"))
    ]
    for sample in batch:
        sample.pop("verdict", None)
    seed = _seed(shop, state, 4 if again else 3)
    labelled = the_labeler.label(
        shop.teacher,
        shop.task.brief(),
        batch,
        seed=seed,
        votes=shop.task.teacher.votes,
        calibration=shop.folder.read_calibration(),
    )
    shop.corpus.put(labelled)
    shop.trace.tell(labelled=[s["id"] for s in labelled if "label" in s], again=again)
    return {}


def critic(shop: Workshop, state: State) -> State:
    """Judge what is labelled and not judged yet; ask once for a second label where it disagrees."""
    batch = [s for s in _batch(shop, state) if "label" in s and "verdict" not in s]
    seed = _seed(shop, state, 6 if state.get("rejudge") else 5)
    judged = the_critic.judge(shop.teacher, shop.task.brief(), batch, seed=seed)
    shop.corpus.put(judged)
    shop.trace.tell(verdicts=dict(Counter(s["verdict"] for s in judged)))
    disputed = any(s.get("verdict") == "relabel" for s in _batch(shop, state))
    return {"rejudge": disputed and not state.get("rejudge", False)}


def keep(shop: Workshop, state: State) -> State:
    """Keep what the critic accepts, refuse the rest with its reason, and count both on the cards."""
    batch = _batch(shop, state)
    accepted = [changed(s, status="kept") for s in batch if s.get("verdict") == "accept"]
    refused = [_refuse(s) for s in batch if s.get("verdict") != "accept"]
    # The refused too, if they were judged: none is paid for twice.
    shop.corpus.know([sample for sample in [*accepted, *refused] if sample.get("judged_by")])
    shop.corpus.put([*accepted, *refused])
    written = shop.corpus.drafts()
    ordered = Counter(s["weakness"] for s in written)
    kept = Counter(s["weakness"] for s in written if s["status"] == "kept")
    cards = read_cards(shop.folder)
    for card in cards:
        card["ordered"], card["kept"] = ordered[card["id"]], kept[card["id"]]
    write_cards(shop.folder, cards)
    _tell_fates(shop, [*accepted, *refused])
    return {"rejudge": False}


def short_of_samples(shop: Workshop, state: State) -> bool:
    """Whether a round has kept too few and the generator may be asked again."""
    kept = len(shop.corpus.drafts(round=state["round"], status="kept"))
    short = kept < shop.strategy.enough * shop.strategy.samples
    if not short or state["attempt"] > shop.strategy.attempts:
        return False
    if refusal := shop.teacher.refusal():
        # As if the generator had asked: with more to spend, this round is to be begun again.
        shop.trace.call({"role": "generator", "refused": refusal, "over_budget": True})
        return False
    return True


def _batch(shop: Workshop, state: State) -> list[Sample]:
    """This attempt's samples that are still under way."""
    drafts = shop.corpus.drafts(round=state["round"], status="draft")
    return [sample for sample in drafts if sample["attempt"] == state["attempt"]]


def _shown(answers: Sequence[Answer], count: int, chance: random.Random) -> tuple[list[Answer], list[Answer]]:
    """Right and wrong answers for the analyst: three errors of each pair of labels in turn, frequent
    pairs first, so that one pair does not fill the page; and right ones of the same labels.
    """
    wrong = [answer for answer in answers if answer["label"] != answer["predicted"]]
    chance.shuffle(wrong)
    pairs = Counter((answer["label"], answer["predicted"]) for answer in wrong)
    seen: Counter[tuple[str, str]] = Counter()
    ranks = []
    for number, answer in enumerate(wrong):
        pair = answer["label"], answer["predicted"]
        ranks.append((seen[pair] // 3, -pairs[pair], number))
        seen[pair] += 1
    wrong = [wrong[number] for *_, number in sorted(ranks)][:count]
    touched = {label for answer in wrong for label in (answer["label"], answer["predicted"])}
    right = [a for a in answers if a["label"] == a["predicted"] and (a["label"] in touched or not touched)]
    return chance.sample(right, min(count, len(right))), wrong


def _told(shop: Workshop, state: State, cards: Sequence[Card]) -> dict[str, object]:
    """The analyst's `report`: diagnose figures and the ledger; nothing of gate or test.

    Nothing either that the analyst's own work changes: after a crash the same request must be made.
    """
    report = graded(shop, state["best"], "diagnose")
    weak = sorted(report["classes"], key=lambda entry: entry["f1"])[:20]
    return {
        "round": state["round"],
        "metric": round(report["metric"], 3),
        "accepted": not state["note"],
        "note": state["note"],
        "classes": [{"label": e["label"], "f1": round(e["f1"], 3), "support": e["support"]} for e in weak],
        "weaknesses": [
            {
                "label": c["label"],
                "confused_with": c["confused_with"],
                "status": c["status"],
            }
            for c in cards[-20:]
        ],
    }


def _avoid(samples: Sequence[Sample]) -> list[dict[str, str]]:
    """Refused texts with the reason, judgements before duplicates; nothing of a leak is ever told."""
    told = [s for status in ("refused", "duplicate") for s in samples if s["status"] == status]
    told = [s for s in told if not is_hostile(s["text"])]  # nobody shows orders to a model that writes
    return [{"text": s["text"], "reason": s.get("reason", "")} for s in told[:AVOIDED]]


def _shots(shop: Workshop, state: State) -> list[Row]:
    """A few seeds of every label, others each round."""
    chance = random.Random(f"{shop.task.seed} {state['round']} shots")
    rows = [row for row in shop.splits.seed if not is_hostile(row["text"])]
    chance.shuffle(rows)
    seen: Counter[str] = Counter()
    shots = []
    for row in rows:
        seen[row["label"]] += 1
        if seen[row["label"]] <= SHOTS_A_LABEL:
            shots.append(row)
    return shots


def _oversample(shop: Workshop, state: State) -> int:
    return shop.strategy.oversample if state["round"] > shop.strategy.cold_rounds else 1


def _least_doubted(shop: Workshop, state: State, fresh: Sequence[Sample], surplus: int) -> list[Sample]:
    """The `surplus` samples the best student doubts least, by entropy (ours)."""
    if _oversample(shop, state) == 1:
        return [
            changed(s, status="surplus", reason="more texts came than were wanted") for s in fresh[-surplus:]
        ]
    doubt = entropy(shop.student(state["best"]).probabilities([s["text"] for s in fresh]))
    return [
        changed(fresh[i], status="surplus", reason=f"the student doubts others more (entropy {doubt[i]:.2f})")
        for i in doubt.argsort(kind="stable")[:surplus]
    ]


def _tell_fates(shop: Workshop, samples: Sequence[Sample]) -> None:
    fates: dict[str, list[str]] = {}
    for sample in samples:
        fates.setdefault(sample["status"], []).append(sample["id"])
    shop.trace.tell(samples=fates)


def _refuse_near(sample: Sample, neighbour: Neighbour) -> Sample:
    leak = neighbour.source == "sealed"
    place = "gate or test" if leak else {"known": "the corpus", "batch": "this batch"}[neighbour.source]
    return changed(
        sample,
        status="leak" if leak else "duplicate",
        reason=f"too near to a text in {place}",
        neighbour=neighbour.text,
        similarity=round(neighbour.similarity, 4),
    )


def _refuse(sample: Sample) -> Sample:
    prefixes = {"relabel": "labeler and critic disagree twice: ", "rewrite": "to be written better: "}
    verdict = sample.get("verdict", "unjudged")
    status = "unjudged" if verdict == "unjudged" else "refused"
    return changed(
        sample, status=status, reason=prefixes.get(verdict, "") + sample.get("reason", "not judged")
    )


def _seed(shop: Workshop, state: State, step: int) -> int:
    """A seed for the calls of one step: apart for every run seed, round, attempt and step."""
    place = f"{shop.task.seed} {state['round']} {state['attempt']} {step}"
    return random.Random(place).randrange(2**30)  # agents count on from it
