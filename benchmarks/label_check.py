"""Measure the label check: how many of the rows that it names are wrong, and what mending them is worth.

    python benchmarks/label_check.py                       # every cell without a result
    python benchmarks/label_check.py --student head        # seconds a cell
    python benchmarks/label_check.py --table               # the results as tables

A cell draws 300 rows of a train split and flips a share of their labels (`uniform`: to any other label;
`alike`: those of doubtful texts, to the label that a model confuses most with theirs). Each row is predicted
by students of the other folds, as in a run, and each rule names rows: `argmax` every row whose most probable
label is another one, `confident` those of confident learning (Northcutt et al. 2021), `product` those of
labels_to_check.csv. Then students are trained on all rows as they are, without the rows that the product
names, with the right labels of these rows (as a reviewer would mend them), and on right labels throughout.
Scores are macro-F1 on at most 2,000 test rows. Results go to results/label_check.jsonl as they come.
"""

import argparse
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.regime import SETS, Data, Regime, load
from common.students import score, trained

RESULTS = Path(__file__).parent / "results" / "label_check.jsonl"
OWN = 300
FLIPS = ("uniform 5 %", "uniform 15 %", "alike 5 %", "alike 15 %")
RULES = ("argmax", "confident", "product")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, metavar="SET")
    parser.add_argument("--flips", nargs="+", default=FLIPS, choices=FLIPS, metavar="FLIPS")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--student", default="full", choices=("full", "head"))
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_tables(read(RESULTS))


def cells(wanted: argparse.Namespace) -> list[Cell]:
    return [
        {"task": task, "arm": "label check", "setting": flips, "seed": seed, "student": wanted.student}
        for seed in wanted.seeds
        for task in wanted.sets
        for flips in wanted.flips
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Return precision and recall of each rule, and the scores of students before and after."""
    from tutelage.student.data.folds import stratified_folds
    from tutelage.student.tasks.registry import TASK_TYPES

    start, seed = time.process_time(), cell["seed"]
    style, share = cell["setting"].split()[0], int(cell["setting"].split()[1])
    data = load(cell["task"], Regime(OWN, 0, share), seed, encoder(cache))
    given = _flipped(data, style, share / 100, seed)
    count = 5 if cell["student"] == "head" else 3
    folds = stratified_folds(given, TASK_TYPES[data.kind], count, seed)
    p = np.zeros((len(given), len(data.labels)))
    for fold in range(count):
        student = trained([row for row in given if folds[row["id"]] != fold], data, cell, encoder(cache))
        own = [i for i, row in enumerate(given) if folds[row["id"]] == fold]
        p[own] = student.predict([given[i]["text"] for i in own]).probabilities
    wrong = {i for i, row in enumerate(given) if row["label"] != data.own[i]["label"]}
    found: Cell = {"wrong": len(wrong), "right": round(float(_right(p, data)), 3)}
    for rule in RULES:
        named = _named(rule, given, p, data)
        found[rule] = [len(named), len(wrong & set(named))]
    named = set(_named("product", given, p, data))
    parts = {
        "as given": given,
        "dropped": [row for i, row in enumerate(given) if i not in named],
        "mended": [data.own[i] if i in named else row for i, row in enumerate(given)],
        "clean": data.own,
    }
    for name, rows in parts.items():
        found[name] = score(trained(rows, data, cell, encoder(cache)), data)
    return {**found, "cpu_seconds": round(time.process_time() - start)}


def _flipped(data: Data, style: str, share: float, seed: int) -> list[Any]:
    """Return the own rows, a share of them with a wrong label."""
    if style == "alike":
        return _exactly(data, share, seed)
    rng = random.Random(f"flip {seed}")
    flipped = set(rng.sample(range(len(data.own)), round(share * len(data.own))))
    others = {label: [one for one in data.labels if one != label] for label in data.labels}
    return [
        {**row, "label": rng.choice(others[row["label"]])} if i in flipped else row
        for i, row in enumerate(data.own)
    ]


def _exactly(data: Data, share: float, seed: int) -> list[Any]:
    """Return the own rows with the wrong labels of the regime's teacher on a share of them."""
    answered = data.labelled(data.own)
    wrong = [i for i, row in enumerate(answered) if row["label"] != data.own[i]["label"]]
    count = min(len(wrong), round(share * len(data.own)))
    kept = set(random.Random(f"flip {seed}").sample(wrong, count))
    return [answered[i] if i in kept else row for i, row in enumerate(data.own)]


def _named(rule: str, given: Sequence[Any], p: Any, data: Data) -> list[int]:
    """Return the indices of the rows that a rule names as wrong."""
    from tutelage.student.evaluation.label_errors import label_errors
    from tutelage.student.tasks.registry import TASK_TYPES

    own = np.array([data.labels.index(row["label"]) for row in given])
    if rule == "argmax":
        return [int(i) for i in np.flatnonzero(p.argmax(1) != own)]
    if rule == "confident":
        return _off_diagonal(own, p)
    labels = [row["label"] for row in given]
    return [one.row_index for one in label_errors(TASK_TYPES[data.kind], labels, p, data.labels)]


def _off_diagonal(own: Any, p: Any) -> list[int]:
    """Return the rows off the diagonal of the confident joint (Northcutt et al. 2021, eq. 1 and 2): a row is
    counted under the most probable label among those that reach their mean probability over their own rows.
    """
    thresholds = np.array([p[own == j, j].mean() if (own == j).any() else np.inf for j in range(p.shape[1])])
    reached = p >= thresholds
    counted = np.where(reached, p, -1).argmax(1)
    return [int(i) for i in np.flatnonzero(reached.any(1) & (counted != own))]


def _right(p: Any, data: Data) -> float:
    gold = np.array([data.labels.index(row["label"]) for row in data.own])
    return float((p.argmax(1) == gold).mean())


def print_tables(results: Sequence[Cell]) -> None:
    """Print, per student and kind of flips, a row per data set: rules as `precision / recall`, and scores."""
    found = [one for one in results if "error" not in one]
    for student in dict.fromkeys(one["student"] for one in found):
        print(f"\n### {student} student\n")
        head = ("flips", "set", "seeds", "students right", *RULES, "as given", "dropped", "mended", "clean")
        print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
        for flips in FLIPS:
            for task in [*SETS, "all"]:
                mine = [
                    one
                    for one in found
                    if one["student"] == student and one["setting"] == flips and task in (one["task"], "all")
                ]
                if mine:
                    rules = [_precision(mine, rule) for rule in RULES]
                    scores = [
                        f"{mean(one[name] for one in mine):.3f}"
                        for name in ("right", "as given", "dropped", "mended", "clean")
                    ]
                    cells = [flips, task, str(len(mine)), scores[0], *rules, *scores[1:]]
                    print(f"| {' | '.join(cells)} |")


def _precision(results: Sequence[Cell], rule: str) -> str:
    named, hit = (sum(one[rule][i] for one in results) for i in (0, 1))
    wrong = sum(one["wrong"] for one in results)
    return f"{hit / max(named, 1):.2f} / {hit / max(wrong, 1):.2f} ({named})"


if __name__ == "__main__":
    main()
