"""The node in which the run waits until a person has judged texts."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
from tutelage.agents.teacher.calibration import calibrate
from tutelage.graph.context import RunContext
from tutelage.graph.review.decisions import Decision, Item, OpenReview, Queue, Review
from tutelage.graph.review.outcome import judged_sample, measured_answers, own_labels
from tutelage.graph.review.queue import Candidate, allowance, chosen, doubt, near_rows
from tutelage.graph.state import State
from tutelage.graph.students.committee import mean_predictions, members, predictions
from tutelage.graph.students.label_check import suspected_labels
from tutelage.graph.students.training_rows import kept_samples
from tutelage.graph.weaknesses import read_cards
from tutelage.student.corpus import Sample, changed
from tutelage.student.errors import InputError

_COMPARISON = (
    "a person judged some of the chosen samples: where they are compared with labels of random texts, which"
    " nobody judged, this counts for the chosen ones"
)


def review(ctx: RunContext, state: State) -> State:
    """Choose the texts that a person should judge, wait for the decisions, and apply them.

    LangGraph runs the node again from its beginning when the run goes on. The texts are therefore chosen once
    and stored, and decisions are read from the run folder. Whatever the run is continued with, it goes on:
    texts without a decision are skipped.
    """
    kept = Review(ctx.folder)
    queue = kept.queue()
    if queue is None or (queue["round"], queue["attempt"]) != (state["round"], state["attempt"]):
        queue = _new_queue(ctx, state, kept.decisions())
        kept.put(queue)
    decided = kept.decisions()
    if waiting := [item for item in queue["items"] if item["id"] not in decided]:
        ctx.trace.log(waiting=len(waiting))
        _wait(ctx, {"review": str(ctx.folder.path), "round": state["round"], "texts": waiting})
    _apply(ctx, state, kept.decisions())
    return {}


def _wait(ctx: RunContext, asked: dict[str, object]) -> None:
    """Wait for a person, and keep the decisions that the run is continued with, if there are any. If they
    cannot be kept, the run waits again: LangGraph would return the same value to every later attempt.
    """
    from langgraph.types import interrupt

    while True:
        answer = interrupt(asked)
        try:
            return OpenReview(ctx.folder, ctx.task).decide_all(answer if isinstance(answer, list) else [])
        except InputError as error:
            asked = {**asked, "error": str(error)}


def _new_queue(ctx: RunContext, state: State, decided: dict[str, Decision]) -> Queue:
    """Choose the texts to judge in this attempt of a round, and find the user's rows that are near them."""
    before_train = ctx.task.review == "before_train"
    samples = _labelled(ctx, state) if before_train else _unlabelled(ctx, state)
    items = chosen(
        [one for one in samples if one.item["id"] not in decided],
        [one for one in _suspects(ctx, state) if one.item["id"] not in decided],
        allowance(ctx.task.review_budget, [*decided.values()], state["round"], state["rounds"]),
        measured=before_train,
        seed=f"{ctx.task.seed} {state['round']} {state['attempt']} review",
    )
    near = near_rows([item["text"] for item in items], ctx.splits.seed, ctx.encoder)
    return Queue(
        round=state["round"],
        attempt=state["attempt"],
        items=[cast(Item, {**item, "near": rows}) for item, rows in zip(items, near, strict=True)],
    )


def _labelled(ctx: RunContext, state: State) -> list[Candidate]:
    """Return the samples that the round would train on, with the doubt about the teacher's label."""
    new = {card["id"]: card["name"] for card in read_cards(ctx.folder) if card["round"] == state["round"]}
    found = []
    for sample in kept_samples(ctx.corpus, [state["round"]]):
        shown = ctx.task.type.to_text(sample["answered"], sample["text"])
        if name := new.get(sample["weakness"]):
            reason = f"it was written for a new weakness: {name}"
        elif sample["answered"] != sample["label"]:
            reason = f"teacher and students disagree: the students predict {shown or 'nothing'}"
        else:
            reason = "the teacher is unsure of its label"
        item = _item(sample, reason)
        item["label"], item["answered"] = sample["label"], sample["answered"]
        if "confidence" in sample:
            item["confidence"] = sample["confidence"]
        wrong = doubt(sample.get("confidence"), float(np.exp(-sample["nll"])))
        found.append(Candidate(item, wrong, sample["weakness"] if name else ""))
    return found


