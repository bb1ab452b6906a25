"""LangGraph's server runs the graph, is killed, and goes on with the run when it is started again.

It needs `langgraph`, the command of `langgraph-cli[inmem]`, on the path, from an environment of its own that
also has tutelage.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from tutelage.graph.task.load import Task

ROOT = Path(__file__).parents[2]
COMMAND = shutil.which("langgraph")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMMAND, reason="needs the command `langgraph` of langgraph-cli[inmem]"),
]


@contextmanager
def server(folder: Path, port: int) -> Iterator[Any]:
    """Serve the graph as langgraph.json says, and yield a client; kill the server at the end."""
    config = json.loads((ROOT / "langgraph.json").read_text())
    config["graphs"] = {name: str(ROOT / place) for name, place in config["graphs"].items()}
    (folder / "langgraph.json").write_text(json.dumps({**config, "dependencies": [str(ROOT)]}))
    # Its check for blocking calls also takes in the event loop in which tutelage sends its own calls.
    options = ["--no-browser", "--no-reload", "--allow-blocking", "--port", str(port)]
    log = (folder / "server.log").open("a")
    assert COMMAND
    process = subprocess.Popen(
        [COMMAND, "dev", *options], cwd=folder, stdout=log, stderr=log, start_new_session=True
    )
    try:
        client = get_sync_client(url=f"http://127.0.0.1:{port}")
        wait(lambda: listening(port), process)
        yield client
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes] | None" = None) -> None:
    end = time.monotonic() + 300
    while not ready():
        assert process is None or process.poll() is None, "the server ended"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)


def test_a_killed_server_goes_on_with_its_run(folded: Callable[..., Task], tmp_path: Path) -> None:
    task = folded(strategy={"base": "auto", "samples": 12, "control": False}, budget={"rounds": 1})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run, given = tmp_path / "run", json.loads(task.model_dump_json(exclude_none=True))

    def events() -> list[dict[str, Any]]:
        lines = (run / "trace.jsonl").read_text().splitlines() if (run / "trace.jsonl").exists() else []
        return [json.loads(line) for line in lines]

    def entered() -> list[str]:
        return [event["node"] for event in events() if event["event"] == "enter"]

    with server(tmp_path, port) as client:
        thread = client.threads.create()["thread_id"]
        client.runs.create(thread, "tutelage", input={"task": given, "folder": str(run)}, durability="sync")
        wait(lambda: "analyst" in entered())
    paid = {event["call"] for event in events() if event["event"] == "call"}
    assert paid
    with server(tmp_path, port) as client:
        wait(lambda: client.threads.get(thread)["status"] in ("idle", "error"))
        state = client.threads.get_state(thread)
    assert not state["next"], state
    assert state["values"]["stop"] == "1 round is done"
    assert Path(state["values"]["student"]) == run / "student"
    again = [event["call"] for event in events() if event["event"] == "call" and not event["replayed"]]
    assert len(again) == len(set(again)), "no call is paid for twice"
