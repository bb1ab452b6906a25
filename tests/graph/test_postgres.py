"""Checkpoints in Postgres: a run stops in one process's graph and goes on in another's.

It is skipped where Postgres or its Python driver is not installed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.build import build_graph
from tutelage.graph.open_runs import GraphContext
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder


@pytest.mark.slow
def test_a_run_stops_in_one_graph_and_goes_on_in_another(
    postgres: str, folded: Callable[..., Task], encoder: Encoder, tmp_path: Path
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
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
        with pytest.raises(RuntimeError, match="stopped"):
            build_graph(checkpointer=saver).invoke(given, config, context=context, durability="sync")
    stopped = len(entered)
    with PostgresSaver.from_conn_string(postgres) as saver:
        result = build_graph(checkpointer=saver).invoke(None, config, context=context, durability="sync")
    assert entered[stopped] == "critic"
    assert result["stop"] == "1 round is done"
