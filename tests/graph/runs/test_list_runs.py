"""The list of runs."""

import json
import os
from pathlib import Path

from tutelage.graph.run_folder.folder import FORMAT, RunFolder
from tutelage.graph.runs.run import list_runs


def test_runs_are_listed_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    for name, begun, changed in (
        ("resumed", 100.0, 900.0),
        ("second", 200.0, 300.0),
        ("unbegun", None, 150.0),
    ):
        folder = RunFolder(tmp_path / name)
        task = {"name": name, "kind": "ner", "metric": "span_f1", "instruction": "", "labels": {}}
        about = {"format": FORMAT, "task": task, "data": {"digest": "d"}, "strategy": {"name": "auto"}}
        folder.create(about)
        if begun:
            folder.trace.write_text(json.dumps({"event": "enter", "at": begun}) + "\n")
        os.utime(folder.run_json, (changed, changed))
    assert [entry["task"] for entry in list_runs(tmp_path)] == ["resumed", "unbegun", "second"]
    assert not (tmp_path / "unbegun" / "trace.jsonl").exists(), "listing writes nothing"
