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
OUT, WORDS = "arm.out", "arm.err"
Line = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What every arm is given: calls, how many at once, texts a call; `peers` holds the environments."""

    calls: int
    at_once: int
    items: int
    peers: Path | None = None


def install(folder: Path) -> None:
    """A virtual environment for each peer."""
    for name, packages in PEERS.items():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        pip = [folder / name / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True)


def start(arm: str, url: str, sizes: Sizes, folder: Path) -> subprocess.Popen[bytes]:
    """Begin an arm in a process group of its own; it keeps its files in `folder`, its words too."""
    home = (sizes.peers or Path()).absolute() / arm
    python = sys.executable if arm in OWN else home / "bin" / "python"
    given = ["--calls", str(sizes.calls), "--at-once", str(sizes.at_once), "--items", str(sizes.items)]
    with (folder / OUT).open("w") as out, (folder / WORDS).open("w") as words:  # a full pipe would stop it
        return subprocess.Popen(
            [python, HERE / f"arm_{arm}.py", url, *given, "--folder", folder],
            stdout=out,
            stderr=words,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )


def result(process: subprocess.Popen[bytes], folder: Path, seconds: float) -> Line:
    """What an arm reports of itself at its end, or how it failed."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"no end within {seconds:g} s"}
    finally:
        kill(process)
    lines = [line for line in (folder / OUT).read_text().splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"failed": (folder / WORDS).read_text().strip()[-300:]}


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9, of all children too."""
    with suppress(ProcessLookupError):  # none is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def served(items: int) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    whole = [sys.executable, str(HERE / "server.py"), "--items", str(items)]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def log(url: str) -> list[list[float]]:
    """[number of the question, when it came, when it was answered or infinity] of each request."""
    with urlopen(url.replace("/v1", "/log")) as answer:
        return [[number, came, answered or float("inf")] for number, came, answered in json.load(answer)]


def received(url: str) -> int:
    """How many requests came so far."""
    with urlopen(url.replace("/v1", "/count")) as answer:
        return int(json.load(answer))


def forget(url: str) -> None:
    """Let the server's log begin anew."""
    urlopen(Request(url.replace("/v1", "/log"), method="DELETE")).close()
