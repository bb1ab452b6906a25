"""Measure how fast a student predicts a file, beside a transformers pipeline and a language model's price.

    python benchmarks/throughput.py           # a full MiniLM student of 300 rows, one thread
    python benchmarks/throughput.py --table

Each turn predicts the same 1,000 test texts with every arm, in another order; loading is not counted. Ratios
are to the pipeline with batches of 64 in the same turn. Arms:

  file, torch / onnx / int8   `tutelage predict --file in.csv --to out.csv`: reading, predicting and writing
  pipeline, 1 / 64            transformers.pipeline("text-classification"), a text at a time (default) or
                              batches of 64, on a list of texts in memory

The price is that of labelling a million such texts with the prompts of a run, a token counted as four
characters, without reasoning tokens. Results go to results/throughput.jsonl as they come.
"""

import argparse
import csv
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import add_options, encoder, print_failures, read, run_cells
from common.regime import Data, Regime, load
from common.students import trained

RESULTS = Path(__file__).parent / "results" / "throughput.jsonl"
SETS = ("emotion", "agnews")
TEXTS, TURNS, OWN = 1_000, 5, 300
BASE = "pipeline, 64"
PRICED = "openai:gpt-5-mini"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        cells: list[dict[str, Any]] = [
            {"task": task, "arm": "throughput", "setting": f"own {OWN}", "seed": 0, "student": "full"}
            for task in SETS
        ]
        print_failures(run_cells(cells, work, RESULTS, jobs=1, cache=wanted.cache))
    print("| set | arm | texts/s | ratio | lowest to highest |\n" + "|---" * 5 + "|")
    for found in read(RESULTS):
        if "error" in found:
            continue
        for arm, seconds in found["seconds"].items():
            ratios = [base / own for base, own in zip(found["seconds"][BASE], seconds, strict=True)]
            speed = f"{TEXTS / median(seconds):,.0f} | {median(ratios):.2f}"
            print(f"| {found['task']} | {arm} | {speed} | {min(ratios):.2f} to {max(ratios):.2f} |")
        print(f"| {found['task']} | a million texts by {PRICED}: ${found['dollars']:.0f} | | | |")


def work(cell: dict[str, Any], cache: Path) -> dict[str, Any]:
    """Time every arm in turns."""
    from transformers import pipeline
    from tutelage.student.models.load import load_student
    from tutelage.student.models.onnx import write_onnx

    data = load(cell["task"], Regime(OWN, 0, 0), cell["seed"], encoder(cache))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained(data.own, data, cell, encoder(cache)).export(folder / "model")
        student: Any = load_student(folder / "model", device_name="cpu")
        write_onnx(student, folder / "model", [row["text"] for row in data.own])
        texts = [row["text"] for row in data.test[:TEXTS]]
        with (folder / "in.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([text] for text in texts)])
        classify: Any = pipeline("text-classification", str(folder / "model"), trust_remote_code=True)
        arms: dict[str, Callable[[], object]] = {
            "file, torch": lambda: fill(folder, "torch"),
            "file, onnx": lambda: fill(folder, "onnx"),
            "file, int8": lambda: fill(folder, "int8"),
            "pipeline, 1": lambda: classify(texts, truncation=True),
            BASE: lambda: classify(texts, truncation=True, batch_size=64),
        }
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(TURNS + 1):  # the first one warms up
            for arm in random.Random(turn).sample(list(arms), len(arms)):
                start = time.perf_counter()
                arms[arm]()
                if turn:
                    seconds[arm].append(round(time.perf_counter() - start, 3))
    return {"seconds": seconds, "dollars": round(dollars(data, texts), 2)}


def fill(folder: Path, engine: Any) -> None:
    """Predict the file. Loading the student takes less than a second of it."""
    from tutelage.graph.runs.predict_file import PredictionRequest, predict_file

    out = folder / "out.csv"
    predict_file(PredictionRequest(folder / "model", engine=engine), folder / "in.csv", out, lambda _: None)
    out.unlink()


def dollars(data: Data, texts: list[str]) -> float:
    """Return the price of labelling a million texts like these."""
    from tutelage.agents.brief import Brief
    from tutelage.agents.labeler import label_requests
    from tutelage.agents.providers.prices import listed_price
    from tutelage.prompts import render
    from tutelage.student.corpus import drawn_sample
    from tutelage.student.data.rows import Row

    rows = [Row(id=str(i), text=text, label="") for i, text in enumerate(texts)]
    brief = Brief(task="Give each text its label.", labels={label: label for label in data.labels})
    samples = [drawn_sample(row, place=place) for place, row in enumerate(rows)]
    requests = [request for _, request in label_requests(brief, samples, seed=0)]
    sent = sum(len("".join(render(one.role, one.payload))) for one in requests) / 4
    reply = {"id": "12", "reason": "It says so in plain words.", "label": data.labels[0], "confidence": 0.95}
    received = len(texts) * len(json.dumps(reply)) / 4
    price = listed_price(PRICED)
    assert price
    return (sent * price.prompt + received * price.completion) / len(texts)


if __name__ == "__main__":
    main()
