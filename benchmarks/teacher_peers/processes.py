"""The processes of the benchmark: the server, and each arm in an environment of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
OWN = ("raw", "tutelage")  # run in this environment
PEERS = {
    "curator": ["bespokelabs-curator==0.1.31"],
    "dspy": ["dspy==3.4.1"],
    "data_designer": ["data-designer==0.9.7"],
    "distilabel": ["distilabel[openai]==1.5.3", "requests"],
}
OUT, ERR = "arm.out", "arm.err"
Line = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """The input of every arm: calls, calls at once, texts per call; `peers` holds the environments."""

    calls: int
    at_once: int
    items: int
    peers: Path | None = None


def install(folder: Path) -> None:
    """Make a virtual environment for each peer."""
    for name, packages in PEERS.items():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        pip = [folder / name / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True)


def start(arm: str, url: str, sizes: Sizes, folder: Path) -> subprocess.Popen[bytes]:
    """Start an arm in a process group of its own; its files and output are written to `folder`."""
    home = (sizes.peers or Path()).absolute() / arm
    python = sys.executable if arm in OWN else home / "bin" / "python"
    arguments = ["--calls", str(sizes.calls), "--at-once", str(sizes.at_once), "--items", str(sizes.items)]
    with (folder / OUT).open("w") as out, (folder / ERR).open("w") as err:  # a full pipe would block it
        return subprocess.Popen(
            [python, HERE / f"arm_{arm}.py", url, *arguments, "--folder", folder],
            stdout=out,
            stderr=err,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )


def result(process: subprocess.Popen[bytes], folder: Path, seconds: float) -> Line:
    """Return what an arm reported at its end, or how it failed."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"did not end within {seconds:g} s"}
    finally:
        kill(process)
    lines = [line for line in (folder / OUT).read_text().splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"failed": (folder / ERR).read_text().strip()[-300:]}


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all its children with SIGKILL."""
    with suppress(ProcessLookupError):  # the process has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def served(items: int) -> Iterator[str]:
    """Run the server in a process of its own; yield its base URL."""
    command = [sys.executable, str(HERE / "server.py"), "--items", str(items)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def log(url: str) -> list[list[float]]:
    """Return [question number, arrival time, reply time or infinity] for each request."""
    with urlopen(url.replace("/v1", "/log")) as answer:
        return [[number, arrival, reply or float("inf")] for number, arrival, reply in json.load(answer)]


def received(url: str) -> int:
    """Return the number of requests so far."""
    with urlopen(url.replace("/v1", "/count")) as answer:
        return int(json.load(answer))


def forget(url: str) -> None:
    """Delete the log of the server."""
    urlopen(Request(url.replace("/v1", "/log"), method="DELETE")).close()
