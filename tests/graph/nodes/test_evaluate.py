"""A round is promoted or rolled back on rows that can measure it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tutelage
from tutelage.graph.planning.plan import plan
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder

SHOP = Path(tutelage.__file__).parent / "graph" / "sample"
UNSEEN = "damaged_faulty"
LABELS = ["order_status", "return_refund", UNSEEN]


@pytest.fixture(scope="module")
def task(folded: Callable[..., Task], tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The shop task with three labels, of which the user has labelled rows of two."""
    folder = tmp_path_factory.mktemp("sets")

    def part(name: str, source: str, labels: list[str]) -> str:
        rows = [json.loads(line) for line in (SHOP / f"{source}.jsonl").read_text("utf-8").splitlines()]
        lines = [json.dumps(row) + "\n" for row in rows if row["label"] in labels]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        return str(folder / f"{name}.jsonl")

    corpus, test = part("corpus", "teacher", LABELS), part("test", "test", LABELS)
    texts = [json.loads(line)["text"] for line in Path(corpus).read_text("utf-8").splitlines()]
    (folder / "pool.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return folded(
        labels={label: folded().labels[label] for label in LABELS},
        data={
            "labelled": part("labelled", "diagnose", LABELS[:2]),
            "unlabelled": str(folder / "pool.jsonl"),
            "test": test,
        },
        teacher={"corpus": corpus, "label_noise": 0.0, "force": True},
        strategy={
            "base": "random",
            "samples": 60,
            "pool_share": 1.0,
            "critic": "none",
            "self_training": "off",
        },
        budget={"rounds": 1},
    )


@pytest.fixture(scope="module")
def finished(task: Task, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(task, tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def test_a_round_that_teaches_a_label_without_a_labelled_row_is_not_rolled_back(finished: RunFolder) -> None:
    rounds = finished.read_rounds()
    assert rounds[1]["metric"] < rounds[0]["metric"] - 0.1, (
        "the labelled rows count every such answer as wrong"
    )
    assert [line["accepted"] for line in rounds] == [True, True]
    assert finished.about()["test"]["classes"][LABELS.index(UNSEEN)]["f1"] > 0.5


def test_a_label_without_a_labelled_row_is_noted_before_anything_is_spent(
    task: Task, finished: RunFolder
) -> None:
    [note] = [
        note for note in plan(task)["notes"] if note.startswith(f"labels without a labelled row: {UNSEEN}")
    ]
    assert "label a few texts of each" in note
    assert note in finished.about()["notes"]
    events = [json.loads(line) for line in finished.trace.read_text("utf-8").splitlines()]
    prepared = next(event for event in events if event["event"] == "leave" and event["node"] == "prepare")
    assert note in prepared["notes"]
