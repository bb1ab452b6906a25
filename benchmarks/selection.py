"""Compare the selection methods of student/selection.py with random selection, for head students.

    python benchmarks/selection.py emotion csabstruct banking77    # a quarter of an hour on one core

A run starts from 200 rows of the user. In each of three rounds a committee of three cross-fitted students
chooses 150 of 2,500 pool texts, of whose labels 10 % are wrong. After each round a student of all rows is
evaluated on the test set. Within a seed all methods share the user's rows, the pool and the wrong labels, so
the gain over random is paired. A run replaces the results of the same data set and method in
results/selection.json.
"""

import argparse
import gzip
import json
import random
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.selection import Pool, Selection, select
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "selection.json"
DATA = HERE.parent.parent / "shared" / "data"
OWN, POOL, TEST, ROUNDS, COUNT, MEMBERS, WRONG = 200, 2500, 800, 3, 150, 3, 0.1
HEAD = TrainingConfig(mode="head", device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="+", help="folders with train.jsonl.gz and test.jsonl.gz")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--methods", nargs="+", default=list(get_args(Selection)))
    parser.add_argument("--cache", type=Path, help="a file that keeps the embeddings")
    wanted = parser.parse_args()
    encoder = Encoder("minilm", device="cpu", max_tokens=64, cache=wanted.cache)
    for name in wanted.names:
        train_rows = read(wanted.data / name / "train.jsonl.gz", OWN + POOL)
        test = read(wanted.data / name / "test.jsonl.gz", TEST)
        curves = {
            selection: [curve(selection, train_rows, test, encoder, seed) for seed in range(wanted.seeds)]
            for selection in dict.fromkeys(["random", *wanted.methods])
        }
        store(name, curves)


def read(path: Path, most: int) -> list[Row]:
    """Return at most `most` random rows of a file, each text once."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        raw = [json.loads(line) for line in file]
    named = [Row(id=content_id(one["text"]), text=one["text"], label=str(one["label"])) for one in raw]
    rows = list({row["id"]: row for row in named}.values())
    return random.Random(0).sample(rows, min(len(rows), most))


def curve(selection: Selection, rows: list[Row], test: list[Row], encoder: Encoder, seed: int) -> list[float]:
    """Return macro-F1 on the test set after each round."""
    labels, rng = sorted({row["label"] for row in rows}), random.Random(seed)
    order = rng.sample(rows, len(rows))
    known, pool = order[:OWN], [with_teacher_label(row, labels, rng) for row in order[OWN:]]
    scores = []
    for number in range(ROUNDS):
        folds = [[row for i, row in enumerate(known) if i % MEMBERS != k] for k in range(MEMBERS)]
        members = [train(part, labels, HEAD, seed=seed, encoder=encoder) for part in folds]
        texts = [row["text"] for row in pool]
        unlabelled = Pool(
            [one.predict(texts) for one in members],
            encoder.encode(texts),
            encoder.encode([row["text"] for row in known]),
        )
        chosen = select(selection, COUNT, unlabelled, seed=ROUNDS * seed + number)
        known = known + [pool[place] for place in chosen]
        pool = [pool[place] for place in sorted(set(range(len(pool))) - set(chosen))]
        student = train(known, labels, HEAD, seed=seed, encoder=encoder)
        scores.append(evaluate(student, test, "macro_f1")["metric"])
    return scores


def with_teacher_label(row: Row, labels: list[str], rng: random.Random) -> Row:
    """Return the row with the label of a teacher that errs in 10 % of the cases."""
    wrong = rng.choice([label for label in labels if label != row["label"]])
    return {**row, "label": wrong} if rng.random() < WRONG else row


def store(name: str, curves: dict[Selection, list[list[float]]]) -> None:
    """Print and store the mean curves and their gains over random."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    table = found.setdefault(name, {})
    base = np.array(curves["random"])
    for selection, scores in curves.items():
        gains = np.array(scores) - base
        error = gains.std(0, ddof=1) / len(base) ** 0.5
        parts = {"macro_f1": np.mean(scores, axis=0), "gain": gains.mean(0), "standard_error": error}
        table[selection] = {
            "seeds": len(base),
            **{key: value.round(4).tolist() for key, value in parts.items()},
        }
        print(f"{name:12} {selection:22}", *(value.round(3) for value in parts.values()), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
