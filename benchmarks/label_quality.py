"""Measure what makes the labels of real language models worth more for the same number of calls: votes,
agreement, confidence, or a better model.

    python benchmarks/label_quality.py --student head      # seconds a cell
    python benchmarks/label_quality.py --table

A student learns 100 own rows and the labels that as many calls buy, of random texts. The recorded answers
are those of GPT-3.5 and GPT-4 to nine prompts (`llm_babe`: is a news sentence biased?), and of one model with
the confidence that it states (`llm_global_warming`). Macro-F1 on at most 2,000 human test rows.

The prompts of votes and agreement have four and eight examples, so that these calls cost more tokens than
those of the other arms. Texts to which an answer is missing are in no arm.

Arms, for n calls of GPT-3.5 (two examples in the prompt) where nothing else is said:
  one          a label for each of n texts
  votes        the majority of three prompts, for n / 3 texts
  soft votes   the shares of three prompts as targets, for n / 3 texts
  agreeing     n / 2 texts, each asked with two prompts; a text is kept if both give the same label
  gpt-4        n / 20 texts, because the model cost 20 times as much a token
  gpt-4 equal  n texts: what the better labels would be worth if they cost the same
Arms for n answers with a stated confidence:
  one          as they are
  weighted     weighted by the confidence
  soft         the confidence as the target of the label; the rest is spread over the others
  confident    without the quarter with the lowest confidence
Results go to results/label_quality.jsonl as they come.
"""

import argparse
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.data import Record, records, text_of
from common.regime import DATA, Data, Regime, load
from common.students import score, trained
from tutelage.student.data.rows import Row, content_id
from value_table import print_tables

RESULTS = Path(__file__).parent / "results" / "label_quality.jsonl"
CHEAP, DEAR, PRICE = "gpt-3.5-turbo", "gpt-4-1106-preview", 20
PROMPTS = ("2-shot", "4-shot", "8-shot")
ARMS = {
    "llm_babe": ("own", "one", "votes", "soft votes", "agreeing", "gpt-4", "gpt-4 equal"),
    "llm_global_warming": ("own", "one", "weighted", "soft", "confident"),
}
RIVALS = (
    ("one", "own"),
    *((arm, "one") for arms in ARMS.values() for arm in arms if arm not in ("own", "one")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=ARMS, choices=ARMS, metavar="SET")
    parser.add_argument("--calls", nargs="+", type=int, default=[150, 500, 1500])
    parser.add_argument("--seeds", nargs="+", type=int, default=range(10))
    parser.add_argument("--student", default="full", choices=("full", "head"))
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_tables(read(RESULTS), RIVALS)


def cells(wanted: argparse.Namespace) -> list[Cell]:
    return [
        {"task": task, "arm": arm, "setting": f"{calls} calls", "seed": seed, "student": wanted.student}
        for seed in wanted.seeds
        for task in wanted.sets
        for calls in wanted.calls
        for arm in ARMS[task]
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Train and score the student of a cell."""
    start, calls = time.process_time(), int(cell["setting"].split()[0])
    data = load(cell["task"], Regime(100, calls, 0), cell["seed"], encoder(cache))
    answers = _answers(cell["task"])
    pool = [row for row in data.pool if all(one["label"] is not None for one in _used(answers[row["id"]]))]
    data = replace(data, pool=pool)
    bought = _bought(cell["arm"], min(calls, len(pool)), data, answers)
    human = {row["id"]: row["label"] for row in data.pool}
    wrong = sum(row["label"] != human[row["id"]] for row in bought) / max(len(bought), 1)
    found = {"test": score(trained([*data.own, *bought], data, cell, encoder(cache)), data)}
    seconds = round(time.process_time() - start)
    return {**found, "labels": len(bought), "wrong": round(wrong, 3), "cpu_seconds": seconds}


def _bought(arm: str, calls: int, data: Data, answers: dict[str, list[Record]]) -> list[Row]:
    """Return the rows that an arm trains on besides the user's own; the pool is in random order."""

    def asked(row: Row, model: str, *prompts: str) -> list[str]:
        known = {(one["model"], one.get("prompt")): str(one["label"]) for one in answers[row["id"]]}
        return [known[model, prompt] for prompt in prompts]

    def labelled(row: Row, label: str, **fields: Any) -> Row:
        return Row(id=row["id"], text=row["text"], label=label, **fields)

    pool, names = data.pool, data.labels
    if arm == "own":
        return []
    if "confidence" in answers[pool[0]["id"]][0]:
        stated = [(row, answers[row["id"]][0]) for row in pool[:calls]]
        if arm == "confident":
            stated = sorted(stated, key=lambda one: -one[1]["confidence"])[: calls * 3 // 4]
        rows = []
        for row, answer in stated:
            label, sure = str(answer["label"]), min(max(float(answer["confidence"]), 0.01), 1.0)
            spread = {name: (1 - sure) / (len(names) - 1) for name in names} | {label: sure}
            fields = {"weighted": {"weight": sure}, "soft": {"target": [spread[name] for name in names]}}
            rows.append(labelled(row, label, **fields.get(arm, {})))
        return rows
    if arm in ("gpt-4", "gpt-4 equal"):
        count = calls // PRICE if arm == "gpt-4" else calls
        return [labelled(row, *asked(row, DEAR, PROMPTS[0])) for row in pool[:count]]
    if arm == "agreeing":
        twice = [(row, asked(row, CHEAP, *PROMPTS[:2])) for row in pool[: calls // 2]]
        return [labelled(row, first) for row, (first, second) in twice if first == second]
    if arm in ("votes", "soft votes"):
        rows = []
        for row in pool[: calls // 3]:
            votes = Counter(asked(row, CHEAP, *PROMPTS))
            shares = {"target": [votes[name] / 3 for name in names]} if arm == "soft votes" else {}
            rows.append(labelled(row, votes.most_common(1)[0][0], **shares))
        return rows
    return [labelled(row, *asked(row, CHEAP, PROMPTS[0])) for row in pool[:calls]]


def _used(answers: list[Record]) -> list[Record]:
    """Return the answers that any arm uses."""
    asked = {(CHEAP, prompt) for prompt in PROMPTS} | {(DEAR, PROMPTS[0])}
    return [one for one in answers if "prompt" not in one or (one["model"], one["prompt"]) in asked]


def _answers(task: str) -> dict[str, list[Record]]:
    """Return the recorded answers to each text, by id."""
    return {content_id(text_of(one)): one["llm"] for one in records(DATA / task / "train.jsonl.gz")}


if __name__ == "__main__":
    main()
