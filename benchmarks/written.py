"""Measure what texts are worth that a real language model wrote, beside as many human ones.

    python benchmarks/written.py                                   # every cell without a result
    python benchmarks/written.py --writers gpt4 --student head     # seconds a cell
    python benchmarks/written.py --table

A writer is a model and a data set: recorded texts of GPT-4 and Llama-2-70B, each written from a human row
(Møller et al., EACL 2024, arXiv 2304.13861), and SmolLM2-135M, which runs here behind llama.cpp's server
(`make llm`) and continues lists of four rows under a heading such as "Messages in which the writer feels
joy:". Students are trained on the user's rows and on texts in addition; macro-F1 is measured on human test
rows, which no arm saw. Texts that were written from a test row are left out.

Arms, with 300 texts each if there are as many (`agreeing`, `from errors` and `critic` have fewer):
  own           the user's rows alone
  human         and human texts with human labels
  intended      and written texts with the label they were written for
  relabelled    and the same texts, labelled by a judge
  agreeing      and written texts whose two labels agree
  chosen        and written texts, over-generated and chosen by a student of the user's rows
                (`uncertain_and_diverse`), labelled by the judge
  from errors   and texts written from rows that students of other folds got wrong, labelled by the judge
                (SmolLM2: continuing lists of such rows)
  light         as `relabelled`, with a quarter of the weight
  critic        as `relabelled`, for as many calls: half as many texts, without those whose label a critic
                refuses, because it would give another one
  all           and all written texts, labelled by the judge

The judge stands for a good teacher: a full student of up to 5,000 human rows. Its accuracy on the test rows
is in the results. The critic is a linear student of the same rows. Results go to results/written.jsonl as
they come.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.data import Record, records
from common.regime import DATA
from common.smollm2 import serve, write_texts
from common.students import score, trained
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import ONE, Fields
from value_table import print_tables

RESULTS = Path(__file__).parent / "results" / "written.jsonl"
COUNT = 300
TESTED = 2000
JUDGED_BY = 5000  # human rows of the judge
OWN = 200  # rows of the user, where the data set does not name them
LISTS = 18  # lists that SmolLM2 continues for each label
ARMS = (
    "own",
    "human",
    "intended",
    "relabelled",
    "agreeing",
    "chosen",
    "from errors",
    "light",
    "critic",
    "all",
)
# The data sets of each writer. Texts of smollm2 are written here, those of the others are recorded.
WRITERS = {
    "gpt4": ("llm_aug_crowdflower", "llm_aug_hyperbole"),
    "llama2_70b": ("llm_aug_crowdflower", "llm_aug_hyperbole"),
    "smollm2": ("emotion",),
}
RIVALS = (
    ("human", "own"),
    ("intended", "own"),
    ("relabelled", "own"),
    ("relabelled", "human"),
    ("relabelled", "intended"),
    ("agreeing", "relabelled"),
    ("chosen", "relabelled"),
    ("from errors", "relabelled"),
    ("light", "relabelled"),
    ("critic", "relabelled"),
    ("all", "own"),
)


@dataclass(frozen=True)
class Data:
    """Human rows of the user, further human rows, written rows with the intended label, those of them that
    were written from errors, and test rows. `judged` and `criticised` have the labels that the judge and the
    critic give each written row, by id.
    """

    labels: list[str]
    own: list[Row]
    human: list[Row]
    written: list[Row]
    from_errors: list[Row]
    test: list[Row]
    judged: dict[str, str]
    criticised: dict[str, str]
    kind: str = "classification"
    fields: Fields = ONE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--writers", nargs="+", default=WRITERS, choices=WRITERS, metavar="WRITER")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--student", default="full", choices=("full", "head"))
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        for writer in wanted.writers:  # before the cells, whose processes would write and judge side by side
            for task in WRITERS[writer]:
                for seed in wanted.seeds:
                    load(task, writer, seed, wanted.cache)
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_tables(read(RESULTS), RIVALS)


def cells(wanted: argparse.Namespace) -> list[Cell]:
    return [
        {"task": task, "arm": arm, "setting": f"written by {writer}", "seed": seed, "student": wanted.student}
        for seed in wanted.seeds
        for writer in wanted.writers
        for task in WRITERS[writer]
        for arm in wanted.arms
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Train and score the student of a cell."""
    start, writer = time.process_time(), cell["setting"].removeprefix("written by ")
    data, judge = load(cell["task"], writer, cell["seed"], cache)
    added = _added(cell, data, encoder(cache))
    found = {
        "test": score(trained([*data.own, *added], data, cell, encoder(cache)), data),
        "own": len(data.own),
        "added": len(added),
        "written": len(data.written),
        "intent agrees": _share(row["label"] == data.judged[row["id"]] for row in data.written),
        "judge": judge,
    }
    return {**found, "cpu_seconds": round(time.process_time() - start)}


