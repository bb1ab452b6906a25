"""Nodes around the teacher: analyst, generator, labeler, critic."""

import random
from collections import Counter
from collections.abc import Sequence

from tutelage.agents import analyst as the_analyst
from tutelage.agents import critic as the_critic
from tutelage.agents import generator as the_generator
from tutelage.agents import labeler as the_labeler
from tutelage.agents.analyst import Weakness
from tutelage.agents.generator import Request
from tutelage.agents.prompt_injection import is_hostile
from tutelage.graph.context import Workshop
from tutelage.graph.nodes.screening import batch, objection
from tutelage.graph.requests import evidence
from tutelage.graph.requests.gaps import gaps
from tutelage.graph.requests.generation_requests import apportion, gap_requests, paraphrases, plan
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold, folds, readings
from tutelage.graph.students.predictions import answers_on_diagnose
from tutelage.graph.weaknesses import Card, before, open_cards, read_cards, write_cards
from tutelage.student.corpus import Sample, changed, is_drawn

DISPUTED = 0.5  # from this doubt of the students on a label is judged, with `critic: disputed` (ours)
_APART = 100_000  # between the seeds of two folds' labels: more than calls are ever made in one node


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
            seed=_seed(shop, state, 1, fold),
        )
    if fold is None:
        return found
    return [
        Weakness(**{**one, "id": f"w{round:02d}-{first + number}", "fold": fold})
        for number, one in enumerate(found, 1)
    ]


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
        seed=_seed(shop, state, 2, fold),
    )
    return samples if fold is None else [changed(sample, fold=fold) for sample in samples]


def _for_gaps(shop: Workshop, state: State, count: int, cards: Sequence[Card]) -> list[Request]:
    """Requests for what the pool lacks; none where nothing is known to be lacking."""
    found = gaps(shop, state["best"], state["round"]) if shop.strategy.fill_gaps else None
    return gap_requests(count, cards, found.labels) if found else []


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
    labelled: list[Sample] = []
    for number, (fold, part) in enumerate(_by_fold_shown(shop, found)):
        labelled += the_labeler.label(
            shop.teacher,
            shop.task.brief(),
            part,
            seed=_seed(shop, state, 4 if again else 3) + number * _APART,
            votes=shop.task.teacher.votes,
            calibration=shop.folder.read_calibration(),
            shots=evidence.shots(shop, state["round"], fold),
        )
    shop.corpus.update(labelled)
    shop.trace.tell(labelled=given + [s["id"] for s in labelled if "label" in s], again=again)
    return {}


def _by_fold_shown(shop: Workshop, samples: Sequence[Sample]) -> list[tuple[Fold, list[Sample]]]:
    """Divide samples by the fold whose rows the labeler is shown with them.

    Only where labelled rows are folded and the labeler is shown any: a written text keeps its fold, and a
    drawn one gets one, in turn, since its label was given with rows of that fold in view.
    """
    if not shop.splits.folded or not shop.task.form.shots:
        return [(None, list(samples))]
    count = shop.task.fold_count
    parts: list[list[Sample]] = [[] for _ in range(count)]
    for number, sample in enumerate(samples):
        fold = sample.get("fold", number % count)
        parts[fold].append(changed(sample, fold=fold))
    return [(fold, part) for fold, part in enumerate(parts) if part]


def critic(shop: Workshop, state: State) -> State:
    """Judge what is labelled and not judged yet, first those samples whose label the students confidently
    dispute (or those alone); ask once for a second label where the critic disagrees.
    """
    if shop.strategy.critic == "none":
        return {"rejudge": False}
    labelled = [s for s in batch(shop, state) if "label" in s and "verdict" not in s]
    found = [s for s in labelled if not objection(shop, s)]  # those are refused in any case
    doubts = dispute(shop, state["best"], found)
    found = sorted(found, key=lambda s: -doubts[s["id"]])
    if shop.strategy.critic == "disputed":
        unjudged = [changed(s, verdict="undisputed") for s in found if doubts[s["id"]] < DISPUTED]
        shop.corpus.update(unjudged)
        found = [s for s in found if doubts[s["id"]] >= DISPUTED]
    seed = _seed(shop, state, 6 if state.get("rejudge") else 5)
    judged = the_critic.judge(shop.teacher, shop.task.brief(), found, seed=seed)
    shop.corpus.update(judged)
    shop.trace.tell(verdicts=dict(Counter(s["verdict"] for s in judged)))
    again = any(s.get("verdict") == "relabel" for s in batch(shop, state))
    return {"rejudge": again and not state.get("rejudge", False)}


def dispute(shop: Workshop, round: int, samples: Sequence[Sample]) -> dict[str, float]:
    """Return for each sample how confidently the students of a round, which have not learnt it, give another
    answer than its label: the mean confidence of those that do, times their share; 0 where all agree. To four
    digits: a resumed run reads the texts in other company, and the last digits are at the mercy of that.
    """
    if not samples:
        return {}
    found = readings(shop, round, [s["text"] for s in samples])
    doubts = [
        sum(float(one.confidence[i]) for one in found if one.answers[i] != s["label"]) / len(found)
        for i, s in enumerate(samples)
    ]
    return {s["id"]: float(f"{doubt:.4f}") for s, doubt in zip(samples, doubts, strict=True)}


def _f1(shop: Workshop, state: State, fold: Fold) -> dict[str, float]:
    """Label -> F1 of the best student on what it is probed on; 1 where a batch has no such text, and for
    texts with no label, where they are ordered.
    """
    opened: State = {**state, "round": state["round"] - 1}
    report = evidence.graded_answers(shop, evidence.probed(shop, opened, fold))
    f1 = {c["label"]: c["f1"] if c["support"] else 1.0 for c in report["classes"]}
    return {**f1, **dict.fromkeys(shop.task.form.bare, 1.0)}


def _seed(shop: Workshop, state: State, step: int, fold: Fold = None) -> int:
    """A seed for the calls of one step: apart for every run seed, round, attempt, step and fold."""
    place = f"{shop.task.seed} {state['round']} {state['attempt']} {step}"
    of_fold = f" {fold}" if fold is not None else ""
    return random.Random(place + of_fold).randrange(2**30)  # agents count on from it
