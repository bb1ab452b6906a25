"""Compare training configurations on few rows.

    python benchmarks/few_rows.py                    # every cell without a result
    python benchmarks/few_rows.py --table            # the results as a table
    python benchmarks/few_rows.py --sets emotion --arms old weighted --seeds 0

A cell is a data set, a number of rows, a seed and an arm. The seed draws the rows from the train split, at
natural frequencies. Macro-F1 is measured on 1,000 rows of the validation split, because the test splits are
reserved for benchmarks that compare methods. Each result is appended to results/few_rows.jsonl as it comes,
and cells with a result are not run again. In `noisy` sets 10 % of the labels are wrong.

Arms: `old` is the earlier training (see README.md); `probe_first`, `weighted`, `probe`, `contrastive` and
`plain` are those of student/training/candidates.py; the others were tried in order to choose these. `lpft`
and `con60` are `probe_first` and `contrastive` with other epochs and learning rates; `root` is `weighted`
with other epochs. `first_100` and `first_400` are `probe_first` with other numbers of steps (default: 200).
`steps_by_folds` takes the best of the three out of fold, on three folds of the training rows: early stopping
without a validation set. `first_early` and `early_400` stop early on a fifth of the rows, which they are not
trained on, within 200 and 400 steps. `first_frozen` trains the upper three of the six layers, and
`first_decay` lets the learning rate fall by a factor of 0.8 from layer to layer.
"""

import argparse
import gzip
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported: waiting threads use no CPU time

import torch
from tutelage.student.data.readers import Columns, make_row
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.evaluate import grade
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.candidates import candidates
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.observer import Observer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "few_rows.jsonl"
DATA = HERE.parent.parent / "shared" / "data"
EVALUATED = 1000
WRONG = 0.1
FOLDS = 3
STEPS = (100, 200, 400)  # candidates of `steps_by_folds`
SETS = {"emotion": 450, "csabstruct": 450, "clinc150": 600}
TAGGED = ("mit_movie", "conll04", "wnut17")
NAMED = (
    *("mode", "epochs", "learning_rate", "class_weights", "pooling", "probe_first", "contrastive_steps"),
    *("smoothing", "average"),
)

