"""Evidence: what agents are shown of the students' errors and of earlier texts. It contains nothing from
held-out sets, and no call of a round shows rows of two folds.
"""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from tutelage.agents.analyst import LabelledPrediction, Weakness
from tutelage.agents.labeler import LabelerSettings
from tutelage.agents.prompt_injection import is_injection
from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold
from tutelage.graph.students.predictions import predictions_on_diagnose
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits
from tutelage.graph.weaknesses import Card
from tutelage.student.corpus import Corpus, Sample
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Vectors
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.training.losses import indices_in_band

_PAIR, _NAME = ("label", "confused_with", "status"), ("name", "status")
SLICE = 10  # diagnose texts on which a weakness without labels is measured
AVOIDED = 12  # refused texts shown to the generator


def probed_predictions(ctx: RunContext, state: State, fold: Fold = None) -> list[LabelledPrediction]:
    """Return the answers in which weaknesses are looked for (see `Strategy.probe`), to the rows of one fold
    or to all. The state is the one before the next round is opened.
    """
    answers = _probed(ctx, state, fold)
    if ctx.strategy.shows_wrong == "errors":
        return answers
    return _placebo(ctx.task, answers, random.Random(f"{ctx.task.seed} {state['round']} placebo"))


def _probed(ctx: RunContext, state: State, fold: Fold) -> list[LabelledPrediction]:
    strategy, last = ctx.strategy, state["round"]
    if strategy.probe == "diagnose":
        return predictions_on_diagnose(ctx.folder, ctx.splits, state["best"], fold)
    batch = ctx.corpus.drafts(round=last, status="kept")
    if last and strategy.test_first:
        return [labelled_prediction(sample, sample["answered"]) for sample in batch]
    rows: Sequence[Row | Sample] = batch if last else ctx.splits.seed
    answers = ctx.students.get(state["best"]).predict([row["text"] for row in rows]).answers
    return [labelled_prediction(row, predicted) for row, predicted in zip(rows, answers, strict=True)]


def labelled_prediction(row: Row | Sample | LabelledPrediction, predicted: str) -> LabelledPrediction:
    """Return a `LabelledPrediction`: a labelled text with a student's prediction."""
    return LabelledPrediction(id=row["id"], text=row["text"], label=row["label"], predicted=predicted)


def graded_predictions(task: Task, answers: Sequence[LabelledPrediction]) -> Report:
    """Grade the answers against their labels."""
    texts, gold = [a["text"] for a in answers], [a["label"] for a in answers]
    predicted = [a["predicted"] for a in answers]
    return grade(task.type, texts, gold, predicted, list(task.labels), task.metric)


