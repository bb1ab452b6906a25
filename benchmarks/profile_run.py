"""Measure where the seconds and the megabytes of a whole run go: by node, by function, by file.

    python benchmarks/profile_run.py                        # a head and a full student: about 40 CPU minutes
    python benchmarks/profile_run.py --students head --name "a change"
    python benchmarks/profile_run.py --students full --epochs 1    # a fraction of the training
    python benchmarks/profile_run.py --drafts               # drafts with vectors, and without
    python benchmarks/profile_run.py --table                # the results as tables

A run of `auto` on emotion, as a user would start it: 300 own rows, 4,000 unlabelled texts, 1,000 samples a
round, 2,000 test rows, and a rehearsal teacher behind its HTTP server in a process of its own, which answers
at once. The run is a process with one thread.

Seconds, CPU seconds and the highest resident memory of a node are read when the run reports that it begins
and ends. A thread looks 50 times a second which function of tutelage is at work in the main thread, and books
the CPU seconds of all threads since its last look to this function; what a library does counts for the
function that called it. Each run is appended to results/profile.jsonl, with the size of its folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import tutelage
from common.cells import Cell, add_options, encoder, read, write
from common.regime import Data, Regime, load, task_fields
from large_pool import resident

RESULTS = Path(__file__).parent / "results" / "profile.jsonl"
ROOT = str(Path(tutelage.__file__).parent) + os.sep
OWN, SAMPLES = 300, 1000
WRITTEN = 3000  # further texts of the train split from which the teacher "writes"
LOOK = 0.02  # seconds between two looks at the main thread
SHOWN = 14  # functions in a table
BETWEEN = "between nodes"
# What a function belongs to, by the beginning of its name; the first that fits.
WORK = {
    "embedding": ("student/encoder.py _forward",),
    "training": ("student/training/", "student/linear_layers.py"),
    "predicting": ("student/models/",),
    "corpus": ("student/corpus.py", "student/chroma.py", "student/nearest.py"),
    "selection": ("student/clustering.py", "student/selection.py"),
    "teacher's client": ("agents/",),
    "report": ("graph/report/",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--students", nargs="+", default=["head", "full"], choices=["head", "full"])
    parser.add_argument("--name", default="main", help="what is measured, to tell results apart")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, help="of a full student, without a least number of steps")
    parser.add_argument("--drafts", action="store_true", help="compare two ways to store drafts")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the task of a run in a process of its own
    add_options(parser)
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps(profiled(Path(wanted.one))))
        return
    if wanted.drafts:
        for width in (384, 1, 384, 1):
            write(RESULTS, {"name": "drafts", "width": width, **drafts_stored(width)})
    elif not wanted.table:
        data = load("emotion", Regime(OWN, SAMPLES * wanted.rounds, 0), 0, encoder(wanted.cache))
        for student in wanted.students:
            settings: Cell = {"mode": student}
            if student == "full":
                few = {"epochs": wanted.epochs, "min_steps": 0} if wanted.epochs else {}
                settings |= {"training": "probe_first", **few}
            about = {"name": wanted.name, "student": settings, "rounds": wanted.rounds}
            write(RESULTS, {**about, **run_alone(data, settings, wanted.rounds)})
    for found in read(RESULTS):
        print_tables(found)


def run_alone(data: Data, student: Cell, rounds: int) -> Cell:
    """Profile a run in a process of its own."""
    with tempfile.TemporaryDirectory() as name, teacher(data) as url:
        folder = Path(name)
        task = {
            "name": "profile",
            "instruction": "Name the emotion of the text.",
            **task_fields(data, folder),
            "student": student,
            "teacher": {"model": "openai:rehearsal", "base_url": url, "force": True},
            "strategy": {"base": "auto", "samples": SAMPLES, "stall": 0},
            "budget": {"rounds": rounds},
        }
        (folder / "task.yaml").write_text(json.dumps(task))
        command = [sys.executable, __file__, "--one", str(folder / "task.yaml")]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(found.stdout.splitlines()[-1]))


@contextmanager
def teacher(data: Data) -> Iterator[str]:
    """Yield the URL of a rehearsal teacher in a process of its own."""
    from multiprocessing import get_context

    context = get_context("spawn")
    theirs, ours = context.Pipe()
    process = context.Process(
        target=serve_until_closed, args=(ours, data.rest[:WRITTEN], [*data.own, *data.pool]), daemon=True
    )
    process.start()
    try:
        yield str(theirs.recv())
    finally:
        theirs.send("end")
        process.join()


def serve_until_closed(pipe: Any, rows: list[Any], known: list[Any]) -> None:
    """Serve a teacher that errs on 10 % of the texts, until something is received."""
    from tutelage.agents.rehearsal.rehearsal import Rehearsal
    from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
    from tutelage.agents.rehearsal.server import serve
    from tutelage.student.encoder import Encoder

    with serve(RehearsalModel(rehearsal=Rehearsal(rows, Encoder().encode, known=known))) as url:
        pipe.send(url)
        pipe.recv()


def profiled(task: Path) -> Cell:
    """Run a task and return its figures."""
    folder, profile = task.parent / "run", Profile(task.parent / "run")
    start, cpu = time.monotonic(), time.process_time()
    with profile.looking():
        tutelage.run(task, folder, listener=profile.listen)
    about = json.loads((folder / "run.json").read_text())
    return {
        "seconds": round(time.monotonic() - start),
        "cpu": round(time.process_time() - cpu),
        "test": round(about["test"]["metric"], 3),
        "calls": about["spent"]["calls"],
        "nodes": {name: node.figures() for name, node in profile.nodes.items()},
        "functions": profile.largest(),
        "memory_begun": round(profile.begun),
        "disk": {one.name: megabytes(one) for one in sorted(folder.iterdir()) if megabytes(one)},
        "disk_highest": profile.disk,
        "load": round(os.getloadavg()[0], 1),
    }


class Node:
    """The figures of a node, over all rounds."""

    times = 0
    seconds = cpu = highest = after = 0.0

    def figures(self) -> Cell:
        return {
            name: round(getattr(self, name), 1) for name in ("times", "seconds", "cpu", "highest", "after")
        }


class Profile:
    """Collect the figures of a run, as its listener and from a thread."""

    def __init__(self, folder: Path):
        self.folder, self.nodes, self.node = folder, defaultdict[str, Node](Node), BETWEEN
        self.functions: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.begun, self.disk = 0.0, 0.0
        self._cpu, self._at = time.process_time(), time.monotonic()
        self._looked = (self._at, self._cpu)
        self._main, self._ended = threading.get_ident(), threading.Event()

    def listen(self, event: Cell) -> None:
        """Take the event of a run; those in the middle of a node change nothing."""
        if event["event"] in ("enter", "leave"):
            self.begun = self.begun or resident()
            self._book()
            if event["event"] == "leave":
                self.disk = max(self.disk, megabytes(self.folder))
            self.node = event["node"] if event["event"] == "enter" else BETWEEN
            Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident size so far

    def _book(self) -> None:
        """Add what was measured since the last event to the current node."""
        node, at, cpu = self.nodes[self.node], time.monotonic(), time.process_time()
        node.times += 1
        node.seconds += at - self._at
        node.cpu += cpu - self._cpu
        node.highest, node.after = max(node.highest, resident("VmHWM")), resident()
        self._at, self._cpu = at, cpu

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at the main thread until the block ends."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._book()
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK):
            frame = sys._current_frames()[self._main]
            found = self.functions[self.node, function_of(frame)]
            now = (time.monotonic(), time.process_time())
            for i in (0, 1):
                found[i] += now[i] - self._looked[i]
            self._looked = now

    def largest(self) -> list[Cell]:
        """Return the functions with the most CPU seconds."""
        ordered = sorted(self.functions.items(), key=lambda item: -item[1][1])
        return [
            {"node": node, "function": name, "seconds": round(wall, 1), "cpu": round(cpu, 1)}
            for (node, name), (wall, cpu) in ordered[:40]
        ]


def function_of(frame: Any) -> str:
    """Return the innermost function of tutelage in a stack, with its file."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(ROOT) and not path.startswith((f"{ROOT}benchmarks", f"{ROOT}.")):
            return f"{path.removeprefix(ROOT)} {frame.f_code.co_name}"
        frame = frame.f_back
    return "libraries"


