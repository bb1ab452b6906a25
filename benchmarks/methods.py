"""Compare the methods with their controls and ablations, with equally many labelled samples.

    python benchmarks/methods.py --quick       # no ablations; a full student for key cells only
    python benchmarks/methods.py --tasks emotion --arms "evokd" "evokd -easy" --settings plain
    python benchmarks/methods.py --table                     # print the stored results

Each result is appended to results/methods.jsonl as it comes, and cells with a result are not run again. The
teacher is the rehearsal teacher on the train split: no language model is called. Every result is measured
under more than one setting of it. Scores are those on the published test split, which is opened once per run
and by which nothing was chosen.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.arms import ARMS, METHODS, POOL, WRITTEN
from common.cells import Cell, encoder, print_failures, read, run_cells
from common.measured import measured, upper_bound
from common.summary import print_summary
from common.table import print_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "methods.jsonl"
TASKS = ("emotion", "banking77", "agnews", "csabstruct", "sst2")
PAIRS = ("mrpc", "qnli")
SETTINGS = {  # of the rehearsal teacher: bias to typical texts, share of wrong labels
    "typical": {"typicality": 1.5, "label_noise": 0.1},
    "plain": {"typicality": 0.0, "label_noise": 0.0},
    "noisy": {"typicality": 1.5, "label_noise": 0.25},
}
POOL_SIZE, POOL_ROUNDS = 1000, 4
KEY_TASKS, KEY_ARMS = ("emotion",), ("random", "auto", "zerogen", "gold", "evokd", "llkd", "whole pool")
KEY_SEEDS = 3  # for the full student: with more, --quick would take over two hours on two cores
UPPER = "human labels"  # a student trained on human labels
UPPER_ROWS = 5000  # of the train split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS + PAIRS, metavar="TASK")
    parser.add_argument("--arms", nargs="+", default=None, choices=[*ARMS, UPPER], metavar="ARM")
    parser.add_argument("--settings", nargs="+", default=("typical", "plain"), choices=SETTINGS)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--student", default=None, choices=("head", "full"))
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_true", help="no ablations; the full student for key cells only"
    )
    size.add_argument("--full", action="store_true", help="every arm and setting of both students: for a GPU")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--table", action="store_true", help="print the tables and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_summary([result for result in read(RESULTS) if result["task"] in TASKS])
    print_tables(read(RESULTS), UPPER)


def cells(wanted: argparse.Namespace) -> list[Cell]:
    """Return the requested cells, ordered by seed."""
    arms = wanted.arms or [UPPER, *(METHODS if wanted.quick else ARMS)]
    students = [wanted.student] if wanted.student else ["head", "full"] if wanted.full else ["head"]
    settings = SETTINGS if wanted.full else wanted.settings
    grids = [(wanted.tasks, arms, settings, student) for student in students]
    key = (KEY_TASKS, KEY_ARMS, ("typical",), "full")
    return [
        {"task": task, "arm": arm, "setting": setting, "seed": seed, "student": student}
        for seed in wanted.seeds
        for tasks, arms, settings, student in (
            *grids,
            *([key] if wanted.quick and not wanted.student and seed < KEY_SEEDS else []),
        )
        for task in tasks
        for setting in settings
        for arm in arms
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Run the loop, or train the student of human labels; return what was measured."""
    from tutelage.graph.runs.run import run

    start, shared = time.monotonic(), encoder(cache)
    task = task_of(cell)
    if cell["arm"] == UPPER:
        score = upper_bound(task, task.teacher.corpus, shared, UPPER_ROWS)
        return {"test": score, "seconds": round(time.monotonic() - start, 1)}
    with tempfile.TemporaryDirectory() as folder:
        result = measured(run(task, Path(folder) / "run", encoder=shared), human_labels(task))
    return {**result, "seconds": round(time.monotonic() - start, 1)}


def task_of(cell: dict[str, Any]) -> Any:
    """Return the cell's task, with the strategy of its arm, the teacher of its setting, seed and student."""
    from tutelage.graph.task.load import load_task, parse_task

    loaded = load_task(HERE / "tasks" / f"{cell['task']}.yaml")
    raw = loaded.model_dump(exclude_none=True)
    arm = dict(ARMS.get(cell["arm"], WRITTEN["random"]))
    if cell["arm"] in POOL or arm.get("pool_share"):
        raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    if cell["arm"] in POOL:
        raw["budget"]["rounds"] = POOL_ROUNDS
        arm["samples"] = int(POOL_SIZE * arm.pop("share", 1.0)) // POOL_ROUNDS
    else:
        arm["samples"] = int(raw["strategy"]["samples"] * arm.pop("share", 1.0))
    raw |= {"strategy": arm, "seed": cell["seed"]}
    raw["student"]["mode"] = cell["student"]
    raw["teacher"] |= SETTINGS[cell["setting"]]
    return parse_task(raw, cell["task"], Path())


def human_labels(task: Any) -> dict[str, str]:
    """Return the label of each text id in the file from which the rehearsal teacher answers."""
    from tutelage.student.data.readers import Columns, read_rows

    return {
        row["id"]: row["label"]
        for row in read_rows(
            task.teacher.corpus, list(task.labels), task_type=task.type, columns=Columns(task.fields)
        )
    }


if __name__ == "__main__":
    main()
