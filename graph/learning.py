"""Nodes around the student: prepare, train, examine, report."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tutelage.graph.cards import measure_again, read_cards, write_cards
from tutelage.graph.exams import answers_on_diagnose, graded, marks, sit
from tutelage.graph.expertise import distilled
from tutelage.graph.folder import RoundLine
from tutelage.graph.outcome import conclude
from tutelage.graph.pool import left_in_pool
from tutelage.graph.state import State
from tutelage.graph.workshop import Workshop
from tutelage.student.borders import tuned
from tutelage.student.corpus import Sample
from tutelage.student.exam import chance_not_worse
from tutelage.student.model import Student
from tutelage.student.objectives import Objective
from tutelage.student.recipe import Recipe
from tutelage.student.rows import Row
from tutelage.student.training import train as train_student
from tutelage.student.training import untouched

BEYOND_NOISE = 0.05  # the usual level (ours): below it a round is rolled back


def prepare(shop: Workshop, state: State) -> State:
    """Plant the seeds, seal gate and test, and let the untouched student sit every exam."""
    shop.corpus.forget()
    write_cards(shop.folder, [])
    shop.corpus.plant(shop.splits.seed + shop.splits.diagnose)
    shop.corpus.seal([row["text"] for name in ("gate", "test") for row in getattr(shop.splits, name)])
    recipe, seed = shop.task.recipe(), shop.task.seed
    sit(shop, "untouched", untouched(shop.labels, recipe, seed=seed, encoder=shop.student_encoder))
    shop.trace.tell(
        **{name: len(getattr(shop.splits, name)) for name in ("seed", "diagnose", "gate", "test")}
    )
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


def train(shop: Workshop, state: State) -> State:
    """Train the round's student: a fresh one on the seeds, the samples of promoted rounds and those of this
    one; or, carried, the best so far on those of this one.
    """
    student = taught(shop, state["promoted"], state["round"])
    shop.folder.drop_students([state["best"]])
    student.save(shop.folder.student_of(state["round"]))
    shop.remember(state["round"], student)
    return {}


def final(shop: Workshop, state: State) -> State:
    """Train the final student: a fresh one, on all that promoted rounds brought, as `Strategy.final` says.
    Its round brings no samples, and is taken back should the run go on with more than it had.
    """
    assert shop.strategy.final, "routes.py saw to it"
    number = state["round"] + 1
    student = _fresh(shop, training_rows(shop, state["promoted"]), shop.strategy.final)
    shop.folder.drop_students([state["best"]])
    student.save(shop.folder.student_of(number))
    shop.remember(number, student)
    return {"round": number, "final": True}


def examine(shop: Workshop, state: State) -> State:
    """Let the new student sit its exams; promote it, or roll the round back; write the round's line.

    It is promoted unless its gate metric is beyond noise below that of the best promoted so far
    (`chance_not_worse` below 0.05): small losses cannot add up. Samples of a round that is rolled back
    are not trained on again. Its answers on test are put away ungraded.
    """
    round = state["round"]
    sit(shop, f"round-{round:02d}", shop.student(round))
    chance = _chance(shop, round)
    accepted = chance is None or chance >= BEYOND_NOISE
    best = round if accepted else state["best"]
    answers = answers_on_diagnose(shop, best)
    write_cards(shop.folder, measure_again(shop.task.form, read_cards(shop.folder), answers, round))
    line = _line(shop, round, accepted, chance, [*state["promoted"], round])
    if state.get("final"):
        line["final"] = True
    shop.folder.write_round(line)
    shop.trace.tell(metric=line["metric"], gate=line["gate"], accepted=accepted, chance=chance)
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


def taught(shop: Workshop, promoted: Sequence[int], round: int) -> Student:
    """The student of a round, trained (again, if its weights are gone) as the strategy says."""
    strategy, recipe, rows = shop.strategy, shop.task.recipe(), training_rows(shop, [*promoted, round])
    if not (strategy.carry and round):
        return _fresh(shop, rows, strategy.objective)
    start, rows = _carried(shop, promoted), _new_and_old(shop, rows, round)
    return _trained(shop, rows, strategy.objective, replace(recipe, epochs=strategy.repeat), start)


def _fresh(shop: Workshop, rows: Sequence[Row], objective: Objective) -> Student:
    """A student that has seen nothing but these rows."""
    if not objective.knowledge:
        return _trained(shop, rows, objective, shop.task.recipe())
    shop.let_go()
    shop.trace.tell(rows=len(rows))
    return distilled(shop, rows, objective.knowledge)


def _trained(
    shop: Workshop, rows: Sequence[Row], objective: Objective, recipe: Recipe, start: Student | None = None
) -> Student:
    shop.let_go()
    shop.trace.tell(rows=len(rows))
    student = train_student(
        rows,
        shop.labels,
        recipe,
        seed=shop.task.seed,
        encoder=shop.student_encoder,
        objective=objective,
        start=start,
        tell=shop.trace.tell,
    )
    return tuned(student, shop.splits.gate)


def training_rows(shop: Workshop, rounds: Sequence[int]) -> list[Row]:
    """The seeds, then the kept samples of the given rounds in the order in which they were written."""
    wanted = set(rounds)
    kept = [sample for sample in shop.corpus.drafts(status="kept") if sample["round"] in wanted]
    return shop.splits.seed + [_row(sample) for sample in kept]


def _row(sample: Sample) -> Row:
    row = Row(id=sample["id"], text=sample["text"], label=sample["label"])
    if "confidence" in sample:
        row["confidence"] = sample["confidence"]
    if sample.get("rationale"):
        row["rationale"] = sample["rationale"]
    return row


def _carried(shop: Workshop, promoted: Sequence[int]) -> Student:
    """The student promoted last."""
    last = promoted[-1] if promoted else 0
    if shop.folder.student_of(last).exists():
        return shop.student(last)
    return taught(shop, promoted[:-1], last)


def _new_and_old(shop: Workshop, rows: Sequence[Row], round: int) -> list[Row]:
    """A round's samples and, drawn by chance, `replay` times as many rows from before."""
    new = {sample["id"] for sample in shop.corpus.drafts(round=round, status="kept")}
    fresh, old = [r for r in rows if r["id"] in new], [r for r in rows if r["id"] not in new]
    replay = shop.strategy.replay
    count = len(old) if replay == "all" else min(len(old), int(replay * len(fresh)))
    again = random.Random(f"{shop.task.seed} {round} replay").sample(old, count)
    return fresh + again or list(rows)  # a round that brought nothing teaches nothing new


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
    if not shop.strategy.writes and not cut_short and not left_in_pool(shop):
        return f"all {len(shop.splits.unlabelled)} texts of the pool are used"
    if state["round"] and not cut_short and not shop.corpus.drafts(round=state["round"], status="kept"):
        return f"round {state['round']} brought no new sample"
    return ""
