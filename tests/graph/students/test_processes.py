"""Students that are trained in other processes are those that the process of the run trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder


@pytest.mark.slow
def test_a_run_with_child_processes_has_the_scores_and_events_of_one_without(
    folded: Callable[..., Task], encoder: Encoder, tiny_bert: Callable[..., str], tmp_path: Path
) -> None:
    base = tiny_bert(tmp_path / "tiny", pooling="mean_tokens")
    student = {"mode": "full", "base": base, "training": "weighted", "epochs": 1, "min_steps": 20}
    steps: dict[int, list[dict[str, Any]]] = {0: [], 2: []}

    def trained(processes: int) -> RunFolder:
        task = folded(student={**student, "processes": processes}, budget={"rounds": 1})

        def listener(event: dict[str, Any]) -> None:
            if event["event"] == "step" and event["node"] == "train":
                steps[processes].append(event)

        return run(task, tmp_path / f"run-{processes}", encoder=encoder, listener=listener)

    here, there = trained(0), trained(2)
    scores = [
        [{name: value for name, value in line.items() if name != "seconds"} for line in folder.read_rounds()]
        for folder in (here, there)
    ]
    assert scores[0] == scores[1]
    for name in ("round-00", "round-01"):
        assert np.array_equal(there.load_array(name, "probabilities"), here.load_array(name, "probabilities"))
    assert {event["of"] for event in steps[2]} == {event["of"] for event in steps[0]}
    assert {event["fold"] for event in steps[2]} <= {event["fold"] for event in steps[0]}
    assert not list(there.path.rglob("*.jobs"))


@pytest.mark.slow
def test_a_run_whose_students_two_processes_train_has_the_predictions_of_one_without(
    folded: Callable[..., Task], encoder: Encoder, tiny_bert: Callable[..., str], tmp_path: Path
) -> None:
    """Without dropout they are equal up to rounding (tests/student/training/processes/test_launched.py)."""
    base = Path(tiny_bert(tmp_path / "tiny", pooling="mean_tokens"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 0.0}))
    student = {"mode": "full", "base": str(base), "training": "weighted", "epochs": 1, "min_steps": 20}

    data = json.loads(folded().model_dump_json(exclude_none=True))["data"]
    data.pop("unlabelled")

    def trained(name: str, **how: Any) -> RunFolder:
        task = folded(student={**student, **how}, budget={"rounds": 0}, data=data)
        return run(task, tmp_path / name, encoder=encoder)

    here = trained("one", processes=0)
    there = trained("two", launcher="torchrun --standalone --nproc-per-node 2")
    for name, array in (("round-00", "probabilities"), ("arm-labels_alone", "test")):
        one, other = (folder.load_array(name, array) for folder in (here, there))
        assert np.allclose(one, other, atol=1e-5) if array == "probabilities" else np.array_equal(one, other)
    ranks = [event["ranks"] for event in there.read_lines(there.trace) if "ranks" in event]
    assert ranks == [2, 2], "the students of the folds, and the delivered one"
    assert there.launcher_log.exists()
    assert not list(there.path.rglob("*.jobs"))
