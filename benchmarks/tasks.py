"""The loop on three real tasks, against random selection at the same budget.

    python benchmarks/tasks.py                          # head student, five seeds: about 40 minutes
    python benchmarks/tasks.py --student full --tasks emotion
    python benchmarks/tasks.py --table                  # print what is there

One line a run goes to results/tasks.jsonl as it comes; runs that are there are not run again. The
teacher is the rehearsal teacher on the train split (10 % label noise): no language model was asked.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tasks.jsonl"
TASKS, ARMS = ("emotion", "banking77", "agnews"), ("auto", "evokd", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--student", default="head", choices=("head", "full"))
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        for task in wanted.tasks:
            run_task(task, wanted.arms, wanted.seeds, wanted.student)
    print_table()


def run_task(task: str, arms: list[str], seeds: list[int], student: str) -> None:
    from tutelage.student.encoder import Encoder

    done = {(r["task"], r["arm"], r["seed"], r["student"]) for r in results()}
    encoder = Encoder()  # one for all runs of a task: texts are encoded once
    for seed in seeds:
        for arm in arms:
            if (task, arm, seed, student) not in done:
                result = run_cell(task, arm, seed, student, encoder)
                RESULTS.parent.mkdir(exist_ok=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(json.dumps(result), flush=True)


def run_cell(task: str, arm: str, seed: int, student: str, encoder: object) -> dict[str, object]:
    from tutelage.graph.config import load_task
    from tutelage.graph.run import run

    loaded = load_task(HERE / "tasks" / f"{task}.yaml")
    strategy = {**loaded.strategy, "base": arm} if isinstance(loaded.strategy, dict) else arm
    part = loaded.student.model_copy(update={"mode": student})
    loaded = loaded.model_copy(update={"seed": seed, "strategy": strategy, "student": part})
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = run(loaded, Path(folder) / "run", encoder=encoder)
        about, rounds = done.about(), done.read_rounds()
    return {
        "task": task,
        "arm": arm,
        "seed": seed,
        "student": student,
        "test": round(about["test"]["metric"], 4),
        "accuracy": round(about["test"]["accuracy"], 4),
        "untouched": round(about["test_untouched"], 4),
        "by_round": [round(score, 4) for score in about["test_by_round"]],
        "accepted": [line["accepted"] for line in rounds],
        "kept": sum(line["samples_kept"] for line in rounds),
        "refused": sum(line["samples_rejected"] for line in rounds),
        "calls": about["spent"]["calls"],
        "tokens": about["spent"]["prompt_tokens"] + about["spent"]["completion_tokens"],
        "leaks": about["overlap"]["test"]["exact"] + about["overlap"]["test"]["near"],
        "seconds": round(time.monotonic() - start),
    }


def results() -> list[dict[str, object]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def print_table() -> None:
    """Test macro-F1, mean ± standard deviation over seeds; p of a paired t-test against random."""
    from scipy.stats import ttest_rel

    cells: dict[tuple[str, str], dict[str, dict[int, dict[str, object]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for r in results():
        cells[r["task"], r["student"]][r["arm"]][r["seed"]] = r
    print("| task | student | arm | seeds | untouched | seeds only | final | − random | p | kept | tokens |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for (task, student), arms in sorted(cells.items()):
        for arm in sorted(arms):
            runs = arms[arm]
            both = sorted(set(runs) & set(arms.get("random", {})))
            ours, control = ([side[s]["test"] for s in both] for side in (runs, arms.get("random", {})))
            p = "" if arm == "random" or len(both) < 2 else f"{ttest_rel(ours, control).pvalue:.3f}"
            gap = "" if arm == "random" or not both else f"{mean(ours) - mean(control):+.3f}"
            row = [task, student, arm, str(len(runs))]
            row += [
                _spread([r["untouched"] for r in runs.values()]),
                _spread([r["by_round"][0] for r in runs.values()]),
            ]
            row += [_spread([r["test"] for r in runs.values()]), gap, p]
            row += [f"{mean(r[key] for r in runs.values()):.0f}" for key in ("kept", "tokens")]
            print(f"| {' | '.join(row)} |")


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


if __name__ == "__main__":
    main()
