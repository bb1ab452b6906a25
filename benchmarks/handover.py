"""Measure how far a delivered student's confidence can be trusted, and what a wanted precision costs.

    python benchmarks/handover.py --student head      # seconds a cell
    python benchmarks/handover.py --table

As at the end of a run: a student learns 100 or 300 own rows and 500 teacher labels (10 % wrong), and its
logits are divided by the temperature that the out-of-fold answers to the own rows give. On at most 2,000 test
rows: the expected calibration error before and after, and the share of answers that are given, and right, if
`--precision 0.9` is asked. Results go to results/handover.jsonl as they come.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.regime import SETS, Regime, load
from common.students import trained

RESULTS = Path(__file__).parent / "results" / "handover.jsonl"
WANTED = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, metavar="SET")
    parser.add_argument("--own", nargs="+", type=int, default=[100, 300])
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--student", default="full", choices=("full", "head"))
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def cells(wanted: argparse.Namespace) -> list[Cell]:
    return [
        {"task": task, "arm": "calibration", "setting": f"own {own}", "seed": seed, "student": wanted.student}
        for seed in wanted.seeds
        for own in wanted.own
        for task in wanted.sets
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Calibrate a student as a run does, and measure it on the test rows."""
    from tutelage.student.data.folds import stratified_folds
    from tutelage.student.errors import InputError
    from tutelage.student.evaluation.confidence import calibration_error, measured
    from tutelage.student.tasks.registry import TASK_TYPES

    start, own = time.process_time(), int(cell["setting"].split()[1])
    data = load(cell["task"], Regime(own, 500, 10), cell["seed"], encoder(cache))
    bought = data.labelled(data.pool[:500])
    count = 5 if cell["student"] == "head" else 3
    folds = stratified_folds(data.own, TASK_TYPES[data.kind], count, cell["seed"])
    p = np.zeros((len(data.own), len(data.labels)))
    for fold in range(count):
        rest = [row for row in data.own if folds[row["id"]] != fold]
        held = [i for i, row in enumerate(data.own) if folds[row["id"]] == fold]
        student = trained([*rest, *bought], data, cell, encoder(cache))
        p[held] = student.predict_proba([data.own[i]["text"] for i in held])
    found = measured(p, np.array([data.labels.index(row["label"]) for row in data.own]))
    student = trained([*data.own, *bought], data, cell, encoder(cache))
    texts = [row["text"] for row in data.test]
    gold = np.array([data.labels.index(row["label"]) for row in data.test])
    plain = student.predict_proba(texts)
    student.divide_logits(found.temperature)
    calibrated = student.predict_proba(texts)
    right, confidence = calibrated.argmax(1) == gold, calibrated.max(1)
    result: dict[str, Any] = {
        "accuracy": round(float(right.mean()), 4),
        "before": round(calibration_error(plain.max(1), right), 4),
        "after": round(calibration_error(confidence, right), 4),
        "temperature": found.temperature,
    }
    try:
        given = confidence >= found.threshold(WANTED)
        precision = float(right[given].mean()) if given.any() else 1.0
        result |= {"answered": round(float(given.mean()), 4), "precision": round(precision, 4)}
    except InputError:  # never reached on the own rows
        result |= {"answered": 0.0, "precision": None}
    return {**result, "cpu_seconds": round(time.process_time() - start)}


def print_table(results: list[Cell]) -> None:
    """Print a row per student, own rows and data set: means over the seeds."""
    found = [one for one in results if "error" not in one]
    head = ("student", "own rows", "set", "seeds", "accuracy", "error before", "error after")
    head = (*head, "answered at 0.9", "right among these")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for student, setting in dict.fromkeys((one["student"], one["setting"]) for one in found):
        for task in [*SETS, "all"]:
            mine = [
                one
                for one in found
                if (one["student"], one["setting"]) == (student, setting) and task in (one["task"], "all")
            ]
            if not mine:
                continue
            precisions = [one["precision"] for one in mine if one["precision"] is not None]
            figures = [f"{mean(one[name] for one in mine):.3f}" for name in ("accuracy", "before", "after")]
            answered = f"{mean(one['answered'] for one in mine):.2f}"
            precision = f"{mean(precisions):.3f} ({len(precisions)} of {len(mine)})" if precisions else ""
            cells = [student, setting.split()[1], task, str(len(mine)), *figures, answered, precision]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
