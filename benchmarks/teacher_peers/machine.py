"""The machine on which the arms run, as far as it bears on their speed."""

import importlib.metadata
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

BENEATH = ("langchain-core", "langchain-openai", "openai", "aiohttp", "pydantic")


def machine() -> dict[str, object]:
    """Processor, load, disk and versions of this environment, as of now."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return {
        "cpu": names[0].split(": ")[1] if names else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "fsync_ms": round(fsync_ms(), 3),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in BENEATH},
    }


def fsync_ms(times: int = 50) -> float:
    """Milliseconds in which the disk of the temporary files takes a page; a journal waits for it."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    return median(took)
