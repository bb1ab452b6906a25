"""Measure the corpus of a run on a Chroma server beside the corpus in its folder.

    python benchmarks/chroma_server.py           # 4,000 texts, on a server that this script starts
    python benchmarks/chroma_server.py --table

Each arm is a process of its own, and the arms take turns. A text is written as a run does it, in batches of
500: searched for near-duplicates, stored as a draft, updated once, and stored as a judged sample. Then the
corpus is opened again, as by `tutelage resume`: all vectors are read for the next search, and all samples.
Vectors are random ones of 384 numbers, which no encoder is waited for. CPU seconds are those of the run, and
apart from these those of the server. The last arm is two runs that write to one server at once. Results go to
results/chroma_server.jsonl as they come.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common.cells import Cell, read, write
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "chroma_server.jsonl"
TEXTS, BATCH, TURNS = 4_000, 500, 6
ARMS = {"folder": 1, "server": 1, "server, two runs at once": 2}
COLUMNS = ("write_seconds", "write_cpu", "server_cpu", "open_seconds", "open_cpu", "samples_seconds")


class Given:
    """An encoder whose vectors are drawn at random in advance."""

    fingerprint = "given"

    def __init__(self) -> None:
        drawn = np.random.default_rng(0).standard_normal((TEXTS, 384))
        self.vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        return self.vectors[[int(text.split()[-1]) for text in texts]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument(
        "--one", nargs=2, help=argparse.SUPPRESS
    )  # folder and server, in a process of its own
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps(measured(Path(wanted.one[0]), wanted.one[1] or None)))
        return
    if not wanted.table:
        done = {(one["arm"], one["turn"]) for one in read(RESULTS)}
        for turn in range(TURNS):
            for arm, runs in ARMS.items():
                if (arm, turn) not in done:
                    write(RESULTS, {"arm": arm, "turn": turn, "texts": TEXTS, **turn_of(arm, runs)})
    print("| arm | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    for arm in ARMS:
        found = [one for one in read(RESULTS) if one["arm"] == arm]
        print(
            f"| {arm} | " + " | ".join(f"{median(one[name] for one in found):.1f}" for name in COLUMNS) + " |"
        )


def turn_of(arm: str, runs: int) -> Cell:
    """Run the processes of an arm at once, and return the slowest figures of the runs."""
    with tempfile.TemporaryDirectory() as name, served(Path(name), arm) as (url, process):
        before = cpu_of(process) if process else 0.0
        folders = [str(Path(name) / f"run-{number}" / "corpus") for number in range(runs)]
        command = [sys.executable, __file__, "--one"]
        started = [
            subprocess.Popen([*command, one, url], stdout=subprocess.PIPE, text=True) for one in folders
        ]
        found = [json.loads(one.communicate()[0].splitlines()[-1]) for one in started]
        spent = cpu_of(process) - before if process else 0.0
    slowest = {key: max(one[key] for one in found) for key in found[0]}
    result = {**slowest, "server_cpu": round(spent, 2), "load": round(os.getloadavg()[0], 1)}
    print(arm, json.dumps(result), flush=True)
    return result


def measured(folder: Path, server: str | None) -> Cell:
    """Write all texts, then open the corpus again."""
    from tutelage.student.corpus import Corpus, Sample, changed, drawn_sample
    from tutelage.student.data.rows import Row, content_id

    def sample(number: int) -> Sample:
        text = f"text number {number}"
        return drawn_sample(Row(id=content_id(text), text=text, label=""), round=1, place=number)

    corpus = Corpus(folder, Given(), threshold=0.92, server=server)
    corpus.neighbours(["text number 0"])  # loads Chroma and creates the collections
    wall, cpu = time.monotonic(), time.process_time()
    for start in range(0, TEXTS, BATCH):
        samples = [sample(number) for number in range(start, start + BATCH)]
        assert corpus.neighbours([one["text"] for one in samples]) == [None] * BATCH
        corpus.put(samples)
        corpus.update([changed(one, status="kept") for one in samples])
        corpus.add_judged(samples)
    written = time.monotonic() - wall, time.process_time() - cpu
    again = Corpus(folder, Given(), threshold=0.92, server=server)
    wall, cpu = time.monotonic(), time.process_time()
    assert again.neighbours(["text number 3"])[0]
    opened = time.monotonic() - wall, time.process_time() - cpu
    wall = time.monotonic()
    assert len(again.drafts(status="kept")) == TEXTS
    read_all = time.monotonic() - wall
    names = ("write_seconds", "write_cpu", "open_seconds", "open_cpu", "samples_seconds")
    return {key: round(value, 2) for key, value in zip(names, (*written, *opened, read_all), strict=True)}


@contextmanager
def served(folder: Path, arm: str) -> "Iterator[tuple[str, subprocess.Popen[bytes] | None]]":
    """Run a Chroma server for the arms that need one."""
    if arm == "folder":
        yield "", None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("chroma")
    arguments = [program, "run", "--path", folder / "data", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def cpu_of(process: "subprocess.Popen[bytes]") -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
