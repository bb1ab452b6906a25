"""Test the node that tests the teacher on the user's own labels."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.graph.context import RunContext, open_context
from tutelage.graph.nodes.calibrate import calibrate as node
from tutelage.graph.opening import describe
from tutelage.graph.routes import after_evaluate
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.progress import Progress
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.student.data.folds import stratified_sample
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.tasks.classification import CLASSIFICATION


def test_calibration_rows_are_balanced_over_labels() -> None:
    rows = [Row(id=str(i), text=str(i), label="rare" if i < 3 else f"l{i % 2}") for i in range(60)]
    drawn = stratified_sample(rows, CLASSIFICATION, 21, 0)
    assert Counter(row["label"] for row in drawn) == {"rare": 3, "l0": 9, "l1": 9}
    assert drawn == stratified_sample(rows, CLASSIFICATION, 21, 0)
    assert drawn != stratified_sample(rows, CLASSIFICATION, 21, 1)
    assert len(stratified_sample(rows, CLASSIFICATION, 100, 0)) == 60
    assert stratified_sample(rows, CLASSIFICATION, 0, 0) == []


Open = Callable[..., "Any"]


@pytest.fixture
def open_run(encoder: Encoder, shop: Callable[[str], list[Row]], tmp_path: Path) -> Open:
    """Return a function that opens a run whose teacher, over HTTP, knows the labels of `diagnose`, and whose
    student is right on the share `right` of these texts. It yields the run's context and the requests.
    """

    @contextmanager
    def open_(
        noise: float = 0.0, listener: Any = None, server: Any = None, right: float = 0.0, **parts: Any
    ) -> Iterator[tuple[RunContext, list[Any]]]:
        log: list[dict[str, Any]] = []
        model = RehearsalModel(
            rehearsal=Rehearsal(shop("diagnose"), encoder.encode, behaviour=Behaviour(label_noise=noise))
        )
        with serve(model, log=log, **(server or {})) as url:
            raw = sample_task().model_dump(exclude_none=True)
            raw["teacher"] = {"model": "openai:x", "base_url": url, **parts.pop("teacher", {})}
            task = parse_task({**raw, **parts}, "test", Path())
            folder, splits = RunFolder(tmp_path / "run"), load_splits(task)
            if not folder.path.exists():
                folder.create(describe(task, splits))
            with closing(
                open_context(task, folder, splits=splits, encoder=encoder, listener=listener)
            ) as ctx:
                labels, rows = list(task.labels), splits.diagnose
                wrong = Random(0).sample(range(len(rows)), round((1 - right) * len(rows)))
                gold = [labels.index(row["label"]) for row in rows]
                folder.store_predictions(
                    "round-00", diagnose=np.array([labels[j - (i in wrong)] for i, j in enumerate(gold)])
                )
                yield ctx, log

    return open_


def test_the_node_labels_diagnose_texts_blind_and_logs_the_result(
    open_run: Open, shop: Callable[[str], list[Row]]
) -> None:
    lines = io.StringIO()
    progress = Progress(console=Console(file=lines))
    with open_run(noise=0.2, listener=progress, teacher={"calibrate": 48}) as (ctx, log):
        with ctx.trace.node("calibrate", 0):
            assert node(ctx, {"rounds": 1})["stop"] == ""
        found = ctx.folder.read_calibration()
    asked = [entry["text"] for request in log for entry in payload(request)["texts"]]
    gold = {row["text"]: row["label"] for row in shop("diagnose")}
    assert len(asked) == 48
    assert Counter(gold[text] for text in asked) == dict.fromkeys(gold.values(), 8)
    assert all(set(entry) == {"id", "text"} for request in log for entry in payload(request)["texts"])
    assert found["rows"] == 48
    assert 0.6 < found["accuracy"] < 0.95
    right = round(48 * found["accuracy"])
    message = (
        f"right on {right} of 48 of your texts (a student trained on your labels alone: 0.00, 0.00-0.00);"
        " confidence"
    )
    assert f"4 calls   {message} (logprobs) T " in lines.getvalue()


@pytest.mark.parametrize(
    ("teacher", "source"),
    [({}, "logprobs"), ({"logprobs": False}, "stated"), ({"logprobs": False, "votes": 2}, "votes")],
)
def test_the_node_measures_the_confidence_that_samples_will_have(
    open_run: Open, teacher: dict[str, Any], source: str
) -> None:
    with open_run(teacher={"calibrate": 24, **teacher}) as (ctx, _):
        node(ctx, {"rounds": 1})
        assert ctx.folder.read_calibration()["source"] == source


def test_texts_with_another_confidence_source_are_left_out(open_run: Open) -> None:
    with open_run(teacher={"calibrate": 60}, budget={"calls": 2}) as (ctx, _):
        node(ctx, {"rounds": 1})
        port = int(ctx.task.teacher.base_url.split(":")[2].split("/")[0])
    poorer = {"port": port, "offers": Offers(logprobs=False)}
    with open_run(teacher={"calibrate": 60}, server=poorer) as (ctx, _):
        node(ctx, {"rounds": 1})
        found = ctx.folder.read_calibration()
    assert (found["source"], found["rows"]) == ("stated", 36)
    assert found["note"].startswith("24 more texts were labelled without stated confidence")


@pytest.mark.parametrize(("noise", "accuracy"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_node_compares_with_the_gold_label(open_run: Open, noise: float, accuracy: float) -> None:
    with open_run(noise=noise, teacher={"calibrate": 24}) as (ctx, _):
        node(ctx, {"rounds": 1})
        assert ctx.folder.read_calibration()["accuracy"] == accuracy


def test_running_the_node_again_makes_no_new_calls_and_gives_the_same_result(open_run: Open) -> None:
    with open_run(noise=0.2, teacher={"calibrate": 24}) as (ctx, log):
        node(ctx, {"rounds": 1})
        first = ctx.folder.calibration.read_text()
        ctx.folder.calibration.unlink()
        node(ctx, {"rounds": 1})
        assert ctx.folder.calibration.read_text() == first
        assert len(log) == ctx.teacher.journal.spent()["calls"] == 2


def test_a_spent_budget_is_noted_and_stops_the_run(open_run: Open) -> None:
    with open_run(teacher={"calibrate": 24}, budget={"calls": 0}) as (ctx, log):
        assert node(ctx, {"rounds": 1})["stop"] == "budget of 0 calls is spent"
        found = ctx.folder.read_calibration()
    assert log == []
    assert (found["rows"], found["accuracy"]) == (0, None)
    assert "24 of 24 texts got no label: budget of 0 calls is spent" in found["note"]


def test_a_budget_that_runs_out_midway_keeps_the_rows_already_measured(open_run: Open) -> None:
    with open_run(teacher={"calibrate": 48}, budget={"calls": 3}) as (ctx, _):
        node(ctx, {"rounds": 1})
        found = ctx.folder.read_calibration()
    assert found["rows"] == 36
    assert "12 of 48 texts got no label: budget of 3 calls" in found["note"]


def test_nothing_is_requested_when_calibration_is_off(open_run: Open) -> None:
    with open_run(teacher={"calibrate": 0}) as (ctx, log):
        assert node(ctx, {"rounds": 1})["stop"] == ""
        assert log == []
        assert ctx.folder.read_calibration() is None


def test_a_run_without_rounds_skips_calibration(open_run: Open) -> None:
    with open_run(teacher={"calibrate": 24}) as (ctx, _):
        assert after_evaluate(ctx, {"round": 0, "stop": "0 rounds are done"}) == "refit"
        assert after_evaluate(ctx, {"round": 0, "stop": ""}) == "calibrate"
        assert after_evaluate(ctx, {"round": 1, "stop": ""}) == "analyst"


@pytest.mark.parametrize("right", [0.5, 0.95])
def test_a_teacher_that_is_no_better_than_the_student_stops_the_run_unless_forced(
    right: float, open_run: Open
) -> None:
    with open_run(noise=0.2, right=right, teacher={"calibrate": 96}) as (ctx, _):
        stop = node(ctx, {"rounds": 1})["stop"]
        baselines = ctx.folder.read_calibration()["baselines"]
    assert (baselines["metric"], baselines["rows"]) == ("accuracy", 96)
    assert baselines["teacher"][0] == pytest.approx(0.8, abs=0.12)
    assert baselines["student"][0] == pytest.approx(right, abs=0.12)
    assert baselines["majority_class"][0] == pytest.approx(1 / 6, abs=0.01), (
        "the rows are balanced over labels"
    )
    assert all(low < score < high for score, low, high in (baselines["teacher"], baselines["student"]))
    assert stop.startswith("the teacher is no better than the student it would teach") == (right > 0.9)
    if right > 0.9:
        figures = [
            f"{score:.2f} ({low:.2f}-{high:.2f})"
            for score, low, high in (baselines["teacher"], baselines["student"])
        ]
        assert (
            f"accuracy on 96 of your own rows is {figures[0]} for the teacher and {figures[1]} for a student"
            " trained on your labels alone;" in stop
        )
        assert stop.endswith(f"or go on all the same: tutelage resume {ctx.folder.path} --force")
        forced = {"calibrate": 96, "force": True}
        with open_run(noise=0.2, right=right, teacher=forced) as (ctx, _):
            assert node(ctx, {"rounds": 1})["stop"] == ""
    else:
        assert stop == ""


def test_the_stop_message_for_a_useless_teacher_names_the_score_of_the_most_frequent_label(
    open_run: Open,
) -> None:
    with open_run(noise=1.0, right=0.0, teacher={"calibrate": 24}) as (ctx, _):
        assert ") for always answering the most frequent label;" in node(ctx, {"rounds": 1})["stop"]


def payload(request: dict[str, Any]) -> dict[str, Any]:
    from tutelage.prompts import read_payload

    return read_payload(request["messages"][-1]["content"])
