"""The other kinds of task in the loop: auto beside its controls, at equal numbers of labelled samples.

    python benchmarks/kinds.py                               # four tasks, four arms, three seeds
    python benchmarks/kinds.py --tasks conll2003 --seeds 0
    python benchmarks/kinds.py --table                       # print what is there

Entities of conll2003 and mit_movie, the set of types that a question of mit_movie names (several labels a
text), and nl2bash by an encoder-decoder begun from nothing (no pretrained one is at hand: its scores say how
the loop runs, not how good such a student is). The teacher is the rehearsal teacher with 10 % errors: no
language model was asked. One line a cell goes to results/kinds.jsonl as it comes; what is reported is the
published test split.
"""

import argparse
import gzip
import json
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
from methods_cells import Cell, encoder, read, run_cells, tell_failures
from methods_measured import measured
from methods_table import paired, spread

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "kinds.jsonl"
DATA = HERE.parent.parent / "shared" / "data"
TASKS = ("conll2003", "mit_movie", "mit_movie_types", "nl2bash")
STUDENTS = {"mit_movie_types": "head"}
ARMS = ("random", "auto", "zerogen")
UPPER, UPPER_ROWS = "human labels", 1000
CORPUS_ROWS = 4000  # of the train split, for the rehearsal teacher to answer from


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, metavar="TASK")
    parser.add_argument("--arms", nargs="+", default=(UPPER, *ARMS), choices=(UPPER, *ARMS), metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        cells: list[Cell] = [
            {
                "task": task,
                "arm": arm,
                "setting": "typical",
                "seed": seed,
                "student": STUDENTS.get(task, "full"),
            }
            for seed in wanted.seeds
            for task in wanted.tasks
            for arm in wanted.arms
        ]
        tell_failures(run_cells(cells, work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def work(cell: Cell, cache: Path) -> Cell:
    """One run of the loop, or the student of human labels."""
    from tutelage.graph.run import run

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        task, folder = task_of(cell, Path(place)), Path(place) / "run"
        if cell["arm"] == UPPER:
            found: Cell = {"test": upper_bound(task, encoder(cache))}
        else:
            found = measured(run(task, folder, encoder=encoder(cache)), {})
    return {**found, "seconds": round(time.monotonic() - start, 1)}


def task_of(cell: Cell, place: Path) -> Any:
    """The cell's task, its files made under `place` where the data set has others."""
    import yaml
    from tutelage.graph.config import parse_task

    name = cell["task"]
    raw = yaml.safe_load((HERE / "tasks" / f"{name.removesuffix('_types')}.yaml").read_text(encoding="utf-8"))
    train = [*records(DATA / name.removesuffix("_types") / "train.jsonl.gz")]
    corpus = random.Random(f"{cell['seed']} corpus").sample(train, min(CORPUS_ROWS, len(train)))
    if name.endswith("_types"):
        of_types(raw, place)
        corpus = [typed(record) for record in corpus]
    elif raw["kind"] == "ner":
        corpus = [{"text": r["tokens"], "entities": r["tags"]} for r in corpus]
    else:
        from tutelage.student.scratch import scratch_writer

        corpus = [{"text": r["input"], "target": r["target"]} for r in corpus]
        texts = [r[key] for r in corpus for key in ("text", "target")]
        raw["student"]["base"] = str(scratch_writer(place / "base", texts, words=2000))
    raw.setdefault("student", {})["mode"] = cell["student"]
    write(place / "corpus.jsonl", corpus)
    raw["teacher"]["corpus"] = str(place / "corpus.jsonl")
    if cell["arm"] != UPPER:
        raw["strategy"] = {**raw["strategy"], "base": cell["arm"]}
    if cell["arm"] == "zerogen":
        raw["strategy"].pop("label_apart", None)
    return parse_task({**raw, "seed": cell["seed"]}, name, HERE / "tasks")


def of_types(raw: dict[str, Any], place: Path) -> None:
    """Make of a task of entities the one that asks which types a text has."""
    raw |= {"name": "mit-movie-types", "kind": "multilabel", "metric": "micro_f1"}
    raw["instruction"] = "Say which kinds of things a question about films says of them."
    for which, source in raw["data"].items():
        write(place / f"{which}.jsonl", [typed(r) for r in records(HERE / "tasks" / source["path"])])
        rows = {"rows": source["rows"]} if "rows" in source else {}
        raw["data"][which] = {"path": str(place / f"{which}.jsonl"), **rows}


def typed(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": " ".join(record["tokens"]),
        "labels": sorted({tag[2:] for tag in record["tags"] if tag != "O"}),
    }


def upper_bound(task: Any, encoder: Any) -> float:
    """Test score of a student trained on human labels of the train split."""
    from tutelage.graph.splits import load_corpus, load_splits
    from tutelage.student.borders import tuned
    from tutelage.student.exam import evaluate
    from tutelage.student.training import train

    splits = load_splits(task)
    rows = load_corpus(task, splits, task.teacher.corpus)
    rows = random.Random(task.seed).sample(rows, min(UPPER_ROWS, len(rows)))
    student = train(rows, list(task.labels), task.recipe(), seed=task.seed, encoder=encoder)
    return round(evaluate(tuned(student, splits.gate), splits.test, task.metric)["metric"], 4)


def records(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def print_table(results: Sequence[Cell]) -> None:
    """Test score, mean ± standard deviation over seeds; paired t-test of auto against random."""
    groups: dict[str, dict[str, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for r in results:
        if "error" not in r:
            groups[f"{r['task']}, {r['student']}"][r["arm"]][r["seed"]] = r
    print(f"| task | arm | seeds | seeds only | final | - random | p | tokens |\n{'|---' * 8}|")
    for task, arms in groups.items():
        for arm, runs in arms.items():
            gap, p = paired(runs, arms["random"]) if arm not in (UPPER, "random") else (None, None)
            begun = spread([r["by_round"][0] for r in runs.values()]) if arm != UPPER else ""
            tokens = f"{sum(sum(r['tokens']) for r in runs.values()) / len(runs):.0f}" if arm != UPPER else ""
            row = [task, arm, str(len(runs)), begun, spread([r["test"] for r in runs.values()])]
            row += ["" if gap is None else f"{gap:+.3f}", "" if p is None else f"{p:.3f}", tokens]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
