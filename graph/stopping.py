"""The stopping rules of a run, each with the reason that the user is shown."""

from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.state import State
from tutelage.graph.students.predictions import comparable_statistics
from tutelage.graph.task.schema import Task
from tutelage.student.evaluation.gains import gain, score

GAIN_CHANCE = 0.8  # share of bootstrap samples in which the later round must score higher (see `stalled`)


def why_stop(ctx: RunContext, state: State, *, cut_short: bool = False) -> str:
    """Return the reason to stop, or "" for another round; an interrupted round (`cut_short`) may be empty."""
    rounds = state["rounds"]
    if state["round"] >= rounds and not cut_short:
        return f"{rounds} {'round is' if rounds == 1 else 'rounds are'} done"
    if refusal := ctx.teacher.refusal():
        return refusal
    if state["round"] == 0 and not cut_short and (reason := teacher_too_weak(ctx.task, ctx.folder)):
        return reason
    if not ctx.strategy.writes and not cut_short and not left_in_pool(ctx.splits, ctx.corpus):
        return f"all {len(ctx.splits.unlabelled)} texts of the pool are used"
    if state["round"] and not cut_short and not ctx.corpus.drafts(round=state["round"], status="kept"):
        return f"no sample of round {state['round']} was kept"
    return "" if cut_short else stalled(ctx)


def short_of_samples(ctx: RunContext, state: State) -> bool:
    """Return whether the round has kept too few samples and may still request or draw more texts."""
    strategy, attempt = ctx.strategy, state["attempt"]
    kept = len(ctx.corpus.drafts(round=state["round"], status="kept"))
    if kept >= strategy.min_kept_share * strategy.samples or attempt > strategy.attempts:
        return False
    only_draws = strategy.draws and not strategy.writes
    if only_draws and not left_in_pool(ctx.splits, ctx.corpus, before=(state["round"], attempt + 1)):
        return False
    if refusal := ctx.teacher.refusal():
        # Logged like a refused call: with a higher budget, a resumed run starts this round again.
        ctx.trace.call({"role": "generator", "refused": refusal, "over_budget": True})
        return False
    return True


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
    old, new = comparable_statistics(ctx, [before["round"], after["round"]])
    task_type, metric = ctx.task.type, ctx.task.metric
    if not len(old) or gain(task_type, old, new, metric).chance_better >= GAIN_CHANCE:
        return ""
    scores = [score(task_type, statistics, metric) for statistics in (old, new)]
    calls, tokens = lines[-1]["teacher_calls"], lines[-1]["prompt_tokens"] + lines[-1]["completion_tokens"]
    cost = "" if not lines[-1]["cost"] else f", cost {lines[-1]['cost']:.4g}"
    return (
        f"the last {stall} rounds brought no gain beyond noise ({scores[0]:.3f} before,"
        f" {scores[1]:.3f} at best since); another round would take about {calls} calls and"
        f" {tokens:,} tokens{cost}; to continue: tutelage resume {ctx.folder.path} --force"
    )


def teacher_too_weak(task: Task, folder: RunFolder) -> str:
    """Return the reason to stop if the teacher is too weak, or "" if it is not or the user set `--force`.

    On the user's own rows the teacher must score higher than a student trained on the other rows, and higher
    than always predicting the most frequent label.
    """
    if task.teacher.force or (measured := folder.read_calibration()) is None:
        return ""
    if (found := measured.get("baselines")) is None:
        return ""
    teacher, student, majority = found["teacher"], found["student"], found["majority_class"]
    if teacher[0] > max(student[0], majority[0]):
        return ""
    better = student[0] >= majority[0]
    other = "a student trained on your labels alone" if better else "always answering the most frequent label"
    return (
        f"the teacher is no better than the student it would teach: {found['metric']} on {found['rows']} of"
        f" your own rows is {_with_interval(teacher)} for the teacher and"
        f" {_with_interval(student if better else majority)} for {other}; use a stronger model, improve the"
        f" label descriptions, or go on all the same: tutelage resume {folder.path} --force"
    )


def _with_interval(score: Sequence[float]) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*score)