def _added(cell: Cell, data: Data, encoder: Any) -> list[Row]:
    """Return the rows that an arm adds to the user's."""
    arm, rng = cell["arm"], random.Random(f"{cell['seed']} added")
    count = min(COUNT, len(data.written))
    if arm == "own":
        return []
    if arm == "human":
        return data.human[:count]
    rows = data.from_errors if arm == "from errors" else data.written
    rows = rng.sample(rows, len(rows))
    if arm == "intended":
        return rows[:count]
    if arm == "agreeing":
        rows = [row for row in rows if row["label"] == data.judged[row["id"]]]
    if arm == "critic":
        rows = [row for row in rows[: count // 2] if data.criticised[row["id"]] == data.judged[row["id"]]]
    if arm == "chosen":
        rows = _chosen(count, rows, data, cell, encoder)
    if arm == "all":
        rows = list({row["id"]: row for row in [*rows, *data.from_errors]}.values())
        count = len(rows)
    weight = 0.25 if arm == "light" else 1.0
    return [
        Row(id=row["id"], text=row["text"], label=data.judged[row["id"]], weight=weight)
        for row in rows[:count]
    ]


def _chosen(count: int, rows: Sequence[Row], data: Data, cell: Cell, encoder: Any) -> list[Row]:
    """Return the rows that a student of the user's rows chooses."""
    from tutelage.student.selection import Pool, select

    student = trained(data.own, data, cell, encoder)
    texts = [row["text"] for row in rows]
    known = encoder.encode([row["text"] for row in data.own])
    pool = Pool([student.predict(texts)], encoder.encode(texts), known)
    return [rows[i] for i in select("uncertain_and_diverse", count, pool, seed=cell["seed"])]


def load(task: str, writer: str, seed: int, cache: Path) -> tuple[Data, float]:
    """Return the rows of a cell, and the judge's accuracy on the test rows."""
    test = [_row(record) for record in _read(task, "test")]
    test = random.Random(0).sample(test, min(TESTED, len(test)))
    held = {row["id"] for row in test}
    known = [row for row in map(_row, _read(task, "train")) if row["id"] not in held]
    labels = sorted({row["label"] for row in known})
    known = random.Random(f"{task} {seed}").sample(known, len(known))
    own = known[:OWN]
    if writer != "smollm2":
        own = [row for row in map(_row, _read(task, "base")) if row["id"] not in held]
    taken = {row["id"] for row in own}
    human = [row for row in known if row["id"] not in taken][:JUDGED_BY]
    wrong = _wrong_out_of_fold(Data(labels, own, [], [], [], [], {}, {}), seed, encoder(cache))
    if writer == "smollm2":
        path = cache / f"written {task} {seed}.json"
        made = _once(path, lambda: _smollm2(own, wrong, labels, seed, path))
    else:
        made = [
            [one["text"], one["label"], one["source_text"] in wrong]
            for one in _read(task, f"generated_{writer}")
            if content_id(one["source_text"]) not in held
        ]
    rows = {
        content_id(text): (Row(id=content_id(text), text=text, label=label), from_error)
        for text, label, from_error in made
        if label in labels
    }
    left = [found for id, found in rows.items() if id not in held | taken]
    # Texts of SmolLM2 are written for one purpose; recorded ones were written from all rows alike.
    written = [row for row, from_error in left if not (from_error and writer == "smollm2")]
    from_errors = [row for row, from_error in left if from_error]
    judge, critic = _judge(task, labels, cache, "full"), _judge(task, labels, cache, "head")
    texts = {row["id"]: row["text"] for row, _ in left}
    judged, criticised = (
        _once(
            cache / f"{name} {task} {writer} {seed if writer == 'smollm2' else 0}.json",
            lambda student=student: dict(
                zip(texts, student.predict(list(texts.values())).answers, strict=True)
            ),
        )
        for name, student in (("judged", judge), ("criticised", critic))
    )
    right = _once(
        cache / f"judge {task}.json",
        lambda: [str(answer) for answer in judge.predict([row["text"] for row in test]).answers],
    )
    accuracy = _share(answer == row["label"] for answer, row in zip(right, test, strict=True))
    return Data(labels, own, human, written, from_errors, test, judged, criticised), accuracy


def _wrong_out_of_fold(data: Data, seed: int, encoder: Any) -> set[str]:
    """Return the texts of own rows that head students of the other folds get wrong."""
    from tutelage.student.data.folds import stratified_folds
    from tutelage.student.tasks.registry import TASK_TYPES

    folds = stratified_folds(data.own, TASK_TYPES[data.kind], 5, seed)
    found: set[str] = set()
    for fold in range(5):
        rest = [row for row in data.own if folds[row["id"]] != fold]
        held = [row for row in data.own if folds[row["id"]] == fold]
        student = trained(rest, data, {"student": "head", "seed": seed}, encoder)
        answers = student.predict([row["text"] for row in held]).answers
        found |= {row["text"] for row, answer in zip(held, answers, strict=True) if answer != row["label"]}
    return found


def _smollm2(
    own: Sequence[Row], wrong: set[str], labels: Sequence[str], seed: int, path: Path
) -> list[list[Any]]:
    """Return texts that SmolLM2 writes: text, intended label, and whether the list began with errors."""
    lists: list[tuple[str, bool, list[str]]] = []
    for label in labels:
        texts = [row["text"] for row in own if row["label"] == label]
        errors = [text for text in texts if text in wrong]
        lists += [(label, False, texts)] * LISTS + ([(label, True, errors)] * LISTS if errors else [])
    headings = [(f"Messages in which the writer feels {label}:", texts) for label, _, texts in lists]
    with serve() as url:
        found = write_texts(url, headings, path.with_suffix(".jsonl"), seed=seed)
    return [
        [text, label, from_error]
        for (label, from_error, _), texts in zip(lists, found, strict=True)
        for text in texts
    ]


def _judge(task: str, labels: list[str], cache: Path, mode: str) -> Any:
    """Return a student of human rows, trained once for each data set."""
    from tutelage.student.models.load import load_student

    folder = cache / f"judge {task}{'' if mode == 'full' else f' {mode}'}"
    if not folder.exists():
        held = {content_id(record["text"]) for record in _read(task, "test")}
        known = [row for row in map(_row, _read(task, "train")) if row["id"] not in held]
        rows = random.Random(0).sample(known, min(JUDGED_BY, len(known)))
        cell = {"student": mode, "seed": 0}
        student = trained(rows, Data(labels, [], [], [], [], [], {}, {}), cell, encoder(cache))
        part = folder.with_suffix(f".{os.getpid()}")
        student.save(part)
        part.rename(folder)
    return load_student(folder, encoder=encoder(cache))


def _once(path: Path, make: Callable[[], Any]) -> Any:
    """Return the content of a JSON file, which is made if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(make()), encoding="utf-8")
        part.rename(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _share(hits: Any) -> float:
    return round(float(np.mean(list(hits))), 3)


def _read(task: str, split: str) -> list[Record]:
    return list(records(DATA / task / f"{split}.jsonl.gz"))


def _row(record: Record) -> Row:
    return Row(id=content_id(record["text"]), text=record["text"], label=str(record["label"]))


if __name__ == "__main__":
    main()
