"""The report's section about training: the student's predictions on new samples before it was trained on
them, and which samples were used.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from tutelage.graph.report.page import Html, table, tag
from tutelage.graph.report.run_section import Run
from tutelage.student.corpus import Sample

BEFORE = """Predictions of the best student on the kept samples of each round, before any student was trained
on them: the share predicted as labelled, the median energy (minus the log of the summed exponentials of the
logits; higher means less like the training data) and the median loss on the label."""
SELECTED = """The teacher's samples that passed both thresholds (LLKD), as three measures of data efficiency:
the share of samples used at least once, the mean share of a mini-batch, and the share of all samples in all
epochs that were back-propagated. Confidence is the teacher's mean confidence on the samples used at least
once, and on the others."""
WEIGHTS = "The kinds of knowledge that were distilled besides the labels, with their mean weights (KSM)."


def training_section(run: Run) -> list[Html]:
    """Show, for each round, how its samples entered training."""
    if run.samples is None:
        return [tag("p", "This is reported when the run ends.")]
    by_round: dict[int, list[Sample]] = defaultdict(list)
    for sample in run.samples:
        if sample["status"] == "kept":
            by_round[sample["round"]].append(sample)
    if not by_round:
        return [tag("p", "None: no sample was kept.")]
    before = table(
        ["Round", ">Kept", ">Predicted as labelled", ">Median energy", ">Median loss"],
        [
            (n, len(kept), *_statistics(run.task_type.label_field, kept))
            for n, kept in sorted(by_round.items())
        ],
    )
    return [tag("p", BEFORE, class_="soft"), before, *_selected(run), *_distilled(run)]


def _statistics(label_field: str, kept: Sequence[Sample]) -> tuple[object, ...]:
    predicted = [s for s in kept if "answered" in s]
    if not predicted:
        return (None,) * 3
    accuracy = mean(s["answered"] == s[label_field] for s in predicted)  # type: ignore[literal-required]
    energy, loss = median(s["energy"] for s in predicted), median(s["nll"] for s in predicted)
    return f"{accuracy:.0%}", float(energy), float(loss)


def _selected(run: Run) -> list[Html]:
    events = {number: event for number, event in run.trained.items() if "used" in event}
    if not events:
        return []
    rows = [
        (
            number,
            *(f"{event[name]:.0%}" for name in ("unique", "kept_share", "backpropagated")),
            *_confidence(run, number, set(event["used"])),
        )
        for number, event in events.items()
    ]
    measures = (">Used at least once", ">Share of a mini-batch", ">Back-propagated")
    head = ["Round", *measures, ">Confidence, used", ">Confidence, unused"]
    return [tag("h3", "Adaptive selection"), tag("p", SELECTED, class_="soft"), table(head, rows)]


def _confidence(run: Run, round: int, used: set[str]) -> list[float | None]:
    """Return the teacher's mean confidence on the samples that a round used, and on those it did not."""
    rounds = {line["round"] for line in run.rounds if line["accepted"] and line["round"] < round} | {round}
    offered = [s for s in run.samples or () if s["status"] == "kept" and s["round"] in rounds]
    confidences = [(s["id"] in used, s["confidence"]) for s in offered if "confidence" in s]
    parts = ([value for was_used, value in confidences if was_used is wanted] for wanted in (True, False))
    return [mean(part) if part else None for part in parts]


def _distilled(run: Run) -> list[Html]:
    logs: dict[int, dict[str, Any]] = {n: e["distilled"] for n, e in run.trained.items() if "distilled" in e}
    if not logs:
        return []
    kinds = list(next(iter(logs.values()))["mean_action"])
    rows = [(n, *(log["mean_action"][kind] for kind in kinds), *log["seconds"]) for n, log in logs.items()]
    head = ["Round", *(f">{kind}" for kind in kinds), ">Seconds, policy", ">Seconds, student"]
    return [tag("h3", "Knowledge distillation"), tag("p", WEIGHTS, class_="soft"), table(head, rows)]
