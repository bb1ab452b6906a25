"""Measure the time and the memory of a run with a large pool of unlabelled texts.

    python benchmarks/large_pool.py             # pools of 10,000, 100,000 and 1,000,000 texts
    python benchmarks/large_pool.py --table

Each run is a process of its own: the bundled task with a head student, one round of 24 labels and the
comparison with random labels. The texts of the pool are 8 to 34 words of the bundled texts, put together at
random. Memory is the highest resident size of the run, less the size after a run without a pool, which loads
every library. Results go to results/large_pool.jsonl as they come.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, read, write

RESULTS = Path(__file__).parent / "results" / "large_pool.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--forms", nargs="+", default=["jsonl", "parquet"], choices=["jsonl", "parquet"])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # size and form, in a process of its own
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps(measured(int(wanted.one[0]), wanted.one[1])))
        return
    if not wanted.table:
        done = {(one["texts"], one["form"]) for one in read(RESULTS)}
        for size in wanted.sizes:
            for form in wanted.forms:
                if (size, form) not in done:
                    command = [sys.executable, __file__, "--one", str(size), form]
                    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    write(RESULTS, json.loads(found.stdout.splitlines()[-1]))
    print(
        "| texts | form | megabytes on disk | reading, s | whole run, s | memory, MB |\n" + "|---" * 6 + "|"
    )
    for one in read(RESULTS):
        cells = one["texts"], one["form"], one["file"], one["reading"], one["run"], one["memory"]
        print(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in cells)} |")


def measured(size: int, form: str) -> Cell:
    """Run the task with a pool of this size."""
    from tutelage.graph.runs.run import run
    from tutelage.graph.task.load import parse_task
    from tutelage.graph.task.samples import sample_task
    from tutelage.graph.task.splits import load_splits
    from tutelage.student.encoder import Encoder

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = json.loads(sample_task().model_dump_json(exclude_none=True))
        data, corpus = raw["data"], raw["teacher"]["corpus"]
        labelled = "".join(Path(data[part]["path"]).read_text() for part in ("seed", "diagnose"))
        (folder / "labelled.jsonl").write_text(labelled)
        raw |= {
            "data": {"labelled": "labelled.jsonl", "test": data["test"]},
            "teacher": {"corpus": corpus},
            "student": {"mode": "head"},
            "strategy": {"base": "auto", "samples": 24},
            "budget": {"rounds": 1},
        }
        encoder = Encoder()
        small = parse_task(raw, "benchmark", folder)
        run(small, folder / "first", encoder=encoder)  # loads every library
        pool = folder / f"pool.{form}"
        write_pool(pool, size, corpus)
        raw["data"]["unlabelled"] = str(pool)
        task = parse_task(raw, "benchmark", folder)
        before, start = resident(), time.monotonic()
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest size so far
        splits = load_splits(task)
        reading = time.monotonic() - start
        run(task, folder / "run", splits=splits, encoder=encoder)
        return {
            "texts": size,
            "form": form,
            "file": round(pool.stat().st_size / 1e6),
            "reading": round(reading),
            "run": round(time.monotonic() - start),
            "memory": round(resident("VmHWM") - before),
        }


def write_pool(path: Path, size: int, corpus: str) -> None:
    """Write texts of random words."""
    import pyarrow
    import pyarrow.parquet

    rng = random.Random(0)
    words = [w for line in Path(corpus).read_text().splitlines() for w in json.loads(line)["text"].split()]
    texts = (" ".join(rng.choices(words, k=rng.randint(8, 34))) for _ in range(size))
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        return
    schema = pyarrow.schema([("text", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for _ in range(0, size, 10_000):
            part = [next(texts) for _ in range(10_000)]
            writer.write_table(pyarrow.table({"text": part}, schema=schema))


def resident(which: str = "VmRSS") -> float:
    """Return the resident size of this process in megabytes, or with VmHWM the highest so far."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(which))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