def _unlabelled(ctx: RunContext, state: State) -> list[Candidate]:
    """Return the texts that the teacher would label next, with the students' doubt about their own answer."""
    samples = [sample for sample in ctx.unfinished(state) if "label" not in sample]
    if not samples:
        return []
    mean = mean_predictions(predictions(ctx, state["best"], [sample["text"] for sample in samples]))
    found = []
    for sample, answered, sure in zip(samples, mean.answers, mean.confidence, strict=True):
        item = _item(sample, f"the students are unsure: their answer has a confidence of {sure:.2f}")
        item["answered"] = answered
        found.append(Candidate(item, 1 - float(sure)))
    return found


def _suspects(ctx: RunContext, state: State) -> list[Candidate]:
    """Return the user's own rows whose label is probably wrong, with the probability that it is."""
    rows, found = ctx.splits.labelled, []
    for one in suspected_labels(ctx.task, ctx.splits, ctx.folder, state["best"]) or []:
        row = rows[one.row_index]
        wrong = ctx.task.type.to_text(one.suggested, row["text"])
        item = Item(
            id=row["id"],
            text=row["text"],
            own=True,
            reason=f"your label may be wrong: students that were not trained on it predict {wrong}",
            random=False,
            near=[],
            label=one.given,
            answered=one.suggested,
        )
        found.append(Candidate(item, doubt(None, one.p_given / (one.p_given + one.p_suggested))))
    return found


def _item(sample: Sample, reason: str) -> Item:
    return Item(id=sample["id"], text=sample["text"], own=False, reason=reason, random=False, near=[])


def _apply(ctx: RunContext, state: State, decided: dict[str, Decision]) -> None:
    """Apply all decisions to the samples of this round and to the user's rows, and measure the teacher again.
    Decisions of an earlier time at this round (before it was repeated) count, too.
    """
    samples = ctx.corpus.drafts(round=state["round"])
    judged = [
        judged_sample(sample, decided[sample["id"]])
        for sample in samples
        if sample["status"] in ("draft", "kept") and sample["id"] in decided
    ]
    student = next(iter(members(ctx, state["best"])))[1]
    problems = {s["id"]: student.why_unlearnable(s["label"]) for s in judged if s["status"] == "kept"}
    judged = [
        changed(s, status="refused", reason=problems[s["id"]]) if problems.get(s["id"]) else s for s in judged
    ]
    ctx.corpus.add_judged([s for s in judged if s["status"] == "refused"])  # no text is asked about twice
    ctx.corpus.update(judged)
    _log(ctx, judged)
    labels = own_labels(decided)
    changed_rows = [row for row in ctx.splits.labelled if labels.get(row["id"], row["label"]) != row["label"]]
    ctx.splits.relabel(labels)
    ctx.trace.log(
        decisions=dict(Counter(decided[s["id"]]["action"] for s in judged)), own_relabelled=len(changed_rows)
    )
    if judged:
        ctx.folder.add_note(_COMPARISON)
    _measure_again(ctx, decided)


def _log(ctx: RunContext, judged: Sequence[Sample]) -> None:
    refused = [sample["id"] for sample in judged if sample["status"] == "refused"]
    ctx.trace.log(samples={"refused": refused} if refused else {})


def _measure_again(ctx: RunContext, decided: dict[str, Decision]) -> None:
    """Fit the calibration of the teacher's confidence to the samples that were judged at random, too."""
    before = ctx.folder.read_calibration()
    if before is None or not before["rows"]:
        return
    own = before["answers"][: before["rows"] - before.get("reviewed", 0)]
    new = measured_answers(decided, ctx.corpus.drafts(), before["source"])
    confidences, correct = zip(*own, *new, strict=True)
    after = calibrate(confidences, [bool(one) for one in correct], before["source"], before["labels"])
    ctx.folder.write_json(ctx.folder.calibration, {**before, **after, "reviewed": len(new)})
