"""What a run measures: scores, spending, which samples were chosen, how often the teacher was right."""

import json
from collections.abc import Collection, Mapping
from statistics import mean
from typing import Any


def measured(done: Any, gold: Mapping[str, str]) -> dict[str, Any]:
    """The figures of a finished run folder; `gold` is human labels by text id, as far as there are any."""
    about, rounds = done.about(), done.read_rounds()
    kept = kept_samples(done)
    labels = {s["id"]: s["label"] for s in kept if "label" in s}
    found = {
        "test": round(about["test"]["metric"], 4),
        "by_round": [round(score, 4) for score in about["test_by_round"]],
        "gate": [round(line["gate"], 4) for line in rounds],
        "untouched": round(about["test_untouched"], 4),
        "accepted": [line["accepted"] for line in rounds],
        "kept": [line["samples_kept"] for line in rounds],
        "refused": sum(line["samples_rejected"] for line in rounds),
        "tokens": [line["prompt_tokens"] + line["completion_tokens"] for line in rounds],
        "leaks": about["overlap"]["test"]["exact"] + about["overlap"]["test"]["near"],
        "right": right(labels, gold, labels),
    }
    leaves = [*_leaves(done, "train"), *_leaves(done, "final")]
    trained = [e for e in leaves if e["round"] == about["best"]]
    if "used" in (last := trained[-1]):
        promoted = {line["round"] for line in rounds if line["accepted"] and line["round"] <= about["best"]}
        offered = {s["id"] for s in kept if s["round"] in promoted}
        found |= {name: last[name] for name in ("unique", "kept_share", "backpropagated", "empty_steps")}
        found["right_used"] = right(labels, gold, offered & set(last["used"]))
        found["right_unused"] = right(labels, gold, offered - set(last["used"]))
    return found


def right(labels: Mapping[str, str], gold: Mapping[str, str], keys: Collection[str]) -> float | None:
    """Share of the labels that agree with the human ones; None where there are none."""
    known = [labels[key] == gold[key] for key in keys if key in gold]
    return round(mean(known), 4) if known else None


def kept_samples(done: Any) -> list[dict[str, Any]]:
    """The samples that were kept."""
    samples = [json.loads(line) for line in done.samples.read_text(encoding="utf-8").splitlines()]
    return [s for s in samples if s["status"] == "kept"]


def _leaves(done: Any, node: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in done.trace.read_text(encoding="utf-8").splitlines()]
    return [e for e in events if e["event"] == "leave" and e["node"] == node]
