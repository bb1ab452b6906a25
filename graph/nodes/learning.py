"""Nodes around the student: prepare, train, examine, report."""

from collections import Counter
from collections.abc import Sequence

from tutelage.graph.context import Workshop
from tutelage.graph.nodes.calibrate import teacher_too_weak
from tutelage.graph.nodes.outcome import conclude
from tutelage.graph.nodes.train import answer_untouched, fresh_student
from tutelage.graph.requests.pool_texts import left_in_pool
from tutelage.graph.run_folder.folder import RoundLine
from tutelage.graph.state import State
from tutelage.graph.students.predictions import answers_on_diagnose, graded, marks, predict_round
from tutelage.graph.students.self_training import answer_pool
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.weaknesses import measure_again, read_cards, write_cards
from tutelage.student.evaluation.evaluate import chance_not_worse
from tutelage.student.evaluation.gains import gain

BEYOND_NOISE = 0.05  # the usual level (ours): below it a round is rolled back

GAIN_CHANCE = 0.8  # share of resampled sets in which a gain must show (see `stalled`)


def prepare(shop: Workshop, state: State) -> State:
    """Add the user's rows to the corpus, seal held-out ones, and store the untouched student's answers."""
    shop.corpus.forget()
    write_cards(shop.folder, [])
    shop.folder.calibration.unlink(missing_ok=True)
    splits = shop.splits
    shop.corpus.plant(splits.seed + splits.diagnose)
    sealed = splits.test if splits.folded else splits.gate + splits.test
    shop.corpus.seal([row["text"] for row in sealed])
    if splits.labelled:
        answer_untouched(shop)
    shop.trace.tell(**splits.sizes())
    rounds = state.get("rounds", shop.task.budget.rounds)
    return {
        "rounds": rounds,
        "round": 0,
        "attempt": 0,
        "best": 0,
        "promoted": [],
        "weaknesses": [],
        "note": "",
        "final": False,
        "stop": "",
    }


def final(shop: Workshop, state: State) -> State:
    """Train the final student: a fresh one, on all that promoted rounds brought, as `Strategy.final` says.
    Its round brings no samples, and is taken back should the run go on with more than it had.
    """
    assert shop.strategy.final, "routes.py saw to it"
    number = state["round"] + 1
    student = fresh_student(shop, training_rows(shop, state["promoted"]), shop.strategy.final)
    shop.folder.drop_students([state["best"]])
    student.save(shop.folder.student_of(number))
    shop.remember(number, student)
    return {"round": number, "final": True}


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


def report(shop: Workshop, state: State) -> State:
    """Open the test set, once; write run.json, samples.jsonl, the student and report.html."""
    stop = state.get("stop", "")
    result = conclude(shop, state["best"], stop)
    shop.trace.tell(stop=stop, report=str(shop.folder.report))
    return {
        "student": str(shop.folder.student),
        "report": str(shop.folder.report),
        "test": result["metric"] if result else None,
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
