"""Test the node that draws unlabelled texts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tutelage.graph.runs.run import run
from tutelage.graph.task.schema import Task
from tutelage.student.encoder import Encoder


@pytest.mark.parametrize("selection", ["uncertain_and_diverse", "margin", "typical"])
def test_a_run_goes_on_when_the_unlabelled_texts_run_out_within_a_round(
    selection: str, folded: Callable[..., Task], encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "samples": 120, "selection": selection}
    task = folded(strategy=strategy, budget={"rounds": 3})
    folder = run(task, tmp_path / "run", encoder=encoder)
    rounds = folder.read_rounds()
    assert rounds[1]["samples_kept"] == 120
    assert 0 < sum(line["samples_kept"] for line in rounds[2:]) <= 240
    assert folder.about()["stop"]
