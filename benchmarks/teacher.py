"""Compare tutelage's teacher calls with a bare aiohttp loop and peers: 1,000 calls of 100 ms, 64 at once.

    python benchmarks/teacher.py --install peers        # makes a virtual environment for each peer
    python benchmarks/teacher.py --peers peers          # all arms in turn, five times: 3 minutes
    python benchmarks/teacher.py --peers peers --kill   # kills runs of 1,500 calls: 6 minutes
    python benchmarks/teacher.py --table                # print the stored results

Everything runs on loopback against one server process. Each arm is a separate process, whose imports are not
timed. `seconds` is the time from the questions to the labels; `wire_seconds` is what the server saw, from the
first request to the last reply. tutelage runs with everything on: journal on disk, validation, budget,
limits, and a request for log-probabilities. The files of the peers say what they need in order to run. Runs
with a result in results/teacher.jsonl are not run again.
"""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from statistics import median

from teacher_peers.machine import machine
from teacher_peers.processes import (
    OWN,
    PEERS,
    Line,
    Sizes,
    forget,
    install,
    kill,
    log,
    received,
    result,
    served,
    start,
)

RESULTS = Path(__file__).parent / "results" / "teacher.jsonl"
LONGEST = 60  # maximum seconds of a run
KEYS = ("kind", "arm", "turn", "calls", "at_once", "items")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make the peers' environments in it")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="the folder of the peers' environments")
    parser.add_argument("--arms", nargs="+", choices=[*OWN, *PEERS])
    parser.add_argument("--calls", type=int, help="number of calls; by default 1,000, or 1,500 with --kill")
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--items", type=int, default=1, help="texts per call")
    parser.add_argument(
        "--repeat", type=int, help="by default 5; with --kill 10 for tutelage and 3 for a peer"
    )
    parser.add_argument("--kill", action="store_true", help="count the calls that are repeated after a kill")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if wanted.install:
        install(wanted.install)
    elif not wanted.table:
        arms = wanted.arms or [*OWN, *(PEERS if wanted.peers else ())]
        calls = wanted.calls or (1500 if wanted.kill else 1000)
        sizes = Sizes(calls, wanted.at_once, wanted.items, wanted.peers)
        repeats = {arm: wanted.repeat or (5 if not wanted.kill else 10 if arm in OWN else 3) for arm in arms}
        if wanted.kill:
            repeats.pop("raw", None)  # it stores nothing, so it cannot resume
        measure("kill" if wanted.kill else "speed", repeats, sizes)
    print_speed()
    print_kills()


def measure(kind: str, repeats: dict[str, int], sizes: Sizes) -> None:
    """Measure all arms in turn, so that other load on the machine affects all of them."""
    run: Callable[[str, int, str, Sizes], Line] = kill_once if kind == "kill" else speed
    shape = {"calls": sizes.calls, "at_once": sizes.at_once, "items": sizes.items}
    done = {key(line) for line in results(kind) if "failed" not in line}
    with served(sizes.items) as url:
        for turn in range(max(repeats.values(), default=0)):
            for arm in (arm for arm, count in repeats.items() if turn < count):
                about = {"kind": kind, "arm": arm, "turn": turn, **shape}
                if key(about) not in done:
                    forget(url)
                    store({**about, **run(arm, turn, url, sizes), **machine()})


def speed(arm: str, turn: int, url: str, sizes: Sizes) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        measured = result(start(arm, url, sizes, Path(folder)), Path(folder), LONGEST)
    lines = log(url)
    times = [seconds for _, *both in lines for seconds in both if seconds < inf]
    wire = round(max(times) - min(times), 3) if times else None
    return {**measured, "wire_seconds": wire, "requests": len(lines)}


def kill_once(arm: str, turn: int, url: str, sizes: Sizes) -> Line:
    """Kill a run at a random moment, run it again on the same files, and count the repeated calls."""
    rng = random.Random(turn)
    at, later = rng.randrange(1, sizes.calls), rng.uniform(0, 0.1)
    with tempfile.TemporaryDirectory() as folder:
        process = start(arm, url, sizes, Path(folder))
        while received(url) < at and process.poll() is None:
            time.sleep(0.005)
        time.sleep(later)
        moment = time.monotonic()  # the same system clock as in the server's log
        kill(process)
        measured = result(start(arm, url, sizes, Path(folder)), Path(folder), LONGEST)
    lines = log(url)
    seen = Counter(number for number, _, _ in lines)
    answered = {number for number, _, answered in lines if answered <= moment}
    return {
        "received": sum(came <= moment for _, came, _ in lines),
        "repeated": sum(count - 1 for count in seen.values()),
        "repeated_though_answered": sum(seen[number] > 1 for number in answered),
        "right": measured.get("right", 0),
        **{key: measured[key] for key in ("version", "failed") if key in measured},
    }


def store(line: Line) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def results(kind: str) -> list[Line]:
    """Return the last stored result of each run."""
    lines = map(json.loads, RESULTS.read_text().splitlines() if RESULTS.exists() else ())
    return list({key(line): line for line in lines if line["kind"] == kind}.values())


def key(line: Line) -> tuple[object, ...]:
    return tuple(line[name] for name in KEYS)


def print_speed() -> None:
    """Print medians, and the share of the raw loop within the same turn: median (minimum-maximum)."""
    ended = [line for line in results("speed") if "seconds" in line]
    raw = {_turn(line): line for line in ended if line["arm"] == "raw"}
    for shape in sorted({_turn(line)[1:] for line in ended}):
        print("\n{:,} calls, {} at once, {} text(s) each:\n".format(*shape))
        print("| arm | runs | calls/s | of raw | on the wire | of raw | CPU ms per call | peak MB | right |")
        print("|---" * 9 + "|")
        for arm in [*OWN, *PEERS]:
            mine = [line for line in ended if line["arm"] == arm and _turn(line)[1:] == shape]
            if mine:
                cells = [f"{arm} {mine[-1]['version']}", str(len(mine))]
                for clock in ("seconds", "wire_seconds"):
                    shares = [raw[_turn(line)][clock] / line[clock] for line in mine if _turn(line) in raw]
                    cells += [f"{median(shape[0] / line[clock] for line in mine):.0f}", spread(shares, ".2f")]
                cells += [f"{median(line['cpu_ms_a_call'] for line in mine):.2f}"]
                cells += [str(max(line["peak_mb"] for line in mine))]
                cells += [f"{min(line['right'] for line in mine)} of {shape[0]}"]
                print(f"| {' | '.join(cells)} |")
    for line in results("speed"):
        if "failed" in line:
            print(f"{line['arm']} failed: {line['failed']}")


def print_kills() -> None:
    print("\n| arm | kills | calls made again | of these answered at the kill | right after |")
    print("|---" * 5 + "|")
    kills = results("kill")
    for arm in [*OWN, *PEERS]:
        if mine := [line for line in kills if line["arm"] == arm and "failed" not in line]:
            made = (
                spread([line[key] for line in mine], ".0f")
                for key in ("repeated", "repeated_though_answered")
            )
            right = f"{min(line['right'] for line in mine)} of {mine[0]['calls']}"
            print(f"| {arm} | {len(mine)} | {' | '.join(made)} | {right} |")
    for line in kills:
        if "failed" in line:
            print(f"{line['arm']} failed after kill {line['turn']}: {line['failed']}")


def _turn(line: Line) -> tuple[int, ...]:
    return line["turn"], line["calls"], line["at_once"], line["items"]


def spread(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


if __name__ == "__main__":
    main()
