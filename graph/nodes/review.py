"""The node in which the run waits until a person has judged texts."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
from tutelage.agents.teacher.calibration import calibrate
from tutelage.graph.context import RunContext
from tutelage.graph.review.apply import judged_sample, measured_answers, own_labels
from tutelage.graph.review.decisions import Decision, Item, Queue, Review
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.queue import Candidate, allowance, chosen, label_uncertainty, near_rows
from tutelage.graph.state import State
from tutelage.graph.students.committee import mean_predictions, members, predictions
from tutelage.graph.students.label_check import suspected_labels
from tutelage.graph.students.predictions import grade_again, with_predictions
from tutelage.graph.weaknesses import count_on_cards, read_cards
from tutelage.student.corpus import Sample, changed
from tutelage.student.errors import InputError

_COMPARISON = (
    "a person judged some of the chosen samples: where these are compared with labels of random texts, of"
    " which fewer were judged, this counts for the chosen ones"
)
_RELABELLED = (
    "labels of your own rows were replaced in the review: the scores of all rounds are by the new labels. The"
    " rows were chosen because students disagreed with them, so these scores are too high"
)


def review(ctx: RunContext, state: State) -> State:
    """Choose the texts that a person should judge, wait for the decisions, and apply them.

    LangGraph runs the node again from its beginning when the run goes on. The texts are therefore chosen once
    and stored, and decisions are read from the run folder. The run goes on with True or with a list of
    decisions. A text without a decision is treated as if nobody had looked at it.
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
            if answer is not True and not isinstance(answer, list):
                raise InputError(f"go on with True, or with a list of decisions; got {answer!r}")
            return OpenReview(ctx.folder, ctx.task).finish([] if answer is True else answer)
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
    users = [] if ctx.folder.first_labels.exists() else ctx.splits.seed  # else they are the teacher's labels
    near = near_rows([item["text"] for item in items], users, ctx.encoder)
    return Queue(
        round=state["round"],
        attempt=state["attempt"],
        items=[cast(Item, {**item, "near": rows}) for item, rows in zip(items, near, strict=True)],
    )


def _labelled(ctx: RunContext, state: State) -> list[Candidate]:
    """Return the samples that the round would train on, with the uncertainty of the teacher's label."""
    new = {card["id"]: card["name"] for card in read_cards(ctx.folder) if card["round"] == state["round"]}
    samples = ctx.corpus.drafts(round=state["round"], status="kept")
    if not samples:
        return []
    mean = mean_predictions(predictions(ctx, state["best"], [sample["text"] for sample in samples]))
    found = []
    for sample, sure in zip(samples, mean.confidence, strict=True):
        agreement = 1 - max(float(sure) - float(np.exp(-sample["nll"])), 0.0)
        if name := new.get(sample["weakness"]):
            reason = f"it was written for a new weakness: {name}"
        elif sample["answered"] != sample["label"]:
            shown = ctx.task.type.to_text(sample["answered"], sample["text"])
            reason = f"teacher and students disagree: the students predict {shown or 'nothing'}"
        else:
            reason = "teacher and students agree, but the label is among the least certain ones"
        item = _item(sample, reason)
        item["label"], item["answered"] = sample["label"], sample["answered"]
        if "confidence" in sample:
            item["confidence"] = sample["confidence"]
        wrong = label_uncertainty(sample.get("confidence"), agreement)
        found.append(Candidate(item, wrong, sample["weakness"] if name else ""))
    return found


