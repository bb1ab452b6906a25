"""The teacher's door against a bare aiohttp loop and its peers: 1,000 calls of 100 ms, 64 at once.

    python benchmarks/teacher.py --install peers        # a virtual environment for each peer, once
    python benchmarks/teacher.py --peers peers          # all arms in turn, three times: some minutes
    python benchmarks/teacher.py --kill                 # ten deaths of a run of 1,500 calls
    python benchmarks/teacher.py --table                # print what is there

Everything runs on loopback against one server process. Timed is questions in, labels out, in a process of
each arm's own; its imports are not. Our door has everything on: journal on disk, validation, budget,
limits, log-probabilities asked for. What the peers need to run at all stands in their files.
"""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
ARMS = HERE / "teacher_peers"
RESULTS = HERE / "results" / "teacher.jsonl"
OWN = ("raw", "tutelage")  # run in this environment
PEERS = {
    "curator": ["bespokelabs-curator==0.1.31"],
    "dspy": ["dspy==3.4.1"],
    "data_designer": ["data-designer==0.9.7"],
    "distilabel": ["distilabel[openai]==1.5.3", "requests"],
}
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make the peers' environments there")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="where they are")
    parser.add_argument("--arms", nargs="+", choices=[*OWN, *PEERS])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kill", action="store_true", help="count the calls that deaths repeat")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if wanted.install:
        install(wanted.install)
    elif wanted.kill:
        kill(wanted.at_once)
    elif not wanted.table:
        arms = wanted.arms or [*OWN, *(PEERS if wanted.peers else ())]
        compare(arms, wanted.peers, wanted.calls, wanted.at_once, wanted.repeat)
    print_table()


def install(folder: Path) -> None:
    for name, packages in PEERS.items():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        pip = [folder / name / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True)


def compare(arms: Sequence[str], peers: Path | None, calls: int, at_once: int, repeat: int) -> None:
    """All arms in turn, so that what else the machine does falls on all."""
    with served() as url:
        for turn in range(repeat):
            for arm in arms:
                forget(url)
                told = run_arm(arm, peers, url, calls, at_once)
                note({"kind": "speed", "turn": turn, "arm": arm, "calls": calls, "at_once": at_once, **told})


def run_arm(arm: str, peers: Path | None, url: str, calls: int, at_once: int) -> Line:
    """What an arm reports of itself, or how it failed."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command(arm, peers, url, calls, at_once, Path(folder)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "HOME": folder},
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"failed": done.stderr.strip()[-300:]}


def command(
    arm: str, peers: Path | None, url: str, calls: int, at_once: int, folder: Path
) -> list[str | Path]:
    python = sys.executable if arm in OWN else (peers or Path()).absolute() / arm / "bin" / "python"
    sizes = ["--calls", str(calls), "--at-once", str(at_once), "--folder", folder]
    return [python, ARMS / f"arm_{arm}.py", url, *sizes]


def kill(at_once: int, calls: int = 1500, deaths: int = 10) -> None:
    """Kill a run when a random number of its calls has come in, run it again, and count repeats."""
    chance = random.Random(0)
    with served() as url:
        for death in range(deaths):
            forget(url)
            with tempfile.TemporaryDirectory() as folder:
                whole = command("tutelage", None, url, calls, at_once, Path(folder))
                at = chance.randrange(1, calls)
                with subprocess.Popen(whole, stdout=subprocess.DEVNULL) as process:
                    while len(log(url)) < at:
                        time.sleep(0.002)
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.2)  # the server answers what was in flight
                unread = sum(answered is None for _, _, answered in log(url))
                done = subprocess.run(whole, capture_output=True, text=True, check=True)
            seen = Counter(number for number, _, _ in log(url))
            repeated = sum(count - 1 for count in seen.values())
            right = json.loads(done.stdout.splitlines()[-1])["right"]
            told = {"killed_after": at, "in_flight": unread, "repeated": repeated, "right": right}
            note({"kind": "kill", "death": death, "calls": calls, "at_once": at_once, **told})


@contextmanager
def served() -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    with subprocess.Popen([sys.executable, ARMS / "server.py"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def log(url: str) -> list[list[float | None]]:
    with urlopen(url.replace("/v1", "/log")) as answer:
        return json.load(answer)


def forget(url: str) -> None:
    urlopen(Request(url.replace("/v1", "/log"), method="DELETE")).close()


def note(result: Line) -> None:
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**result, **machine}) + "\n")
    print(json.dumps(result), flush=True)


def print_table() -> None:
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    speed = [line for line in found if line["kind"] == "speed"]
    rows = [line for line in speed if "seconds" in line]
    print("\n| arm | calls a second | of the raw loop | CPU ms a call | peak MB | right |")
    print("|---|---|---|---|---|---|")
    for arm in [*OWN, *PEERS]:
        mine = [line for line in rows if line["arm"] == arm]
        if not mine:
            continue
        raw = {line["turn"]: line["seconds"] for line in rows if line["arm"] == "raw"}
        ratios = sorted(raw[line["turn"]] / line["seconds"] for line in mine if line["turn"] in raw)
        rate = median(line["calls"] / line["seconds"] for line in mine)
        span = f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        cpu = median(line["cpu_ms_a_call"] for line in mine)
        peak, right = max(line["peak_mb"] for line in mine), min(line["right"] for line in mine)
        name = f"{'aiohttp alone' if arm == 'raw' else arm} {mine[-1]['version']}"
        print(f"| {name} | {rate:.0f} | {span} | {cpu:.2f} | {peak} | {right} of {mine[0]['calls']} |")
    for line in speed:
        if "failed" in line:
            print(f"{line['arm']} failed: {line['failed']}")
    deaths = [line for line in found if line["kind"] == "kill"]
    if deaths:
        told = ", ".join(f"{d['repeated']}/{d['in_flight']}" for d in deaths)
        print(f"\nkill -9, calls repeated / in flight at death ({deaths[0]['at_once']} at once): {told}")


if __name__ == "__main__":
    main()