def right_and_wrong(
    task_type: TaskType, strategy: Strategy, answers: Sequence[LabelledPrediction], chance: random.Random
) -> tuple[list[LabelledPrediction], list[LabelledPrediction]]:
    """Return right and wrong answers for the analyst. Errors come in turn, three of each pair of labels (the
    first pair of an answer), frequent pairs first, so that no pair fills the page. Right answers have the
    same labels. Texts that look like prompt injection are left out.
    """
    safe = [a for a in answers if not is_injection(a["text"])]
    wrong = [a for a in safe if a["label"] != a["predicted"]]
    chance.shuffle(wrong)
    first = {a["id"]: task_type.error_pairs(a["label"], a["predicted"])[0] for a in wrong}
    pairs = Counter(first.values())
    seen: Counter[tuple[str, str]] = Counter()
    ranks = []
    for number, a in enumerate(wrong):
        pair = first[a["id"]]
        ranks.append((seen[pair] // 3, -pairs[pair], number))
        seen[pair] += 1
    wrong = [wrong[number] for *_, number in sorted(ranks)][: strategy.analyst_examples]
    if not strategy.shows_right:
        return [], wrong
    touched = {label for a in wrong for label in first[a["id"]]}
    shown = {a["id"] for a in wrong}
    right = [
        a
        for a in safe
        if a["label"] == a["predicted"]
        and (touched & {*task_type.labels_in(a["label"])} or not touched)
        and a["id"] not in shown
    ]
    return chance.sample(right, min(strategy.analyst_examples, len(right))), wrong


def with_slices(splits: Splits, encoder: Vectors, weaknesses: Sequence[Weakness]) -> list[Weakness]:
    """Return weaknesses of a task without labels, each with a `slice`: the diagnose texts nearest to those
    that show it. It is measured on these, because the texts that show it were selected as errors (ours).
    """
    result = []
    for weakness in weaknesses:
        rows = splits.rows_of("diagnose", weakness.get("fold"))
        vectors = encoder.encode([row["text"] for row in rows])
        cited = [row["text"] for row in rows if row["id"] in weakness["evidence"]]
        near = (vectors @ encoder.encode(cited or weakness["examples"]).T).max(1)
        ranked = [rows[i]["id"] for i in (-near).argsort(kind="stable")]
        shown = [key for key in ranked if key not in weakness["evidence"]][:SLICE]
        result.append(Weakness(**{**weakness, "slice": shown}))
    return result


def analyst_report(state: State, report: Report, cards: Sequence[Card]) -> dict[str, object]:
    """Return the `report` in the analyst's request: scores of the probed answers, and earlier weaknesses.

    It depends on nothing that the analyst changes: after a crash the same request must be sent again.
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


def band(strategy: Strategy, corpus: Corpus, round: int) -> list[Row]:
    """Return the texts of the last round whose score, taken before training on them, lies in the strategy's
    band; only those requested to be different (`ood`) if there are any (GOLD, arXiv 2403.19754).
    """
    kept = corpus.drafts(round=round - 1, status="kept") if round > 1 else []
    batch = [s for s in kept if s["kind"] == "ood"] or kept
    safe = [s for s in batch if not is_injection(s["text"])]
    scores = np.array([s[strategy.score] for s in safe])
    chosen = [safe[i] for i in indices_in_band(scores, strategy.band)]
    return [Row(id=s["id"], text=s["text"], label=s["label"]) for s in chosen]


def rejected_examples(samples: Sequence[Sample]) -> list[dict[str, str]]:
    """Return rejected texts with their reasons, refused ones before duplicates. Leaks are never shown."""
    refused = [s for status in ("refused", "duplicate") for s in samples if s["status"] == status]
    # Texts that look like prompt injection are never shown to the generator.
    safe = [s for s in refused if not is_injection(s["text"])]
    return [{"text": s["text"], "reason": s.get("reason", "")} for s in safe[:AVOIDED]]


def shots(task: Task, strategy: Strategy, splits: Splits, round: int, fold: Fold = None) -> list[Row]:
    """Return a few labelled rows of every label, drawn anew each round; from one fold if rows are folded."""
    of_fold = f" {fold}" if fold is not None else ""
    chance = random.Random(f"{task.seed} {round} shots{of_fold}")
    rows = [row for row in splits.rows_of("seed", fold) if not is_injection(row["text"])]
    chance.shuffle(rows)
    seen: Counter[str] = Counter()
    chosen = []
    for row in rows:
        labels = task.type.labels_in(row["label"])
        if any(seen[label] < strategy.shots for label in labels):
            chosen.append(row)
            seen.update(labels)
    return chosen


def labeler_settings(ctx: RunContext, round: int, fold: Fold = None) -> LabelerSettings:
    """Return how the labeler labels texts of a round."""
    examples = shots(ctx.task, ctx.strategy, ctx.splits, round, fold)
    return LabelerSettings(ctx.task.teacher.votes, ctx.folder.read_calibration(), examples)


def _placebo(
    task: Task, answers: Sequence[LabelledPrediction], chance: random.Random
) -> list[LabelledPrediction]:
    """Return the answers with a random third marked as errors and the rest as right: a placebo that measures
    what feedback, and every figure made from it, is worth without information on the student.
    """
    labels, wrong = list(task.labels), set(chance.sample(range(len(answers)), len(answers) // 3))
    return [
        labelled_prediction(
            a, task.type.corrupted(a["label"], labels, chance.random()) if i in wrong else a["label"]
        )
        for i, a in enumerate(answers)
    ]
