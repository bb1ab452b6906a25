"""Run the cells that have no result yet in parallel processes, and store each result as it comes.

Scripts that use this module set OMP_NUM_THREADS=1 before they import torch: one process per core is faster
than two processes whose threads compete for the cores.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

Cell = dict[str, Any]
Work = Callable[[Cell, Path], Cell]  # takes a cell and the cache folder, returns what was measured
_FRESH = 80  # cells until new processes are started: Chroma leaks about 25 MB per cell
KEYS = ("task", "arm", "setting", "seed", "student")


def run_cells(cells: Sequence[Cell], work: Work, results: Path, *, jobs: int, cache: Path) -> list[Cell]:
    """Run the cells without a result, in the given order. Return the cells that failed; the next call runs
    them again.
    """
    done = {key(found) for found in read(results) if "error" not in found}
    left = [cell for cell in cells if key(cell) not in done]
    failed = []
    for start in range(0, len(left), _FRESH):
        for number, found in enumerate(_side_by_side(left[start : start + _FRESH], work, jobs, cache), 1):
            write(results, found)
            print(f"{start + number} of {len(left)}: {json.dumps(found)}", flush=True)
            if "error" in found:
                failed.append(found)
    return failed


def _side_by_side(cells: Sequence[Cell], work: Work, jobs: int, cache: Path) -> Iterator[Cell]:
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
    ) as pool:
        running = [pool.submit(_tried, work, cell, cache) for cell in cells]
        try:
            yield from (future.result() for future in as_completed(running))
        except BaseException:  # Ctrl-C, or a killed process: finished results are on disk
            pool.shutdown(cancel_futures=True)
            raise


def _end_with(parent: int) -> None:
    """End this process when its parent was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of scripts that run cells: processes, cache, tables only."""
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--table", action="store_true", help="print the tables and run nothing")


def print_failures(failed: Sequence[Cell]) -> None:
    if failed:
        print(f"\n{len(failed)} cells failed. Run the script again to retry them:")
        for found in failed:
            print(f"  {' · '.join(map(str, key(found)))}: {found['error']}")


def key(found: Cell) -> tuple[Any, ...]:
    return tuple(found[name] for name in KEYS)


def read(results: Path) -> list[Cell]:
    """Return the stored results. An incomplete last line is deleted from the file."""
    if not results.exists():
        return []
    whole, _, torn = results.read_text().rpartition("\n")
    if torn:
        results.write_text(f"{whole}\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def write(results: Path, found: Cell) -> None:
    """Append a result to the file."""
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(found) + "\n")


@lru_cache
def encoder(cache: Path) -> Any:
    """Return the encoder of this process. Processes share its cache file, so each text is embedded once."""
    from tutelage.student.encoder import Encoder

    cache.mkdir(parents=True, exist_ok=True)
    return Encoder(cache=cache / "minilm.sqlite")


def _tried(work: Work, cell: Cell, cache: Path) -> Cell:
    import torch

    torch.set_num_threads(1)
    try:
        return {**cell, **work(cell, cache)}
    except Exception as error:  # recorded and reported at the end, so that the other cells run
        return {**cell, "error": f"{type(error).__name__}: {error}"[:500]}
