"""Measure a finished run: scores, tokens, the chosen samples, and how often the teacher was right."""

import json
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any


def upper_bound(task: Any, labelled: Path, encoder: Any, most: int, *, reasons: bool = False) -> float:
    """Return the test score of a student that is trained on at most `most` rows of a labelled file, without
    the rows of gate, diagnose and test. With `reasons` it is trained on the rationales too.
    """
    from tutelage.graph.task.splits import load_splits
    from tutelage.student.data.readers import Columns, read_rows
    from tutelage.student.evaluation.evaluate import evaluate
    from tutelage.student.training.decision_thresholds import tune_thresholds
    from tutelage.student.training.loop import train
    from tutelage.student.training.losses import Objective

    splits, labels = load_splits(task), list(task.labels)
    column, reserved = "rationale" if reasons else None, splits.ids()
    known = read_rows(labelled, labels, task_type=task.type, columns=Columns(task.fields, rationale=column))
    rows = [row for row in known if row["id"] not in reserved]
    rows = random.Random(task.seed).sample(rows, min(most, len(rows)))
    training_config = replace(task.training_config(), objective=Objective(rationale=float(reasons)))
    student = train(rows, labels, training_config, seed=task.seed, encoder=encoder)
    return round(evaluate(tune_thresholds(student, splits.gate), splits.test, task.metric)["metric"], 4)


def measured(done: Any, gold: Mapping[str, str]) -> dict[str, Any]:
    """Return the measurements of a finished run folder. `gold` has human labels by text id, where known."""
    about, rounds = done.about(), done.read_rounds()
    kept = kept_samples(done)
    labels = {s["id"]: s["label"] for s in kept if "label" in s}
    found = {
        "test": round(about["test"]["metric"], 4),
        "by_round": [round(score, 4) for score in about["test_by_round"]],
        "gate": [round(line["gate"], 4) for line in rounds],
        "untouched": round(about["test_untrained"], 4),
        "accepted": [line["accepted"] for line in rounds],
        "kept": [line["samples_kept"] for line in rounds],
        "refused": sum(line["samples_rejected"] for line in rounds),
        "tokens": [line["prompt_tokens"] + line["completion_tokens"] for line in rounds],
        "leaks": about["overlap"]["test"]["exact"] + about["overlap"]["test"]["near"],
        "right": agreement(labels, gold, labels),
    }
    finished = [*_finished_nodes(done, "train"), *_finished_nodes(done, "final")]
    trained = [e for e in finished if e["round"] == about["best"]]
    if "used" in (last := trained[-1]):
        promoted = {line["round"] for line in rounds if line["accepted"] and line["round"] <= about["best"]}
        offered = {s["id"] for s in kept if s["round"] in promoted}
        found |= {name: last[name] for name in ("unique", "kept_share", "backpropagated", "empty_steps")}
        found["right_used"] = agreement(labels, gold, offered & set(last["used"]))
        found["right_unused"] = agreement(labels, gold, offered - set(last["used"]))
    return found


def agreement(labels: Mapping[str, str], gold: Mapping[str, str], keys: Collection[str]) -> float | None:
    """Return the share of the labels that agree with the human ones; None if no human label is known."""
    known = [labels[key] == gold[key] for key in keys if key in gold]
    return round(mean(known), 4) if known else None


def kept_samples(done: Any) -> list[dict[str, Any]]:
    """Return the kept samples of a run."""
    with done.samples.open(encoding="utf-8") as file:  # splitlines would break a text at U+2028
        samples = [json.loads(line) for line in file]
    return [s for s in samples if s["status"] == "kept"]


def _finished_nodes(done: Any, node: str) -> list[dict[str, Any]]:
    with done.trace.open(encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    return [e for e in events if e["event"] == "leave" and e["node"] == node]
