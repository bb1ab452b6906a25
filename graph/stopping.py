"""The stopping rules of a run, each with the reason that the user is shown."""

from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.state import State
from tutelage.graph.students.predictions import example_statistics
from tutelage.student.evaluation.gains import gain

GAIN_CHANCE = 0.8  # share of bootstrap samples in which the later round must score higher (see `stalled`)


def why_stop(ctx: RunContext, state: State, *, cut_short: bool = False) -> str:
    """Return the reason to stop, or "" for another round; an interrupted round (`cut_short`) may be empty."""
    rounds = state["rounds"]
    if state["round"] >= rounds and not cut_short:
        return f"{rounds} {'round is' if rounds == 1 else 'rounds are'} done"
    if refusal := ctx.teacher.refusal():
        return refusal
    if state["round"] == 0 and not cut_short and (reason := teacher_too_weak(ctx)):
        return reason
    if not ctx.strategy.writes and not cut_short and not left_in_pool(ctx):
        return f"all {len(ctx.splits.unlabelled)} texts of the pool are used"
    if state["round"] and not cut_short and not ctx.corpus.drafts(round=state["round"], status="kept"):
        return f"no sample of round {state['round']} was kept"
    return "" if cut_short else stalled(ctx)


def stalled(ctx: RunContext) -> str:
    """Return the reason to stop if the last `stall` rounds brought no gain of the gate metric beyond noise
    over the best round before them, or "" otherwise.

    A gain is beyond noise if it shows in at least four of five bootstrap samples (ours; with the usual 19 of
    20, a few hundred rows would hide every useful gain).
    """
    lines, stall = ctx.folder.read_rounds(), ctx.strategy.stall
    if not stall or len(lines) <= stall or not ctx.splits.gate or ctx.task.teacher.force:
        return ""
    before = max(lines[:-stall], key=lambda line: line["gate"] or 0.0)
    after = max(lines[-stall:], key=lambda line: line["gate"] or 0.0)
    old, new = (example_statistics(ctx, line["round"], "gate") for line in (before, after))
    change = gain(ctx.task.type, old, new, ctx.labels, ctx.task.metric)
    if change.chance_better >= GAIN_CHANCE:
        return ""
    calls, tokens = lines[-1]["teacher_calls"], lines[-1]["prompt_tokens"] + lines[-1]["completion_tokens"]
    cost = "" if not lines[-1]["cost"] else f", cost {lines[-1]['cost']:.4g}"
    return (
        f"the last {stall} rounds brought no gain beyond noise ({before['gate']:.3f} before,"
        f" {after['gate']:.3f} at best since); another round would take about {calls} calls and"
        f" {tokens:,} tokens{cost}; use --force to continue"
    )


def teacher_too_weak(ctx: RunContext) -> str:
    """Return the reason to stop if the teacher is too weak, or "" if it is not or the user set `--force`.

    On the user's own rows the teacher must score higher than a student trained on the other rows, and higher
    than always predicting the most frequent label.
    """
    if ctx.task.teacher.force or (measured := ctx.folder.read_calibration()) is None:
        return ""
    if (rivals := measured.get("rivals")) is None:
        return ""
    teacher, student, commonest = rivals["teacher"], rivals["student"], rivals["commonest"]
    if teacher[0] > max(student[0], commonest[0]):
        return ""
    better = student[0] >= commonest[0]
    rival = "a student trained on your labels alone" if better else "always answering the most frequent label"
    return (
        f"the teacher is no better than the student it would teach: {rivals['metric']} on {rivals['rows']} of"
        f" your own rows is {_with_interval(teacher)} for the teacher and"
        f" {_with_interval(student if better else commonest)} for {rival}; use a stronger model, improve the"
        " label descriptions, or continue with --force"
    )


def _with_interval(score: Sequence[float]) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*score)