class RandomVectors:
    """An encoder of random vectors of a width."""

    fingerprint = "random"

    def __init__(self, width: int):
        self.width = width

    def encode(self, texts: Sequence[str]) -> Any:
        import numpy as np

        vectors = np.random.default_rng(0).normal(size=(len(texts), self.width)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def drafts_stored(width: int) -> Cell:
    """Store two rounds of drafts with vectors of a width; return CPU seconds and the size of the corpus."""
    from tutelage.student.corpus import Corpus, drawn_sample
    from tutelage.student.data.rows import Row

    words = "a text of some words, as long as a short message"
    rows = [Row(id=str(i), text=f"{words} {i}", label="") for i in range(2 * SAMPLES)]
    samples = [drawn_sample(row, round=1 + i // SAMPLES, place=i % SAMPLES) for i, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder) / "corpus", RandomVectors(width), threshold=0.92)
        corpus.hold_out(["a first text, which creates the collections"])
        start = time.process_time()
        for first in (0, SAMPLES):
            corpus.put(samples[first : first + SAMPLES])
        cpu = time.process_time() - start
        return {"drafts": len(samples), "cpu": round(cpu, 2), "megabytes": megabytes(Path(folder))}


def work_of(function: Cell) -> str:
    """Return what a function belongs to; loading libraries and models happens before the first node."""
    kinds = (kind for kind, names in WORK.items() if function["function"].startswith(names))
    return "loading" if function["node"] == BETWEEN else next(kinds, "other")


def megabytes(path: Path) -> float:
    """Return the size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def print_tables(found: Cell) -> None:
    """Print one run: its nodes, its largest functions and its files."""
    if found["name"] == "drafts":
        print(", ".join(f"{name} {value}" for name, value in found.items()))
        return
    total = f"{found['seconds']} s, {found['cpu']} CPU s, {found['calls']} calls, load {found['load']}"
    student = ", ".join(f"{name} {value}" for name, value in found["student"].items())
    print(f"\n## {found['name']}, {found['rounds']} rounds, {student}: {total}\n")
    print("| node | times | s | CPU s | share | MiB at most | MiB after |\n" + "|---" * 7 + "|")
    for name, node in sorted(found["nodes"].items(), key=lambda item: -item[1]["cpu"]):
        share = f"{node['cpu'] / found['cpu']:.1%}"
        cells = node["times"], node["seconds"], node["cpu"], share, node["highest"], node["after"]
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    by_work: dict[str, float] = defaultdict(float, other=found["cpu"])
    for one in found["functions"]:
        by_work[work_of(one)] += one["cpu"]
        by_work["other"] -= one["cpu"]
    print("\n| work | CPU s | share |\n" + "|---" * 3 + "|")
    for name, cpu in sorted(by_work.items(), key=lambda item: -item[1]):
        print(f"| {name} | {cpu:.1f} | {cpu / found['cpu']:.1%} |")
    print("\n| node | function | s | CPU s |\n" + "|---" * 4 + "|")
    for one in found["functions"][:SHOWN]:
        print(f"| {one['node']} | `{one['function']}` | {one['seconds']} | {one['cpu']} |")
    if "memory_begun" in found:
        print(f"\nMemory when the first node begins: {found['memory_begun']} MiB.")
    print(f"Folder: {found['disk_highest']} MB at most; at the end, MB:")
    print(", ".join(f"{name} {size}" for name, size in sorted(found["disk"].items(), key=lambda i: -i[1])))


if __name__ == "__main__":
    main()
