"""Measure whether the students of the folds are trained faster in processes side by side.

    python benchmarks/fold_processes.py

300 own rows and 300 samples of emotion in three folds, as in a round of the loop, with the default training
of a MiniLM student. Two processes with a thread each are measured before and after one with two threads. Each
result is appended to results/fold_processes.jsonl with the load of the machine. Run it on idle cores.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch
from common.cells import encoder
from common.regime import Regime, load
from tutelage.student.training.candidates import candidates
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.child import Job
from tutelage.student.training.processes.side_by_side import train_side_by_side

RESULTS = Path(__file__).parent / "results" / "fold_processes.jsonl"
FOLDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        shared = encoder(Path(cache))
        data = load("emotion", Regime(300, 300, 0), 0, shared)
        rows = [*data.own, *data.labelled(data.pool[:300])]
        config = next(iter(candidates(TrainingConfig()).values()))
        folds = [[row for i, row in enumerate(rows) if i % FOLDS != fold] for fold in range(FOLDS)]

        def one_process(threads: int) -> None:
            torch.set_num_threads(threads)
            for seed, fold in enumerate(folds):
                train(fold, data.labels, config, seed=seed, encoder=shared, observer=Observer())

        def two_processes() -> None:
            jobs = [Job(fold, data.labels, config, seed, 1) for seed, fold in enumerate(folds)]
            with tempfile.TemporaryDirectory() as folder:
                observers = [Observer()] * FOLDS
                train_side_by_side(jobs, Path(folder) / "jobs", processes=2, observers=observers)

        measured("1 process x 1 thread", lambda: one_process(1))
        measured("2 processes x 1 thread", two_processes)
        measured("1 process x 2 threads", lambda: one_process(2))
        measured("2 processes x 1 thread", two_processes)


def measured(arm: str, work: Callable[[], Any]) -> None:
    """Run an arm, and store and print its seconds."""
    start = time.monotonic()
    work()
    found = {"arm": arm, "seconds": round(time.monotonic() - start, 1), "load": os.getloadavg()[0]}
    print(found, flush=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
