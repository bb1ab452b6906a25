"""The node that promotes a round or rolls it back."""

from collections import Counter
from collections.abc import Sequence

from tutelage.graph.context import Workshop
from tutelage.graph.run_folder.folder import RoundLine
from tutelage.graph.state import State
from tutelage.graph.stopping import why_stop
from tutelage.graph.students.predictions import answers_on_diagnose, graded, marks, predict_round
from tutelage.graph.students.self_training import answer_pool
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.weaknesses import measure_again, read_cards, write_cards
from tutelage.student.evaluation.evaluate import chance_not_worse

BEYOND_NOISE = 0.05  # the usual level (ours): below it a round is rolled back


def examine(shop: Workshop, state: State) -> State:
    """Store the answers of the round's students; promote the round or roll it back; write its line.

    It is promoted unless its gate metric is beyond noise below that of the best promoted so far
    (`chance_not_worse` below 0.05): small losses cannot add up. Samples of a round that is rolled back
    are not trained on again. Answers on test are stored without being graded.
    """
    round = state["round"]
    predict_round(shop, round)
    if round == 0:
        answer_pool(shop)
    chance = _chance(shop, round)
    accepted = chance is None or chance >= BEYOND_NOISE
    best = round if accepted else state["best"]
    answers = answers_on_diagnose(shop, best)
    write_cards(shop.folder, measure_again(shop.task.form, read_cards(shop.folder), answers, round))
    line = _line(shop, round, accepted, chance, [*state["promoted"], round])
    if state.get("final"):
        line["final"] = True
    shop.folder.write_round(line)
    folded = shop.splits.folded
    shop.trace.tell(metric=line["metric"], gate=line["gate"], accepted=accepted, chance=chance, folded=folded)
    brings = accepted and round and not state.get("final")
    promoted = [*state["promoted"], round] if brings else state["promoted"]
    worse = f"round {round} was rolled back: its samples made the student worse"
    return {
        "best": best,
        "promoted": promoted,
        "note": "" if accepted or state.get("final") else worse,
        "metric": graded(shop, best, "diagnose")["metric"],
        "stop": state.get("stop") or why_stop(shop, state),
    }


def _chance(shop: Workshop, round: int) -> float | None:
    """The p-value of "not worse than the promoted student with the highest gate metric"."""
    before = [line for line in shop.folder.read_rounds() if line["accepted"] and line["round"] < round]
    if not (before and shop.splits.gate):
        return None
    best = max(before, key=lambda line: line["gate"] or 0.0)["round"]
    old, new = (marks(shop, r, "gate") for r in (best, round))
    return chance_not_worse(shop.task.form, old, new, shop.labels, shop.task.metric)


def _line(
    shop: Workshop, round: int, accepted: bool, chance: float | None, trained: Sequence[int]
) -> RoundLine:
    spent = shop.teacher.journal.spent()
    before = [line for line in shop.folder.read_rounds() if line["round"] < round]
    fates = Counter(sample["status"] for sample in shop.corpus.drafts(round=round))
    kept = fates.pop("kept", 0)
    return RoundLine(
        round=round,
        metric=graded(shop, round, "diagnose")["metric"],
        gate=graded(shop, round, "gate")["metric"] if shop.splits.gate else None,
        accepted=accepted,
        chance=chance,
        teacher_calls=spent["calls"] - sum(line["teacher_calls"] for line in before),
        prompt_tokens=spent["prompt_tokens"] - sum(line["prompt_tokens"] for line in before),
        completion_tokens=spent["completion_tokens"] - sum(line["completion_tokens"] for line in before),
        cost=None if spent["cost"] is None else max(0, spent["cost"] - sum(x["cost"] or 0 for x in before)),
        samples_kept=kept,
        samples_rejected=sum(fates.values()),
        refused=dict(sorted(fates.items())),
        trained_on=len(training_rows(shop, trained)),
        seconds=round_seconds(shop, round),
    )


def round_seconds(shop: Workshop, number: int) -> float:
    """Seconds of a round's nodes so far, to the tenth."""
    return round(shop.trace.seconds(number), 1)
