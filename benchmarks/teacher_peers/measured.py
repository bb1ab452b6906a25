"""What every arm gets as input and has to report.

Standard library only: each arm runs in an environment of its own.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

LABELS = ("order_status", "return_refund")


@dataclass(frozen=True)
class Job:
    """All questions to the server at `url`, `at_once` at a time; files are written to `folder`."""

    url: str
    calls: int
    at_once: int
    items: int
    folder: Path

    def questions(self) -> list[list[str]]:
        """Return the texts of each call; the server identifies a call by the number in them."""
        return [[f"Where is my parcel number {n}?"] * self.items for n in range(self.calls)]


def report(package: str, arm: Callable[[Job], Sequence[str | None]]) -> None:
    """Run an arm and print its time, CPU and memory as one line of JSON.

    `arm` returns a label for each question in order, None where there is none. Imports belong before
    this call, so that they are not counted. Memory is the peak of the process or of its largest child.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--items", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    job = Job(**vars(parser.parse_args()))
    start, before = time.monotonic(), _cpu()
    labels = arm(job)
    seconds, cpu = time.monotonic() - start, _cpu() - before
    if len(labels) != job.calls:
        raise ValueError(f"{package}: {len(labels)} labels for {job.calls} questions")
    peak = max(resource.getrusage(who).ru_maxrss for who in _WHO) / 1024
    result = {
        "version": version(package),
        "seconds": round(seconds, 3),
        "cpu_ms_a_call": round(1000 * cpu / job.calls, 3),
        "peak_mb": round(peak),
        "right": sum(label == LABELS[n % 2] for n, label in enumerate(labels)),
    }
    print(f"\n{json.dumps(result)}", flush=True)
    os._exit(0)  # threads that some peers leave behind would keep the process alive


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _cpu() -> float:
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _WHO))
