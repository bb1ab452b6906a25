"""Measure how many requests a second `tutelage serve` answers, and how fast, with and without batching.

    python benchmarks/serving.py              # 5 turns of 5 s for each arm and number of clients: 3 minutes
    python benchmarks/serving.py --table      # print the stored results

A head student (frozen MiniLM) of the bundled task is served by two processes, with `--batch 64` (the default)
and `--batch 1` (the control: no batching). Clients in this process, on the same cores, each send one text of
the test set and wait for its label before they send the next. The arms take turns, so that other load on the
machine affects both. Runs with a result in results/serving.jsonl are not run again.
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import aiohttp

RESULTS = Path(__file__).parent / "results" / "serving.jsonl"
CLIENTS = (1, 8, 32)
ARMS = {"batching": 64, "one by one": 1}
KEYS = ("arm", "clients", "turn", "seconds")
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        measure(wanted.clients, wanted.turns, wanted.seconds)
    print_table(results())


def measure(clients: Sequence[int], turns: int, seconds: float) -> None:
    """Measure each arm and number of clients in turn; results are stored as they come."""
    done = {key(line) for line in results()}
    texts = itertools.cycle(one["text"] for one in sample("test"))
    with tempfile.TemporaryDirectory() as folder, served(student(Path(folder))) as urls:
        for turn, count, arm in itertools.product(range(turns), clients, ARMS):
            about = {"arm": arm, "clients": count, "turn": turn, "seconds": seconds}
            if key(about) not in done:
                found = asyncio.run(load(urls[arm], count, seconds, texts))
                store({**about, **found, **machine()})


def student(folder: Path) -> Path:
    """Train a head student on the bundled task, and return its folder."""
    from tutelage.student.data.readers import read_rows
    from tutelage.student.encoder import Encoder
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train

    labels = sorted({one["label"] for one in sample("seed")})
    rows = read_rows(Path(str(files("tutelage.graph") / "sample" / "seed.jsonl")), labels)
    made = train(rows, labels, TrainingConfig(mode="head"), seed=0, encoder=Encoder("minilm"))
    made.save(folder / "student")
    return folder / "student"


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Serve a student by one process an arm, and yield their addresses."""
    command = [sys.executable, "-m", "tutelage.cli", "serve", folder, "--port", "0", "--batch"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    started = {
        arm: subprocess.Popen([*command, str(size)], stdout=subprocess.PIPE, text=True, env=environment)
        for arm, size in ARMS.items()
    }
    try:
        yield {arm: process.stdout.readline().split()[2] for arm, process in started.items()}
    finally:
        for process in started.values():
            process.terminate()
            process.wait()


async def load(url: str, clients: int, seconds: float, texts: Iterator[str]) -> Line:
    """Let clients send texts for so many seconds; return requests a second and milliseconds of a request."""
    times: list[float] = []
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            async with session.post("/predict", json={"texts": [next(texts)]}) as response:
                assert response.status == 200, await response.text()
                await response.read()

        async def client(end: float) -> None:
            while (start := time.perf_counter()) < end:
                await ask()
                times.append(1000 * (time.perf_counter() - start))

        await asyncio.gather(*(ask() for _ in range(clients)))  # opens the connections
        before, start = await batches(session), time.perf_counter()
        await asyncio.gather(*(client(start + seconds) for _ in range(clients)))
        took, after = time.perf_counter() - start, await batches(session)
    cuts = quantiles(times, n=100)
    shape = {f"p{one}_ms": round(cuts[one - 1], 2) for one in (50, 95, 99)}
    size = (after[0] - before[0]) / (after[1] - before[1])
    return {
        "requests": len(times),
        "per_second": round(len(times) / took, 1),
        **shape,
        "texts_a_batch": round(size, 2),
    }


async def batches(session: aiohttp.ClientSession) -> tuple[float, float]:
    """Return how many texts, and how many batches, the server has predicted."""
    async with session.get("/metrics") as response:
        lines = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines())
    return float(lines["tutelage_batch_texts_sum"]), float(lines["tutelage_batch_texts_count"])


def sample(name: str) -> list[Line]:
    text = (files("tutelage.graph") / "sample" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def machine() -> Line:
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "torch": version("torch")}


def store(line: Line) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def results() -> list[Line]:
    """Return the last stored result of each run."""
    lines = map(json.loads, RESULTS.read_text().splitlines() if RESULTS.exists() else ())
    return list({key(line): line for line in lines}.values())


def key(line: Line) -> tuple[object, ...]:
    return tuple(line[name] for name in KEYS)


def print_table(lines: list[Line]) -> None:
    """Print medians over the turns, and the ratios of batching to its control within a turn: median (minimum-
    maximum).
    """
    head = ("clients", "arm", "turns", "requests/s", "p50 ms", "p95 ms", "p99 ms", "texts a batch")
    head = (*head, "requests/s of control", "p50 of control", "p99 of control")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    control = {(line["clients"], line["turn"]): line for line in lines if line["arm"] == "one by one"}
    for clients, arm in itertools.product(sorted({line["clients"] for line in lines}), ARMS):
        mine = [line for line in lines if (line["clients"], line["arm"]) == (clients, arm)]
        if not mine:
            continue
        cells = [str(clients), arm, str(len(mine)), f"{median(line['per_second'] for line in mine):.0f}"]
        cells += [f"{median(line[name] for line in mine):.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
        cells += [f"{mean(line['texts_a_batch'] for line in mine):.1f}"]
        for name in ("per_second", "p50_ms", "p99_ms"):
            pairs = [(line[name], control.get((clients, line["turn"]), {}).get(name)) for line in mine]
            cells += [spread([own / other for own, other in pairs if other])] if arm != "one by one" else [""]
        print(f"| {' | '.join(cells)} |")


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else ""


if __name__ == "__main__":
    main()
