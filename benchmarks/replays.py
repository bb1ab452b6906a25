"""Compare LLKD and its rivals on replays: recorded labels and texts of real language models.

    python benchmarks/replays.py --quick                     # methods and controls, head student
    python benchmarks/replays.py --tasks llm_freeal_mr --arms llkd "llkd ask first" "whole pool"
    python benchmarks/replays.py --table                     # print the stored results

No language model is called: agents/rehearsal/recorded.py answers from the files, through the real client.
Where labels were recorded, an arm buys 1,000 of them, or a share, in four rounds. Where training texts were
recorded, an arm chooses 1,000 of GPT-4's and Llama-2's in ten rounds, each with the label it was written for.
Each result is appended to results/replays.jsonl as it comes, and cells with a result are not run again.
Scores are those on the published test split, which is opened once per run and by which nothing was chosen.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.arms import POOL
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.data import REPLAYS, Unpacked, unpack
from common.measured import kept_samples, measured, upper_bound
from common.table import print_tables
from replays_table import print_choices

RESULTS = Path(__file__).parent / "results" / "replays.jsonl"
UPPER, UPPER_ROWS = "human labels", 5000
QUICK = (
    "whole pool",
    "whole pool in steps",
    "pool at random",
    "entropy",
    "least confidence",
    "llkd",
    "llkd ask first",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=REPLAYS, choices=REPLAYS, metavar="TASK")
    parser.add_argument("--arms", nargs="+", default=None, choices=[*POOL, UPPER], metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--student", default="head", choices=("head", "full"))
    parser.add_argument("--quick", action="store_true", help="methods and controls only, no ablations")
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_tables(read(RESULTS), UPPER)
    print_choices(read(RESULTS))


def cells(wanted: argparse.Namespace) -> list[Cell]:
    """Return the cells seed by seed, so that an interrupted benchmark has results of every arm."""
    arms = wanted.arms or [UPPER, *(QUICK if wanted.quick else POOL)]
    return [
        {"task": task, "arm": arm, "setting": "recorded", "seed": seed, "student": wanted.student}
        for seed in wanted.seeds
        for task in wanted.tasks
        for arm in arms
        if not (REPLAYS[task].written and arm == "pool at random")  # it would equal "whole pool" there
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Run the loop, or train the student of human labels; return what was measured."""
    from tutelage.agents.rehearsal.recorded import Recorded
    from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
    from tutelage.agents.rehearsal.server import serve
    from tutelage.graph.runs.run import run

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = unpack(cell["task"], Path(folder))
        with serve(RehearsalModel(rehearsal=Recorded(data.recorded))) as url:
            task = task_of(cell, data, url)
            if cell["arm"] == UPPER:
                result = {"test": upper_bound(task, data.human, encoder(cache), UPPER_ROWS)}
            else:
                done = run(task, Path(folder) / "run", encoder=encoder(cache))
                authors = [data.author[s["id"]] for s in kept_samples(done) if s["id"] in data.author]
                result = {**measured(done, data.gold), "authors": dict(Counter(authors))}
    return {**result, "seconds": round(time.monotonic() - start, 1)}


def task_of(cell: Cell, data: Unpacked, url: str) -> Any:
    """Return the cell's task: the strategy of its arm, the recorded teacher at `url`, seed and student."""
    from tutelage.graph.task.load import parse_task

    replay, arm = REPLAYS[cell["task"]], dict(POOL.get(cell["arm"], POOL["whole pool"]))
    share = 1.0 if replay.written else arm.get("share", 1.0)
    arm.pop("share", None)
    teacher = {"model": "openai:recorded", "base_url": url, "logprobs": False}
    if replay.written:
        teacher["calibrate"] = 0
    raw = {
        **data.task,
        "student": {"mode": cell["student"]},
        "teacher": teacher,
        "strategy": {**arm, "samples": int(replay.labels * share / replay.rounds)},
        "budget": {"rounds": replay.rounds},
        "seed": cell["seed"],
    }
    return parse_task(raw, cell["task"], Path())


if __name__ == "__main__":
    main()
