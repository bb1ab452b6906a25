"""Nodes around the teacher: analyst, generator, labeler, critic."""

import random
from collections import Counter

from tutelage.agents import analyst as the_analyst
from tutelage.agents import critic as the_critic
from tutelage.agents import generator as the_generator
from tutelage.agents import labeler as the_labeler
from tutelage.agents.hostile import is_hostile
from tutelage.graph import showing
from tutelage.graph.cards import before, open_cards, read_cards, write_cards
from tutelage.graph.exams import answers_on_diagnose
from tutelage.graph.orders import paraphrases, plan
from tutelage.graph.screening import batch, objection
from tutelage.graph.state import State
from tutelage.graph.workshop import Workshop
from tutelage.student.corpus import is_drawn


def analyst(shop: Workshop, state: State) -> State:
    """Open the next round: find the best student's weaknesses in its answers and open their cards."""
    strategy, round = shop.strategy, state["round"] + 1
    opened: State = {"round": round, "attempt": 0, "rejudge": False, "weaknesses": []}
    unheard = strategy.feedback in ("none", "band") or not strategy.writes
    if unheard or round <= strategy.paraphrase_rounds:
        return opened
    answers = showing.probed(shop, state)
    chance = random.Random(f"{shop.task.seed} {round}")
    right, wrong = showing.right_and_wrong(shop.task.form, strategy, answers, chance)
    cards = before(read_cards(shop.folder), round)
    if strategy.feedback == "errors":
        found = the_analyst.grouped(shop.task.form, wrong, limit=strategy.weaknesses, round=round)
    else:
        found = the_analyst.diagnose(
            shop.teacher,
            shop.task.brief(),
            right,
            wrong,
            showing.told(shop, state, showing.graded_answers(shop, answers), cards),
            limit=strategy.weaknesses,
            round=round,
            seed=_seed(shop, state, 1),
        )
    found = showing.sliced(shop, found)
    cards, served = open_cards(shop.task.form, cards, found, answers_on_diagnose(shop, state["best"]))
    write_cards(shop.folder, cards)
    shop.trace.tell(weaknesses={card["id"]: card["name"] for card in cards if card["id"] in served})
    return {**opened, "weaknesses": served}


def generator(shop: Workshop, state: State) -> State:
    """Have the texts written that the round still lacks, beside those that were drawn in this attempt."""
    strategy, round = shop.strategy, state["round"]
    attempt = state["attempt"] + (not strategy.pool_share)  # the pool, where there is one, has begun it
    # Of earlier attempts only: cut off after its work was stored, this one must ask the same again.
    drafts = shop.corpus.drafts(round=round)
    so_far = [sample for sample in drafts if sample["attempt"] < attempt]
    lacking = strategy.samples - sum(sample["status"] == "kept" for sample in so_far)
    drawn = [sample for sample in drafts if sample["attempt"] == attempt and is_drawn(sample)]
    count = lacking * strategy.candidates(round) - len(drawn)
    cards = [card for card in read_cards(shop.folder) if card["id"] in state["weaknesses"]]
    fed = showing.band(shop, round) if strategy.feedback == "band" else []
    chance = random.Random(f"{shop.task.seed} {round} {attempt} orders")
    if round <= strategy.paraphrase_rounds:
        calm = [row for row in shop.splits.seed if not is_hostile(row["text"])]
        requests = paraphrases(shop.task.form, calm, count, chance)
    else:
        requests = plan(strategy, count, cards, _f1(shop, state), chance, fed=bool(fed))
    samples = the_generator.write(
        shop.teacher,
        shop.task.brief(),
        requests,
        cards,
        showing.seeds_shown(shop, round),
        showing.avoided([sample for sample in so_far if not is_drawn(sample)]),
        fed=fed,
        answered=not strategy.label_apart,
        length=strategy.length,
        round=round,
        attempt=attempt,
        first=len(drawn),
        seed=_seed(shop, state, 2),
    )
    shop.corpus.put(samples)
    shop.trace.tell(attempt=attempt, written=[sample["id"] for sample in samples])
    return {"attempt": attempt, "rejudge": False}


def labeler(shop: Workshop, state: State) -> State:
    """Label blind what has no label; on the critic's word, label a second time. Where labelling is not apart,
    a text has the label it was written with.
    """
    again = state.get("rejudge", False)
    under_way = batch(shop, state)
    found = [s for s in under_way if "label" not in s or (again and s.get("verdict") == "relabel")]
    given: list[str] = []
    if not (shop.strategy.label_apart or again):
        given = [s["id"] for s in under_way if "label" in s]
        found = [s for s in found if is_drawn(s)]
    for sample in found:
        sample.pop("verdict", None)
    labelled = the_labeler.label(
        shop.teacher,
        shop.task.brief(),
        found,
        seed=_seed(shop, state, 4 if again else 3),
        votes=shop.task.teacher.votes,
        calibration=shop.folder.read_calibration(),
        shots=showing.seeds_shown(shop, state["round"]),
    )
    shop.corpus.update(labelled)
    shop.trace.tell(labelled=given + [s["id"] for s in labelled if "label" in s], again=again)
    return {}


def critic(shop: Workshop, state: State) -> State:
    """Judge what is labelled and not judged yet; ask once for a second label where it disagrees."""
    if not shop.strategy.critic:
        return {"rejudge": False}
    labelled = [s for s in batch(shop, state) if "label" in s and "verdict" not in s]
    found = [s for s in labelled if not objection(shop, s)]  # those are refused in any case
    seed = _seed(shop, state, 6 if state.get("rejudge") else 5)
    judged = the_critic.judge(shop.teacher, shop.task.brief(), found, seed=seed)
    shop.corpus.update(judged)
    shop.trace.tell(verdicts=dict(Counter(s["verdict"] for s in judged)))
    again = any(s.get("verdict") == "relabel" for s in batch(shop, state))
    return {"rejudge": again and not state.get("rejudge", False)}


def _f1(shop: Workshop, state: State) -> dict[str, float]:
    """Label -> F1 of the best student on what it is probed on; 1 where a batch has no such text, and for
    texts with no label, where they are ordered.
    """
    opened: State = {**state, "round": state["round"] - 1}
    report = showing.graded_answers(shop, showing.probed(shop, opened))
    f1 = {c["label"]: c["f1"] if c["support"] else 1.0 for c in report["classes"]}
    return {**f1, **dict.fromkeys(shop.task.form.bare, 1.0)}


def _seed(shop: Workshop, state: State, step: int) -> int:
    """A seed for the calls of one step: apart for every run seed, round, attempt and step."""
    place = f"{shop.task.seed} {state['round']} {state['attempt']} {step}"
    return random.Random(place).randrange(2**30)  # agents count on from it
