"""Evidence: what agents are shown of the students' errors and of earlier texts; nothing of held-out sets, and
in one call never rows of two folds.
"""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from tutelage.agents.analyst import Answer, Weakness
from tutelage.agents.prompt_injection import is_hostile
from tutelage.graph.context import Workshop
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold, rows_of
from tutelage.graph.students.predictions import answers_on_diagnose
from tutelage.graph.weaknesses import Card
from tutelage.student.corpus import Sample
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.tasks import Kind
from tutelage.student.training.losses import in_band

_PAIR, _NAME = ("label", "confused_with", "status"), ("name", "status")
SLICE = 10  # diagnose texts that a weakness without labels is measured on
AVOIDED = 12  # refused texts shown to the generator


def probed(shop: Workshop, state: State, fold: Fold = None) -> list[Answer]:
    """The answers that show weaknesses, before the round of the state is opened (see `Strategy.probe`); those
    to the rows of one fold, or all.
    """
    answers = _probed(shop, state, fold)
    if shop.strategy.shows_wrong == "errors":
        return answers
    return _placebo(shop, answers, random.Random(f"{shop.task.seed} {state['round']} placebo"))


def _probed(shop: Workshop, state: State, fold: Fold) -> list[Answer]:
    strategy, last = shop.strategy, state["round"]
    if strategy.probe == "diagnose":
        return answers_on_diagnose(shop, state["best"], fold)
    batch = shop.corpus.drafts(round=last, status="kept")
    if last and strategy.test_first:
        return [answer(sample, sample["answered"]) for sample in batch]
    rows: Sequence[Row | Sample] = batch if last else shop.splits.seed
    given = shop.student(state["best"]).read([row["text"] for row in rows]).answers
    return [answer(row, predicted) for row, predicted in zip(rows, given, strict=True)]


def answer(row: Row | Sample | Answer, predicted: str) -> Answer:
    """A labelled text with a student's answer."""
    return Answer(id=row["id"], text=row["text"], label=row["label"], predicted=predicted)


def graded_answers(shop: Workshop, answers: Sequence[Answer]) -> Report:
    """Answers as an exam."""
    texts, gold = [a["text"] for a in answers], [a["label"] for a in answers]
    given = [a["predicted"] for a in answers]
    return grade(shop.task.form, texts, gold, given, shop.labels, shop.task.metric)


