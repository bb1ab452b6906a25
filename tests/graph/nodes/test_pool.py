"""Test the node that draws unlabelled texts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tutelage.graph.runs.run import run
from tutelage.graph.task.schema import Task
from tutelage.student.encoder import Encoder


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["uncertain_and_diverse", "typical"])
def test_a_run_goes_on_when_the_unlabelled_texts_run_out_within_a_round(
    selection: str, folded: Callable[..., Task], encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "auto", "samples": 150, "selection": selection}
    task = folded(strategy=strategy, budget={"rounds": 2})
    folder = run(task, tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == "2 rounds are done"
    lines = folder.samples.read_text(encoding="utf-8").splitlines()
    drawn = {json.loads(line)["text"] for line in lines}
    pool = {json.loads(line)["text"] for line in Path(str(task.data.unlabelled)).read_text().splitlines()}
    assert pool <= drawn, "all unlabelled texts are used"
