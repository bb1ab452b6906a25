"""Measure `tutelage predict --shard`: one process beside two, and what a shard reads for the others.

    python benchmarks/shards.py           # 2,048 texts of 8 to 34 words, MiniLM
    python benchmarks/shards.py --table

Every process is the command `tutelage predict` on a student of the bundled task (MiniLM with a linear head,
as `tutelage export` writes it); its CPU seconds are those of the whole process. The arms take turns. Arms:

  start                      a file of one text: loading the libraries and the student
  one process                all texts, one thread
  one process, two threads   the same with OMP_NUM_THREADS=2
  two shards                 half of the texts each, side by side, one thread each; the slower one counts
  one block                  a file of 1,024 texts
  one block of a large file  as many texts, a shard of a file of 99 times as many: what it reads for others

Results go to results/shards.jsonl as they come.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, read, write
from large_pool import write_pool

RESULTS = Path(__file__).parent / "results" / "shards.jsonl"
BLOCK, TEXTS, TURNS = 1_024, 2_048, 3
CORPUS = Path(__file__).parents[1] / "graph" / "sample" / "teacher.jsonl"
SIZES = {"start": 1, "texts": TEXTS, "block": BLOCK, "large": 99 * BLOCK}
# Arm: the file, its shards, the threads of a process.
ARMS: dict[str, tuple[str, list[str], int]] = {
    "start": ("start", ["1/1"], 1),
    "one process": ("texts", ["1/1"], 1),
    "two shards": ("texts", ["1/2", "2/2"], 1),
    "one process, two threads": ("texts", ["1/1"], 2),
    "one block": ("block", ["1/1"], 1),
    "one block of a large file": ("large", ["50/99"], 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true")
    wanted = parser.parse_args()
    if not wanted.table:
        done = {(one["arm"], one["turn"]) for one in read(RESULTS)}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder)
            for turn in range(TURNS):
                for arm in ARMS:
                    if (arm, turn) not in done:
                        found = {"arm": arm, "turn": turn, **turn_of(folder, arm)}
                        write(RESULTS, found)
                        print(json.dumps(found), flush=True)
    print_table()


def prepare(folder: Path) -> None:
    """Train and export the student, and write the files of texts."""
    from tutelage.student.data.readers import read_rows
    from tutelage.student.encoder import Encoder
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train

    labels = sorted({json.loads(line)["label"] for line in CORPUS.read_text().splitlines()})
    config = TrainingConfig(mode="head", device="cpu")
    train(read_rows(CORPUS, labels)[:200], labels, config, seed=0, encoder=Encoder()).export(folder / "model")
    for name, size in SIZES.items():
        write_pool(folder / f"{name}.jsonl", size, str(CORPUS))


def turn_of(folder: Path, arm: str) -> Cell:
    """Run the processes of an arm side by side; return the wall time and the CPU times."""
    file, shards, threads = ARMS[arm]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        to = Path(name) / "out.jsonl"
        command = [sys.executable, "-m", "tutelage.cli", "predict", folder / "model"]
        options = ["--file", folder / f"{file}.jsonl", "--to", to, "--engine", "torch", "--shard"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        start = time.monotonic()
        running = [
            subprocess.Popen(
                [*map(str, [*command, *options]), shard], env=environment, stdout=subprocess.PIPE
            )
            for shard in shards
        ]
        spent = []
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0, "a process failed"
            spent.append(round(usage.ru_utime + usage.ru_stime, 2))
        wall = round(time.monotonic() - start, 1)
        rows = sum(len(path.read_text().splitlines()) for path in to.parent.iterdir())
    return {"texts": rows, "cpu": spent, "seconds": wall, "load": round(os.getloadavg()[0], 1)}


def print_table() -> None:
    found = read(RESULTS)
    by = {(one["arm"], one["turn"]): float(max(one["cpu"])) for one in found}
    print("| arm | texts | CPU seconds (of the slower process) | wall |\n" + "|---" * 4 + "|")
    for arm in ARMS:
        if own := [one for one in found if one["arm"] == arm]:
            cpu, wall = median(max(one["cpu"]) for one in own), median(one["seconds"] for one in own)
            print(f"| {arm} | {own[0]['texts']:,} | {cpu:.1f} | {wall:.0f} |")
    for turn in range(TURNS):
        cpu_of = {arm: by[arm, turn] for arm in ARMS if (arm, turn) in by}
        if len(cpu_of) == len(ARMS):
            print(
                f"\nturn {turn}: {', '.join(f'{what} {value:.2f}' for what, value in ratios(cpu_of).items())}"
            )


def ratios(cpu: dict[str, float]) -> dict[str, float]:
    """Return what the CPU seconds of one turn say."""
    start, one, two = cpu["start"], cpu["one process"], cpu["two shards"]
    return {
        "two shards / one process": two / one,
        "without the start": (two - start) / (one - start),
        "texts a CPU second": (TEXTS - 1) / (one - start),
        "CPU seconds for a million rows of others": (cpu["one block of a large file"] - cpu["one block"])
        / (98 * BLOCK)
        * 1e6,
    }


if __name__ == "__main__":
    main()