def _unlabelled(ctx: RunContext, state: State) -> list[Candidate]:
    """Return the texts that the teacher would label next, with the uncertainty of the students' answer."""
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
    """Return the user's own rows whose label is probably wrong, with the probability that it is. If
    several labels of a row are suspected, the most suspect one is named.
    """
    rows, found = ctx.splits.labelled, []
    suspects = suspected_labels(ctx.task, ctx.splits, ctx.folder, state["best"]) or []
    for one in {one.row_index: one for one in reversed(suspects)}.values():
        row = rows[one.row_index]
        suggested = ctx.task.type.to_text(one.suggested, row["text"])
        item = Item(
            id=row["id"],
            text=row["text"],
            own=True,
            reason=f"your label may be wrong: students that were not trained on it predict {suggested}",
            random=False,
            near=[],
            label=one.given,
            answered=one.suggested,
        )
        found.append(Candidate(item, label_uncertainty(None, 1 - max(one.p_suggested - one.p_given, 0.0))))
    return found


def _item(sample: Sample, reason: str) -> Item:
    return Item(id=sample["id"], text=sample["text"], own=False, reason=reason, random=False, near=[])


def _apply(ctx: RunContext, state: State, decided: dict[str, Decision]) -> None:
    """Apply all decisions to the samples of this round and to the user's rows, and measure the teacher again.
    If the round is repeated, the decisions that were made the first time still count.
    """
    judged = [
        judged_sample(sample, decided[sample["id"]])
        for sample in ctx.corpus.drafts(round=state["round"])
        if sample["status"] in ("draft", "kept") and sample["id"] in decided
    ]
    judged = _learnable(ctx, state, judged)
    relabelled = [s for s in judged if s["status"] == "kept" and "teacher_label" in s]
    # The stored loss and probabilities are those of the label before.
    new = {s["id"]: s for s in with_predictions(ctx, state["best"], relabelled)}
    judged = [new.get(s["id"], s) for s in judged]
    refused = [s for s in judged if s["status"] == "refused"]
    ctx.corpus.add_judged(refused)  # so that no text like it is asked about again
    ctx.corpus.update(judged)
    count_on_cards(ctx.folder, ctx.corpus.drafts())
    if any("reviewed" in s for s in judged):
        ctx.folder.add_note(_COMPARISON)
    made = [decision for decision in decided.values() if decision["round"] == state["round"]]
    relabelled_rows = sum(decision["own"] and decision["action"] == "relabel" for decision in made)
    if relabelled_rows:
        ctx.splits.relabel(own_labels(decided))
        grade_again(ctx)
        ctx.folder.add_note(_RELABELLED)
    _measure_again(ctx, decided)
    counts = Counter(decision["action"] for decision in made if not decision["own"])
    ctx.trace.log(
        decisions=dict(counts),
        own_relabelled=relabelled_rows,
        samples={"refused": [s["id"] for s in refused]} if refused else {},
    )


def _learnable(ctx: RunContext, state: State, samples: Sequence[Sample]) -> list[Sample]:
    """Return judged samples; those whose new label the student cannot learn are refused with the reason."""
    student = next(iter(members(ctx, state["best"])))[1]
    problems = {s["id"]: student.why_unlearnable(s["label"]) for s in samples if s["status"] == "kept"}
    return [
        changed(s, status="refused", reason=why) if (why := problems.get(s["id"])) else s for s in samples
    ]


def _measure_again(ctx: RunContext, decided: dict[str, Decision]) -> None:
    """Fit the calibration of the teacher's confidence again: by the labels that the user's own rows have now,
    and to the samples that were drawn at random and judged, too.
    """
    before = ctx.folder.read_calibration()
    if before is None or not before.get("answers"):
        return
    labels = {row["id"]: row["label"] for row in ctx.splits.labelled}
    own = [(one["confidence"], one["label"] == labels[one["id"]]) for one in before["answers"]]
    new = measured_answers(decided, ctx.corpus.drafts(), before["source"])
    confidences, correct = zip(*own, *new, strict=True)
    after = calibrate(confidences, correct, before["source"], before["labels"])
    after["note"] = "; ".join(note for note in (before["left_out"], after["note"]) if note)
    ctx.folder.write_json(ctx.folder.calibration, {**before, **after, "reviewed": len(new)})
