"""What replays measure beside the score: which samples were chosen, and how often the teacher was right."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import mean
from typing import Any

from methods_cells import Cell
from methods_data import Unpacked
from methods_table import spread

BUDGETS = (100, 250, 500, 1000)


def measured(done: Any, data: Unpacked) -> Cell:
    """The figures of a finished run folder."""
    about, rounds = done.about(), done.read_rounds()
    events = [json.loads(line) for line in done.trace.read_text(encoding="utf-8").splitlines()]
    trained = [e for e in events if (e["event"], e["node"], e["round"]) == ("leave", "train", about["best"])]
    samples = [json.loads(line) for line in done.samples.read_text(encoding="utf-8").splitlines()]
    labels = {s["id"]: s["label"] for s in samples if s["status"] == "kept"}
    found = {
        "test": round(about["test"]["metric"], 4),
        "by_round": [round(score, 4) for score in about["test_by_round"]],
        "untouched": round(about["test_untouched"], 4),
        "accepted": [line["accepted"] for line in rounds],
        "kept": [line["samples_kept"] for line in rounds],
        "tokens": [line["prompt_tokens"] + line["completion_tokens"] for line in rounds],
        "right": right(labels, data.gold, labels),
        "authors": dict(Counter(data.author[key] for key in labels if key in data.author)),
    }
    if "used" in (last := trained[-1]):
        promoted = {line["round"] for line in rounds if line["accepted"] and line["round"] <= about["best"]}
        offered = {s["id"] for s in samples if s["id"] in labels and s["round"] in promoted}
        found |= {name: last[name] for name in ("unique", "kept_share", "backpropagated")}
        found["right_used"] = right(labels, data.gold, offered & set(last["used"]))
        found["right_unused"] = right(labels, data.gold, offered - set(last["used"]))
    return found


def right(labels: Mapping[str, str], gold: Mapping[str, str], keys: Collection[str]) -> float | None:
    """Share of the labels that agree with the human ones; None where there are none."""
    known = [labels[key] == gold[key] for key in keys if key in gold]
    return round(mean(known), 4) if known else None


def score_at(result: Cell, labels: float) -> float | None:
    """The score at a number of labels, rounds joined by straight lines; the last one from 95 % of the number
    on, since near-duplicates are not bought; None where fewer were.
    """
    before, scores = 0.0, result["by_round"]
    for low, high, step in zip(scores[:-1], scores[1:], result["kept"][1:], strict=True):
        if step and before + step >= labels:
            return float(low + (high - low) * (labels - before) / step)
        before += step
    return float(scores[-1]) if before >= 0.95 * labels else None


def print_choices(results: Sequence[Cell]) -> None:
    """A table of what each arm chose, and of the scores at fixed numbers of labels."""
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for r in results:
        if "by_round" in r:
            groups[r["student"], r["task"], r["arm"]].append(r)
    head = ["student", "task", "arm", "seeds", *(f"at {n}" for n in BUDGETS)]
    head += ["teacher right", "on used", "on unused", "unique", "back-propagated", "by GPT-4"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for place, runs in groups.items():
        row = [*place, str(len(runs))]
        row += [_mean([score_at(r, n) for r in runs]) for n in BUDGETS]
        fields = ("right", "right_used", "right_unused", "unique", "backpropagated")
        row += [_mean([r.get(field) for r in runs]) for field in fields]
        print(f"| {' | '.join([*row, _mean([share_of(r, 'gpt-4') for r in runs])])} |")


def share_of(result: Cell, author: str) -> float | None:
    """Share of the chosen texts that a model wrote."""
    total = sum(result["authors"].values())
    return result["authors"].get(author, 0) / total if total else None


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else ""
