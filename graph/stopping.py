"""When a run stops, and why."""

from collections.abc import Sequence

from tutelage.graph.context import Workshop
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.state import State
from tutelage.graph.students.predictions import marks
from tutelage.student.evaluation.gains import gain

GAIN_CHANCE = 0.8  # share of resampled sets in which a gain must show (see `stalled`)


def why_stop(shop: Workshop, state: State, *, cut_short: bool = False) -> str:
    """Why no further round follows, "" if one does; a round that was cut short may bring nothing."""
    rounds = state["rounds"]
    if state["round"] >= rounds and not cut_short:
        return f"{rounds} {'round is' if rounds == 1 else 'rounds are'} done"
    if refusal := shop.teacher.refusal():
        return refusal
    if state["round"] == 0 and (reason := teacher_too_weak(shop)):
        return reason
    if not shop.strategy.writes and not cut_short and not left_in_pool(shop):
        return f"all {len(shop.splits.unlabelled)} texts of the pool are used"
    if state["round"] and not cut_short and not shop.corpus.drafts(round=state["round"], status="kept"):
        return f"round {state['round']} brought no new sample"
    return "" if cut_short else stalled(shop)


def stalled(shop: Workshop) -> str:
    """Why the run stops for want of progress, "" if it goes on: the last `stall` rounds together brought no
    gain of the gate metric beyond noise over the best student before them.

    Beyond noise: better in at least four of five resampled sets (ours; at the usual 19 of 20, a few hundred
    rows would hide every gain worth its labels).
    """
    lines, stall = shop.folder.read_rounds(), shop.strategy.stall
    if not stall or len(lines) <= stall or not shop.splits.gate or shop.task.teacher.force:
        return ""
    before = max(lines[:-stall], key=lambda line: line["gate"] or 0.0)
    after = max(lines[-stall:], key=lambda line: line["gate"] or 0.0)
    old, new = (marks(shop, line["round"], "gate") for line in (before, after))
    found = gain(shop.task.form, old, new, shop.labels, shop.task.metric)
    if found.chance_better >= GAIN_CHANCE:
        return ""
    calls, tokens = lines[-1]["teacher_calls"], lines[-1]["prompt_tokens"] + lines[-1]["completion_tokens"]
    cost = "" if not lines[-1]["cost"] else f", cost {lines[-1]['cost']:.4g}"
    return (
        f"the last {stall} rounds brought no gain beyond noise ({before['gate']:.3f} before,"
        f" {after['gate']:.3f} at best since); another would take about {calls} calls and {tokens:,}"
        f" tokens{cost}; --force goes on"
    )


def teacher_too_weak(shop: Workshop) -> str:
    """Why the teacher is not worth its labels, "" if it is or if the user goes on all the same (`--force`).

    On the user's own rows it must score better than a student that has learnt the other rows, and better than
    naming the commonest label always.
    """
    if shop.task.teacher.force or (measured := shop.folder.read_calibration()) is None:
        return ""
    if (found := measured.get("rivals")) is None:
        return ""
    teacher, student, commonest = found["teacher"], found["student"], found["commonest"]
    if teacher[0] > max(student[0], commonest[0]):
        return ""
    better = student[0] >= commonest[0]
    rival = "a student of your labels alone" if better else "naming the commonest label always"
    scores = f"{_with_interval(teacher)}, {rival} {_with_interval(student if better else commonest)}"
    return (
        f"the teacher is no better than the student it would teach: {found['metric']} on {found['rows']} of"
        f" your own rows {scores}; take a better model, describe the labels better, or go on with --force"
    )


def _with_interval(score: Sequence[float]) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*score)
