"""The device that models run on, and its precision."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tutelage.student.errors import InputError


def device(wanted: str = "auto") -> str:
    """Return `wanted`, or for `auto` the first available of cuda, mps and cpu.

    Raises:
        InputError: torch does not have this device on this machine.
    """
    import torch

    if wanted != "auto":
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not available.get(wanted.split(":")[0], False):
            names = ", ".join(name for name, present in available.items() if present)
            raise InputError(f"device {wanted!r} is not available; this machine has: {names}")
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def half_on_cuda(device: Any) -> Any:
    """Return bf16 autocast on CUDA, else a null context: bf16 is slower than fp32 on a CPU without AMX."""
    import torch

    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def leave_a_core() -> None:
    """Let torch use all cores of this process but one, so that other threads stay responsive while it
    computes; OMP_NUM_THREADS takes precedence.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, min(torch.get_num_threads(), allowed - 1)))


@contextmanager
def reused_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next step in this block, and return it at the end. It does
    so only on Linux with glibc, where returning and clearing pages took 2 to 4 % of a training (ours).
    """
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if library is None:
        yield
        return
    for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28)):
        library.mallopt(name, value)
    try:
        yield
    finally:  # with the thresholds that glibc itself reaches after large blocks were freed
        for name, value in _AFTERWARDS.items():
            library.mallopt(name, value)
        library.malloc_trim(0)


# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_AFTERWARDS = {_TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17, _MMAP_THRESHOLD: 2**25, _MMAP_MAX: 2**16}