OLD = TrainingConfig(epochs=4, min_steps=30, class_weights="inverse")
ROOT = replace(OLD, class_weights="root")
PROBED = replace(ROOT, probe_first=True, epochs=8, learning_rate=1e-4)
NAMED_ARMS = candidates(TrainingConfig())
FIRST = NAMED_ARMS["probe_first"]
ARMS: dict[str, TrainingConfig] = {
    "old": OLD,
    **NAMED_ARMS,
    "root4": ROOT,
    "root8": replace(ROOT, epochs=8),
    "lpft4_1e-4": replace(PROBED, epochs=4),
    "lpft8_3e-4": replace(PROBED, learning_rate=3e-4),
    "lpft8_1e-4": PROBED,
    "lpft_1e-4": replace(FIRST, learning_rate=1e-4),
    "first_inverse": replace(FIRST, class_weights="inverse"),
    "weighted_inverse": replace(NAMED_ARMS["weighted"], class_weights="inverse"),
    "first_100": replace(FIRST, epochs=1, min_steps=100),
    "first_400": replace(FIRST, epochs=1, min_steps=400),
    "steps_by_folds": FIRST,
    "first_early": replace(FIRST, early_stopping=True),
    "early_400": replace(FIRST, epochs=1, min_steps=400, early_stopping=True),
    "first_frozen": replace(FIRST, frozen_layers=3),
    "first_decay": replace(FIRST, layer_decay=0.8),
    "first_average": replace(FIRST, average=0.3),
    "first_smooth": replace(FIRST, smoothing=0.1),
    "con60": replace(PROBED, epochs=0, contrastive_steps=60, learning_rate=3e-4),
    "con60_1e-4": replace(PROBED, epochs=0, contrastive_steps=60),
    "probe_root": replace(PROBED, epochs=0),
    "probe_none": replace(PROBED, epochs=0, class_weights="none"),
    "probe_inverse": replace(PROBED, epochs=0, class_weights="inverse"),
    "head": TrainingConfig(mode="head"),
    "head_none": TrainingConfig(mode="head", class_weights="none"),
    "head_inverse": TrainingConfig(mode="head", class_weights="inverse"),
    "plain": replace(TrainingConfig(), class_weights="none"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--sets",
        nargs="+",
        default=list(SETS),
        help="data sets, optionally with :rows and :noisy, such as emotion:100:noisy",
    )
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    if not wanted.table:
        done = {key(cell) for cell in results()}
        for cell in cells(wanted.sets, wanted.arms, wanted.seeds):
            if key(cell) not in done:
                store(measured(cell))
    print_table()


def cells(sets: list[str], arms: list[str], seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the cells seed by seed, so that an unfinished benchmark has results of every arm."""
    for seed in seeds:
        for name in sets:
            data, *rest = name.split(":")
            rows = next((int(part) for part in rest if part.isdigit()), SETS.get(data, 100))
            for arm in arms:
                yield {"set": data, "rows": rows, "noisy": "noisy" in rest, "seed": seed, "arm": arm}


def key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in ("set", "rows", "noisy", "seed", "arm"))


def measured(cell: dict[str, Any]) -> dict[str, Any]:
    """Train and evaluate; return the cell with its scores, CPU seconds and configuration."""
    rows, evaluated, labels = load(cell)
    kind, logged = "ner" if cell["set"] in TAGGED else "classification", dict[str, Any]()
    training_config = replace(ARMS[cell["arm"]], kind=kind)
    encoder = Encoder(training_config.base, device="cpu")
    start = time.process_time()
    if cell["arm"] == "steps_by_folds":
        training_config = replace(training_config, epochs=1, min_steps=best_steps(rows, labels, cell["seed"]))
    observer = Observer(logged.update)
    student = train(rows, labels, training_config, seed=cell["seed"], encoder=encoder, observer=observer)
    seconds = time.process_time() - start
    texts, gold = [row["text"] for row in evaluated], [row["label"] for row in evaluated]
    answers = student.predict_best(texts)
    figures = grade(TASK_TYPES[kind], texts, gold, answers, labels, "macro_f1")["figures"]
    known = {name: value for name, value in vars(training_config).items() if name in NAMED}
    return {
        **cell,
        "macro_f1": round(figures["macro_f1"], 4),
        "other": round(figures["micro_f1" if kind == "ner" else "accuracy"], 4),
        "cpu_seconds": round(seconds, 1),
        "restarted": logged.get("restarted", 0),
        "recipe": {**known, "min_steps": training_config.steps},
    }


def best_steps(rows: list[Row], labels: list[str], seed: int) -> int:
    """Return the number of steps whose students predict the rows best, each row out of fold."""
    task_type, encoder, scores = TASK_TYPES["classification"], Encoder(FIRST.base, device="cpu"), {}
    folds = [rows[k::FOLDS] for k in range(FOLDS)]
    for steps in STEPS:
        config, answers = replace(FIRST, epochs=1, min_steps=steps), list[str]()
        for k in range(FOLDS):
            others = [row for i, fold in enumerate(folds) for row in fold if i != k]
            student = train(others, labels, config, seed=seed, encoder=encoder)
            answers += student.predict_best([row["text"] for row in folds[k]])
        known = [row for fold in folds for row in fold]
        texts, gold = [row["text"] for row in known], [row["label"] for row in known]
        figures = grade(task_type, texts, gold, answers, labels, "macro_f1")["figures"]
        scores[steps] = figures["macro_f1"]
    return max(scores, key=scores.__getitem__)


def load(cell: dict[str, Any]) -> tuple[list[Row], list[Row], list[str]]:
    """Return the training rows, the evaluation rows, and all labels of the train split."""
    known, validation = (read(cell["set"], part) for part in ("train", "validation"))
    rng = random.Random(cell["seed"])
    tagged = cell["set"] in TAGGED
    labels = sorted({one for record in known for one in labels_in(record)})
    drawn = rng.sample(known, cell["rows"])
    if cell["noisy"]:
        for place in rng.sample(range(len(drawn)), round(WRONG * len(drawn))):
            others = [label for label in labels if label != drawn[place]["label"]]
            drawn[place] = {**drawn[place], "label": rng.choice(others)}
    evaluated = random.Random(0).sample(validation, min(EVALUATED, len(validation)))
    form = (Columns(("tokens",), "tags"), TASK_TYPES["ner"]) if tagged else ()
    made = [[make_row(record, labels, cell["set"], *form) for record in part] for part in (drawn, evaluated)]
    return made[0], made[1], labels


def labels_in(record: dict[str, Any]) -> set[str]:
    """Return the labels of a record: its label, or the types of its entities."""
    return {record["label"]} if "label" in record else {tag[2:] for tag in record["tags"] if tag != "O"}


def read(name: str, split: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def results() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def store(result: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result), flush=True)


def print_table() -> None:
    """Print the mean macro-F1 over the seeds, the score of each seed, and the CPU seconds of one training."""
    found = results()
    sets = list(dict.fromkeys((one["set"], one["rows"], one["noisy"]) for one in found))
    for data in sets:
        mine = [one for one in found if (one["set"], one["rows"], one["noisy"]) == data]
        print(f"\n{data[0]}, {data[1]} rows{', 10 % wrong labels' if data[2] else ''}")
        for arm in dict.fromkeys(one["arm"] for one in mine):
            of_arm = [one for one in mine if one["arm"] == arm]
            scores = [one["macro_f1"] for one in of_arm]
            each = " ".join(f"{score:.3f}" for score in scores)
            cost = mean(one["cpu_seconds"] for one in of_arm)
            print(f"  {arm:16} {mean(scores):.3f}  ({each})  {cost:.0f} s")


if __name__ == "__main__":
    main()
