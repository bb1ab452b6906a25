"""Checkpoints in Postgres: a run stops in one process's graph and goes on in another's.

It starts a server of its own, and is skipped where Postgres or its Python driver is not installed.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.build import build_graph
from tutelage.graph.open_runs import GraphContext
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
INITDB = shutil.which("initdb") or (BIN and str(BIN / "initdb"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (INITDB and find_spec("psycopg") and find_spec("langgraph.checkpoint.postgres")),
        reason="needs Postgres and langgraph-checkpoint-postgres",
    ),
]


@pytest.fixture
def address() -> Iterator[str]:
    """Start a Postgres server and return its address."""
    with tempfile.TemporaryDirectory() as folder:  # not in pytest's folder, which only its owner can enter
        yield from _served(Path(folder))


def _served(folder: Path) -> Iterator[str]:
    assert INITDB
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # Postgres does not run as root
        user = {"user": "postgres", "group": "postgres"}
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    subprocess.run(
        [INITDB, "-D", data, "-U", "tester", "-A", "trust"], check=True, capture_output=True, **user
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    control = [str(Path(INITDB).with_name("pg_ctl")), "-D", data, "-w"]
    start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, **user)


def test_a_run_stops_in_one_graph_and_goes_on_in_another(
    address: str, folded: Callable[..., Task], encoder: Encoder, tmp_path: Path
) -> None:
    from langgraph.checkpoint.postgres import PostgresSaver

    task = folded(strategy={"base": "auto", "samples": 12, "control": False}, budget={"rounds": 1})
    given: Any = {
        "task": json.loads(task.model_dump_json(exclude_none=True)),
        "folder": str(tmp_path / "run"),
    }
    config: Any = {"configurable": {"thread_id": "one"}}
    entered: list[str] = []

    def listener(event: Any) -> None:
        if event["event"] == "enter":
            entered.append(event["node"])
            if entered.count("critic") == 1 and event["node"] == "critic":
                raise RuntimeError("stopped")

    context = GraphContext(encoder=encoder, listener=listener)
    with PostgresSaver.from_conn_string(address) as saver:
        saver.setup()
        with pytest.raises(RuntimeError, match="stopped"):
            build_graph(checkpointer=saver).invoke(given, config, context=context, durability="sync")
    stopped = len(entered)
    with PostgresSaver.from_conn_string(address) as saver:
        result = build_graph(checkpointer=saver).invoke(None, config, context=context, durability="sync")
    assert entered[stopped] == "critic"
    assert result["stop"] == "1 round is done"
