"""Compare selections of training sentences that gpt-3.5 wrote and annotated with entities (ProgGen).

    python benchmarks/proggen.py                             # two data sets, seven arms, three seeds
    python benchmarks/proggen.py --tasks conll2003 --seeds 0
    python benchmarks/proggen.py --table                     # print the stored results

No model is called: sentences, entities and log-probabilities are recorded. The seed draws 800 sentences. An
arm trains on all of them or on 200: at random; those whose entities the model was most confident of; those
with the highest entropy of a student (four rounds, the entropy of the loop); or those that the model left
unchanged when asked to correct them (the model as a critic). Each result is a line of results/proggen.jsonl,
with the span F1 on the published test split.
"""

import argparse
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, encoder, print_failures, read, run_cells
from common.data import records
from common.table import paired, spread

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "proggen.jsonl"
DATA = HERE.parent.parent / "shared" / "data"
TASKS = ("conll2003", "mit_movie")
POOL, SELECTED, ROUNDS = 800, 200, 4
ARMS = (
    "all",
    "all, corrected",
    "200 at random",
    "200 surest",
    "200 by entropy",
    "200 uncorrected",
    "200 human",
)
CONTROL = "200 at random"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, metavar="TASK")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        cells: list[Cell] = [
            {"task": task, "arm": arm, "setting": "recorded", "seed": seed, "student": "full"}
            for seed in wanted.seeds
            for task in wanted.tasks
            for arm in wanted.arms
        ]
        print_failures(run_cells(cells, work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def work(cell: Cell, cache: Path) -> Cell:
    """Train a student on the rows of an arm, and return its test score."""
    from tutelage.student.evaluation.evaluate import evaluate

    start, rows = time.monotonic(), training_rows(cell, cache)
    student = train_student(rows, types(cell["task"]), cell["seed"], cache)
    tests = [row_of(r) for r in records(DATA / f"llm_proggen_{cell['task']}" / "test.jsonl.gz")]
    figures = evaluate(student, tests)["figures"]
    return {
        "test": round(figures["micro_f1"], 4),
        "rows": len(rows),
        "seconds": round(time.monotonic() - start, 1),
    }


def training_rows(cell: Cell, cache: Path) -> list[Any]:
    """Return the rows that an arm trains on."""
    folder, rng = DATA / f"llm_proggen_{cell['task']}", random.Random(cell["seed"])
    corrected = {row["id"]: row for row in map(row_of, records(folder / "generated_corrected.jsonl.gz"))}
    written = {row["id"]: row for row in map(row_of, records(folder / "generated.jsonl.gz"))}
    both = sorted(key for key in written if key in corrected)
    pool = [written[key] for key in rng.sample(both, POOL)]
    if cell["arm"] == "200 human":
        human = [row_of(r) for r in records(DATA / cell["task"] / "train.jsonl.gz")]
        return rng.sample(human, SELECTED)
    if cell["arm"] == "all, corrected":
        return [corrected[row["id"]] for row in pool]
    if cell["arm"] == "200 surest":
        return sorted(pool, key=lambda row: -row["confidence"])[:SELECTED]
    if cell["arm"] == "200 uncorrected":
        return [row for row in pool if row["label"] == corrected[row["id"]]["label"]][:SELECTED]
    if cell["arm"] == "200 by entropy":
        return highest_entropy(pool, cell, cache)
    return pool[:SELECTED] if cell["arm"] == "200 at random" else pool


def highest_entropy(pool: list[Any], cell: Cell, cache: Path) -> list[Any]:
    """Return a random first quarter and three more, each by the highest entropy of the student so far."""
    chosen, size = pool[: SELECTED // ROUNDS], SELECTED // ROUNDS
    for _ in range(ROUNDS - 1):
        student = train_student(chosen, types(cell["task"]), cell["seed"], cache)
        known = {row["id"] for row in chosen}
        left = [row for row in pool if row["id"] not in known]
        ranked = student.predict([row["text"] for row in left]).entropy.argsort()[::-1][:size]
        chosen = chosen + [left[i] for i in ranked]
    return chosen


def train_student(rows: Sequence[Any], labels: list[str], seed: int, cache: Path) -> Any:
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train

    return train(rows, labels, TrainingConfig(kind="ner"), seed=seed, encoder=encoder(cache))


def types(task: str) -> list[str]:
    found = records(DATA / f"llm_proggen_{task}" / "test.jsonl.gz")
    return sorted({common_name(tag[2:]) for r in found for tag in r["tags"] if tag != "O"})


def row_of(record: dict[str, Any]) -> Any:
    """Return a sentence with its entities as a row. Its confidence is that of the least confident entity.
    Types that the task does not ask for are left out.
    """
    from tutelage.student.data.rows import Row, content_id
    from tutelage.student.tasks.registry import TASK_TYPES

    text = " ".join(record["tokens"])
    tags = [tag if tag == "O" else f"{tag[:2]}{common_name(tag[2:])}" for tag in record["tags"]]
    tags = ["O" if tag[2:] == "misc" else tag for tag in tags]
    known = sorted({tag[2:] for tag in tags if tag != "O"}) or ["none"]
    task_type = TASK_TYPES["ner"]
    row = Row(id=content_id(text, task_type), text=text, label=task_type.parse_label(tags, text, known))
    least = min((score for *_, score in record.get("entities", ()) if score is not None), default=0.0)
    return {**row, "confidence": 2.718281828**least}


def common_name(name: str) -> str:
    """Return the name of an entity type that is used for both the human data and the model's."""
    names = {"PER": "person", "LOC": "location", "ORG": "organization", "MISC": "misc"}
    names |= {"RATINGS_AVERAGE": "viewers'_rating", "RATING": "mpaa_rating"}
    return names.get(name, name.lower().replace(" ", "_"))


def print_table(results: Sequence[Cell]) -> None:
    """Print span F1, mean ± standard deviation over seeds, and a paired t-test against 200 at random."""
    groups: dict[str, dict[str, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for r in results:
        if "error" not in r:
            groups[r["task"]][r["arm"]][r["seed"]] = r
    print("| task | trained on | rows | seeds | span F1 | - at random | p |\n|---|---|---|---|---|---|---|")
    for task, arms in groups.items():
        for arm, runs in arms.items():
            gap, p = paired(runs, arms.get(CONTROL, {})) if arm != CONTROL else (None, None)
            rows = str(next(iter(runs.values()))["rows"])
            row = [task, arm, rows, str(len(runs)), spread([r["test"] for r in runs.values()])]
            row += ["" if gap is None else f"{gap:+.3f}", "" if p is None else f"{p:.3f}"]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
