"""The report's section about lessons: what a student made of its samples before it learnt from them, and
which of them it learnt from.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from tutelage.graph.report.page import Html, table, tag
from tutelage.graph.report.run_section import Run
from tutelage.student.corpus import Sample

BEFORE = """What the best student made of the samples each round kept, before any was trained on: how many it
answered with their label, and the medians of its energy (minus the log of the summed exponentials of its
logits; higher is further from what it knows) and of its loss on their label."""
CHOSEN = """The teacher's samples that passed both thresholds (LLKD). Three counts of data efficiency: samples
trained on at least once; a mini-batch's share, on average; and samples back-propagated, of all in all epochs.
Sure is the teacher's mean confidence on what was used at least once, and on the rest."""
WEIGHED = "What was distilled beside the labels, and how much each kind weighed on average (KSM)."


def lessons_section(run: Run) -> list[Html]:
    """Each round's samples as lessons."""
    if run.samples is None:
        return [tag("p", "This is told when the run ends.")]
    by_round: dict[int, list[Sample]] = defaultdict(list)
    for sample in run.samples:
        if sample["status"] == "kept":
            by_round[sample["round"]].append(sample)
    if not by_round:
        return [tag("p", "None: no sample was kept.")]
    before = table(
        ["Round", ">Kept", ">Answered right", ">Energy", ">Loss on the label"],
        [(round, len(kept), *_met(run.kind.key, kept)) for round, kept in sorted(by_round.items())],
    )
    return [tag("p", BEFORE, class_="soft"), before, *_chosen(run), *_weighed(run)]


def _met(key: str, kept: Sequence[Sample]) -> tuple[object, ...]:
    seen = [s for s in kept if "answered" in s]
    if not seen:
        return (None,) * 3
    right = mean(s["answered"] == s[key] for s in seen)  # type: ignore[literal-required]
    return f"{right:.0%}", float(median(s["energy"] for s in seen)), float(median(s["nll"] for s in seen))


def _chosen(run: Run) -> list[Html]:
    told = {number: event for number, event in run.trained.items() if "used" in event}
    if not told:
        return []
    rows = [
        (
            number,
            *(f"{event[name]:.0%}" for name in ("unique", "kept_share", "backpropagated")),
            *_confidence(run, number, set(event["used"])),
        )
        for number, event in told.items()
    ]
    head = ["Round", ">Used at least once", ">Of a mini-batch", ">Of all steps", ">Sure, used", ">Sure, rest"]
    return [tag("h3", "Chosen by the thresholds"), tag("p", CHOSEN, class_="soft"), table(head, rows)]


def _confidence(run: Run, round: int, used: set[str]) -> list[float | None]:
    """The teacher's mean confidence on what a round's student used, and on the rest of its rows."""
    rounds = {line["round"] for line in run.rounds if line["accepted"] and line["round"] < round} | {round}
    offered = [s for s in run.samples or () if s["status"] == "kept" and s["round"] in rounds]
    sure = [(s["id"] in used, s["confidence"]) for s in offered if "confidence" in s]
    parts = ([confidence for trained, confidence in sure if trained is wanted] for wanted in (True, False))
    return [mean(part) if part else None for part in parts]


def _weighed(run: Run) -> list[Html]:
    told: dict[int, dict[str, Any]] = {n: e["distilled"] for n, e in run.trained.items() if "distilled" in e}
    if not told:
        return []
    kinds = list(next(iter(told.values()))["mean_action"])
    rows = [(n, *(e["mean_action"][kind] for kind in kinds), *e["seconds"]) for n, e in told.items()]
    head = ["Round", *(f">{kind}" for kind in kinds), ">Seconds, policy", ">Seconds, student"]
    return [tag("h3", "Knowledge"), tag("p", WEIGHED, class_="soft"), table(head, rows)]
