"""Measure what a person's review of 50 texts is worth.

    python benchmarks/review.py --student head        # a minute a cell
    python benchmarks/review.py --table

A run buys labels for texts that it chooses in three rounds, as in value.py, and a simulated reviewer gives
the human label. Macro-F1 of the delivered student on at most 2,000 rows of the published test split; each
result is appended to results/review.jsonl as it comes, and cells with a result are not run again.

Arms, for the same number of labels of the teacher where nothing else is said:
  none          nobody judges anything
  doubt         `review: before_train` as it is: texts in doubt, and a fifth at random
  random        as many texts of each round, drawn at random from the same samples
  before label  `review: before_label`: a person labels texts that the students are unsure of, in place of
                the teacher, which is paid for fewer labels
  own rows      no review: the person labels as many random texts of the pool before the run begins
The results also hold `former doubt`, an earlier rule: texts whose label students think improbable, also where
they think no other label more probable.
"""

import argparse
import os
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.regime import SETS, Data, Regime, load, task_fields
from tutelage.agents.rehearsal.recorded import Recorded
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.graph.review.decisions import Item, Review, waiting_texts
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume_reviewed, run
from tutelage.graph.task.load import parse_task
from tutelage.student.corpus import stored_samples
from tutelage.student.training.candidates import candidates
from tutelage.student.training.configuration import TrainingConfig
from value_table import print_tables

RESULTS = Path(__file__).parent / "results" / "review.jsonl"
ROUNDS = 3
REVIEWED = 50
WHEN = {"doubt": "before_train", "random": "before_train", "before label": "before_label"}
ARMS = ("none", *WHEN, "own rows")
RIVALS = (
    *((arm, "none") for arm in ARMS[1:]),
    ("former doubt", "none"),
    ("doubt", "random"),
    ("doubt", "former doubt"),
    ("doubt", "own rows"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, metavar="SET")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, metavar="ARM")
    parser.add_argument("--errors", nargs="+", type=int, default=[10, 25], help="percent of wrong labels")
    parser.add_argument("--labels", nargs="+", type=int, default=[500], help="labels bought from the teacher")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--student", default="full", choices=("full", "head"))
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_tables(read(RESULTS), RIVALS)


def cells(wanted: argparse.Namespace) -> list[Cell]:
    """Return the cells seed by seed, so that an interrupted benchmark has results of every arm."""
    found: list[Cell] = []
    for seed in wanted.seeds:
        for labels in wanted.labels:
            for errors in wanted.errors:
                regime = Regime(100, labels, errors)
                for task in wanted.sets:
                    about = {"task": task, "setting": regime.setting(task), "seed": seed}
                    rest = {"student": wanted.student, "regime": vars(regime)}
                    found += [{**about, "arm": arm, **rest} for arm in wanted.arms]
    return found


def work(cell: Cell, cache: Path) -> Cell:
    """Run the product with the simulated reviewer; return the score and what the reviewer did."""
    start, regime = time.process_time(), Regime(**cell["regime"])
    data = load(cell["task"], regime, cell["seed"], encoder(cache))
    if cell["arm"] == "own rows":
        data = replace(data, own=[*data.own, *data.pool[:REVIEWED]], pool=data.pool[REVIEWED:])
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(RehearsalModel(rehearsal=Recorded(data.labelled([*data.own, *data.pool])))) as url,
    ):
        task = parse_task(fields(cell, data, regime, url, Path(folder)), cell["task"], Path())
        done = run(task, Path(folder) / "run", encoder=encoder(cache))
        while waiting_texts(done):
            judge(done, data, cell)
            resume_reviewed(done.path, encoder=encoder(cache))
        about, rounds = done.about(), done.read_rounds()
    return {
        "test": round(about["test"]["metric"], 4),
        "labels": sum(line["samples_kept"] for line in rounds),
        "review": about.get("review"),
        "cpu_seconds": round(time.process_time() - start),
    }


def fields(cell: Cell, data: Data, regime: Regime, url: str, folder: Path) -> dict[str, Any]:
    """Return the task of a cell. A run does not stop before its labels are spent."""
    default = next(iter(candidates(TrainingConfig(mode=cell["student"], kind=data.kind))))
    strategy = {"base": "auto", "pool_share": 1.0, "fill_gaps": False, "critic": "none", "stall": 0}
    review = {"review": WHEN[cell["arm"]], "review_budget": REVIEWED} if cell["arm"] in WHEN else {}
    return {
        "name": cell["task"],
        "instruction": "Name the class of the text.",
        **task_fields(data, folder, separate=False),
        "student": {"mode": cell["student"], "training": default},
        "teacher": {"model": "openai:recorded", "base_url": url, "logprobs": False, "force": True},
        "strategy": {**strategy, "control": False, "samples": round(regime.labels / ROUNDS)},
        "budget": {"rounds": ROUNDS},
        "seed": cell["seed"],
        **review,
    }


def judge(folder: RunFolder, data: Data, cell: Cell) -> None:
    """Answer with the human label of each text that waits."""
    human = {row["id"]: row["label"] for row in [*data.own, *data.pool]}
    if cell["arm"] == "random":
        draw_again(folder, cell["seed"])
    review = OpenReview(folder)
    for item in review.waiting:
        review.decide(item["id"], "relabel", human[item["id"]])


def draw_again(folder: RunFolder, seed: int) -> None:
    """Replace the texts of the queue by as many samples of the same round, drawn at random."""
    review = Review(folder)
    queue = review.queue()
    assert queue, "the run waits"
    decided = review.decisions()
    kept = [
        sample
        for sample in stored_samples(folder.corpus)
        if sample["status"] == "kept" and sample["round"] == queue["round"] and sample["id"] not in decided
    ]
    drawn = random.Random(f"{seed} {queue['round']}").sample(kept, min(len(queue["items"]), len(kept)))
    items = [
        Item(id=one["id"], text=one["text"], own=False, reason="", random=True, near=[], label=one["label"])
        for one in drawn
    ]
    review.put({**queue, "items": items})


if __name__ == "__main__":
    main()
