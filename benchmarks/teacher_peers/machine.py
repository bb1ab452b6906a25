"""The properties of the machine that affect the speed of the arms."""

import importlib.metadata
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

DEPENDENCIES = ("langchain-core", "langchain-openai", "openai", "aiohttp", "pydantic")


def machine() -> dict[str, object]:
    """Return the processor, the current load, the speed of the disk and the versions of this environment."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return {
        "cpu": names[0].split(": ")[1] if names else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "fsync_ms": round(fsync_ms(), 3),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in DEPENDENCIES},
    }


def fsync_ms(times: int = 50) -> float:
    """Return the median milliseconds of an fsync of one page on the disk with the temporary files.

    The journal waits this long for each commit.
    """
    times_ms = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            times_ms.append(1000 * (time.perf_counter() - start))
    return median(times_ms)
