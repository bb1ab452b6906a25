"""The node that evaluates a round, and promotes it or rolls it back."""

from collections import Counter
from collections.abc import Sequence

from tutelage.graph.context import RunContext
from tutelage.graph.run_folder.folder import RoundLine
from tutelage.graph.state import State
from tutelage.graph.stopping import why_stop
from tutelage.graph.students.predictions import (
    comparable_statistics,
    evaluation,
    example_statistics,
    predict_round,
    predictions_on_diagnose,
)
from tutelage.graph.students.self_training import predict_pool
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.weaknesses import measure_again, read_cards, write_cards
from tutelage.student.evaluation.evaluate import p_value_worse
from tutelage.student.evaluation.gains import interval

BEYOND_NOISE = 0.05  # the usual significance level (ours): a round with a lower p-value is rolled back


def evaluate(ctx: RunContext, state: State) -> State:
    """Store the answers of the round's students, promote the round or roll it back, and write its line.

    A round is rolled back if its gate metric is below that of the best promoted round beyond noise
    (p < 0.05), on the rows that can compare them (`comparable_statistics`). Comparing with the best round
    keeps small losses from adding up. Samples of a round that is rolled back are not trained on again.
    Answers on test are stored without being graded.
    """
    round = state["round"]
    predict_round(ctx, round)
    if round == 0:
        predict_pool(ctx)
    p_value = _p_value(ctx, round)
    accepted = p_value is None or p_value >= BEYOND_NOISE
    best = round if accepted else state["best"]
    answers = predictions_on_diagnose(ctx.folder, ctx.splits, best)
    write_cards(ctx.folder, measure_again(ctx.task.type, read_cards(ctx.folder), answers, round))
    line = _line(ctx, round, accepted, p_value, [*state["promoted"], round])
    if state.get("final"):
        line["final"] = True
    ctx.folder.write_round(line)
    logged = {"metric": line["metric"], "gate": line["gate"], "accepted": accepted, "p_value": p_value}
    ctx.trace.log(**logged, folded=ctx.splits.folded)
    has_samples = round and not state.get("final")
    promoted = [*state["promoted"], round] if accepted and has_samples else state["promoted"]
    worse = f"round {round} was rolled back: its samples made the student worse"
    return {
        "best": best,
        "promoted": promoted,
        "note": "" if accepted or state.get("final") else worse,
        "metric": evaluation(ctx, best, "diagnose")["metric"],
        "stop": state.get("stop") or why_stop(ctx, state),
    }


def _p_value(ctx: RunContext, round: int) -> float | None:
    """Return the p-value of "not worse than the promoted student with the highest gate metric"."""
    before = [line for line in ctx.folder.read_rounds() if line["accepted"] and line["round"] < round]
    if not (before and ctx.splits.gate):
        return None
    best = max(before, key=lambda line: line["gate"] or 0.0)["round"]
    old, new = comparable_statistics(ctx, [best, round])
    return p_value_worse(ctx.task.type, old, new, ctx.task.metric)


def _line(
    ctx: RunContext, round: int, accepted: bool, p_value: float | None, trained: Sequence[int]
) -> RoundLine:
    spent = ctx.teacher.journal.spent()
    before = [line for line in ctx.folder.read_rounds() if line["round"] < round]
    status_counts = Counter(sample["status"] for sample in ctx.corpus.drafts(round=round))
    kept = status_counts.pop("kept", 0)
    shown = "gate" if ctx.splits.gate else "diagnose"
    return RoundLine(
        round=round,
        metric=evaluation(ctx, round, "diagnose")["metric"],
        gate=evaluation(ctx, round, "gate")["metric"] if ctx.splits.gate else None,
        interval=interval(ctx.task.type, example_statistics(ctx, round, shown), ctx.task.metric),
        accepted=accepted,
        p_value=p_value,
        teacher_calls=spent["calls"] - sum(line["teacher_calls"] for line in before),
        prompt_tokens=spent["prompt_tokens"] - sum(line["prompt_tokens"] for line in before),
        completion_tokens=spent["completion_tokens"] - sum(line["completion_tokens"] for line in before),
        cost=None if spent["cost"] is None else max(0, spent["cost"] - sum(x["cost"] or 0 for x in before)),
        samples_kept=kept,
        samples_rejected=sum(status_counts.values()),
        refused=dict(sorted(status_counts.items())),
        trained_on=len(training_rows(ctx.strategy, ctx.splits, ctx.corpus, trained)),
        seconds=float(f"{ctx.trace.seconds(round):.1f}"),
    )