def right_and_wrong(
    kind: Kind, strategy: Strategy, answers: Sequence[Answer], chance: random.Random
) -> tuple[list[Answer], list[Answer]]:
    """Answers for the analyst: three errors of each pair of labels, the first of an answer, in turn, frequent
    pairs first, so that one pair does not fill the page; and right ones of the same labels. Texts that read
    like instructions to a model are left out.
    """
    calm = [a for a in answers if not is_hostile(a["text"])]
    wrong = [a for a in calm if a["label"] != a["predicted"]]
    chance.shuffle(wrong)
    first = {a["id"]: kind.slips(a["label"], a["predicted"])[0] for a in wrong}
    pairs = Counter(first.values())
    seen: Counter[tuple[str, str]] = Counter()
    ranks = []
    for number, a in enumerate(wrong):
        pair = first[a["id"]]
        ranks.append((seen[pair] // 3, -pairs[pair], number))
        seen[pair] += 1
    wrong = [wrong[number] for *_, number in sorted(ranks)][: strategy.shown]
    if not strategy.shows_right:
        return [], wrong
    touched = {label for a in wrong for label in first[a["id"]]}
    shown = {a["id"] for a in wrong}
    right = [
        a
        for a in calm
        if a["label"] == a["predicted"]
        and (touched & {*kind.groups(a["label"])} or not touched)
        and a["id"] not in shown
    ]
    return chance.sample(right, min(strategy.shown, len(right))), wrong


def sliced(shop: Workshop, weaknesses: Sequence[Weakness]) -> list[Weakness]:
    """Weaknesses of texts without labels, each with the diagnose texts nearest to those that show it, which
    are left out: they are wrong by choice (ours).
    """
    if shop.labels or not weaknesses:
        return list(weaknesses)
    result = []
    for weakness in weaknesses:
        rows = rows_of(shop, weakness.get("fold"))
        vectors = shop.encoder.encode([row["text"] for row in rows])
        cited = [row["text"] for row in rows if row["id"] in weakness["evidence"]]
        near = (vectors @ shop.encoder.encode(cited or weakness["examples"]).T).max(1)
        ranked = [rows[i]["id"] for i in (-near).argsort(kind="stable")]
        shown = [key for key in ranked if key not in weakness["evidence"]][:SLICE]
        result.append(Weakness(**{**weakness, "slice": shown}))
    return result


def told(shop: Workshop, state: State, report: Report, cards: Sequence[Card]) -> dict[str, object]:
    """The analyst's `report`: figures of the probed answers, and the ledger.

    Nothing that the analyst's own work changes: after a crash the same request must be made.
    """
    weak = sorted((c for c in report["classes"] if c["support"]), key=lambda entry: entry["f1"])[:20]
    return {
        "round": state["round"],
        "metric": round(report["metric"], 3),
        "accepted": not state["note"],
        "note": state["note"],
        "classes": [{"label": e["label"], "f1": round(e["f1"], 3), "support": e["support"]} for e in weak],
        "weaknesses": [
            {name: c[name] for name in (_PAIR if c["label"] else _NAME)}  # type: ignore[literal-required]
            for c in cards[-20:]
        ],
    }


def band(shop: Workshop, round: int) -> list[Row]:
    """Texts of the last round in the strategy's band of scores, by the student that had not seen them:
    of those ordered to be different, if any were (GOLD, arXiv 2403.19754).
    """
    kept = shop.corpus.drafts(round=round - 1, status="kept") if round > 1 else []
    batch = [s for s in kept if s["kind"] == "ood"] or kept
    calm = [s for s in batch if not is_hostile(s["text"])]
    scores = np.array([s[shop.strategy.score] for s in calm])
    chosen = [calm[place] for place in in_band(scores, shop.strategy.band)]
    return [Row(id=s["id"], text=s["text"], label=s["label"]) for s in chosen]


def avoided(samples: Sequence[Sample]) -> list[dict[str, str]]:
    """Refused texts with the reason, judgements before duplicates; nothing of a leak is ever told."""
    refused = [s for status in ("refused", "duplicate") for s in samples if s["status"] == status]
    # Nobody shows orders to a model that writes.
    calm = [s for s in refused if not is_hostile(s["text"])]
    return [{"text": s["text"], "reason": s.get("reason", "")} for s in calm[:AVOIDED]]


def shown_rows(shop: Workshop, fold: Fold = None) -> list[Row]:
    """The labelled rows that agents may be shown as examples: the seeds, or the rows of one fold."""
    rows, of = shop.splits.seed, shop.splits.folds
    return rows if fold is None else [row for row in rows if of[row["id"]] == fold]


def shots(shop: Workshop, round: int, fold: Fold = None) -> list[Row]:
    """A few labelled rows of every label, others each round; of one fold, where rows are folded."""
    of_fold = f" {fold}" if fold is not None else ""
    chance = random.Random(f"{shop.task.seed} {round} shots{of_fold}")
    rows = [row for row in shown_rows(shop, fold) if not is_hostile(row["text"])]
    chance.shuffle(rows)
    seen: Counter[str] = Counter()
    chosen = []
    for row in rows:
        labels = shop.task.form.groups(row["label"])
        if any(seen[label] < shop.strategy.shots for label in labels):
            chosen.append(row)
            seen.update(labels)
    return chosen


def _placebo(shop: Workshop, answers: Sequence[Answer], chance: random.Random) -> list[Answer]:
    """Any third of the texts told as errors, the others as right: what feedback, and every figure made of
    it, is worth if it says nothing of the student.
    """
    wrong = set(chance.sample(range(len(answers)), len(answers) // 3))
    return [
        answer(
            a, shop.task.form.garbled(a["label"], shop.labels, chance.random()) if i in wrong else a["label"]
        )
        for i, a in enumerate(answers)
    ]
