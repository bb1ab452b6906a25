"""Cells: those that are not there yet are run in processes side by side, each result written as it comes.

Scripts that use it set OMP_NUM_THREADS=1 before torch is imported: a process a core is faster than two
processes whose threads fight for the cores.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Cell = dict[str, Any]
Work = Callable[[Cell, Path], Cell]  # a cell and the cache folder in, what was measured out
_FRESH = 80  # cells until the processes are made anew: each leaves some 25 MB of Chroma behind
KEYS = ("task", "arm", "setting", "seed", "student")


def run_cells(cells: Sequence[Cell], work: Work, results: Path, *, jobs: int, cache: Path) -> list[Cell]:
    """Run what has no result yet, in the given order; returns the cells that failed, which are tried again
    next time.
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
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_tried, work, cell, cache) for cell in cells]
        try:
            yield from (future.result() for future in as_completed(running))
        except BaseException:  # Ctrl-C, or a process that was killed: what is done is on disk
            pool.shutdown(cancel_futures=True)
            raise


def tell_failures(failed: Sequence[Cell]) -> None:
    if failed:
        print(f"\n{len(failed)} cells failed, and are tried again next time:")
        for found in failed:
            print(f"  {' · '.join(map(str, key(found)))}: {found['error']}")


def key(found: Cell) -> tuple[Any, ...]:
    return tuple(found[name] for name in KEYS)


def read(results: Path) -> list[Cell]:
    """The results there are; a last line that was cut off is cut off whole."""
    if not results.exists():
        return []
    whole, _, torn = results.read_text().rpartition("\n")
    if torn:
        results.write_text(f"{whole}\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def write(results: Path, found: Cell) -> None:
    """Add a result."""
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(found) + "\n")


@lru_cache
def encoder(cache: Path) -> Any:
    """The process's encoder; its file is shared by all of them, so that a text is read once for all cells."""
    from tutelage.student.encoder import Encoder

    cache.mkdir(parents=True, exist_ok=True)
    return Encoder(cache=cache / "minilm.sqlite")


def _tried(work: Work, cell: Cell, cache: Path) -> Cell:
    import torch

    torch.set_num_threads(1)
    try:
        return {**cell, **work(cell, cache)}
    except Exception as error:  # written down and told at the end: the others go on
        return {**cell, "error": f"{type(error).__name__}: {error}"[:500]}
