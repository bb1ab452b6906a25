"""The teacher's confidence: measured on the user's own labels, mended, and honest where rows are few."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tutelage.agents.rehearsal.rehearsal import Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.teacher.calibration import (
    Calibration,
    calibrate,
    calibrated,
    expected_calibration_error,
    reliability,
)
from tutelage.graph.build import describe
from tutelage.graph.context import RunContext, open_context
from tutelage.graph.nodes.calibrate import calibrate as node
from tutelage.graph.nodes.calibrate import slice_of
from tutelage.graph.routes import after_examine
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.progress import Progress
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.splits import load_splits
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.tasks.classification import CLASSIFICATION


def scaling(temperature: float, labels: int) -> Calibration:
    return {**calibrate([], [], "stated", labels), "temperature": temperature}


def answers(seed: int, size: int, *, temperature: float, labels: int) -> tuple[list[float], list[bool]]:
    """Of a teacher that is right as often as its confidences say at that temperature."""
    chance = np.random.default_rng(seed)
    told = 1 / (1 + (labels - 1) * np.exp(-chance.normal(4, 3, size)))
    right = [chance.random() < calibrated(float(p), scaling(temperature, labels)) for p in told]
    return told.tolist(), right


@pytest.mark.parametrize(
    ("confidence", "temperature", "labels", "wanted"),
    [
        (0.8, 2.0, 2, 2 / 3),  # odds of 4 to 1 become 2 to 1
        (0.8, 0.5, 2, 16 / 17),  # or 16 to 1
        (0.64, 2.0, 10, 4 / 13),  # 16 times each of nine others becomes 4 times
        (0.2, 2.0, 2, 1 / 3),
        (0.25, 7.0, 4, 0.25),  # even stays even
        (0.7, 1.0, 5, 0.7),
        (1.0, 2.0, 2, 0.990098),  # from 9999 to 1, for sure is never for certain
        (0.0, 1.0, 2, 0.0),
    ],
)
def test_scaling_is_the_root_of_the_odds_against_each_other_label(
    confidence: float, temperature: float, labels: int, wanted: float
) -> None:
    assert calibrated(confidence, scaling(temperature, labels)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.4, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("labels", [2, 3, 150])
def test_scaling_keeps_the_order(temperature: float, labels: int) -> None:
    told = np.linspace(0.001, 0.999, 200)
    scaled = [calibrated(float(p), scaling(temperature, labels)) for p in told]
    assert all(0 <= p <= 1 for p in scaled)
    assert scaled == sorted(scaled)
    if temperature >= 1:
        assert len(set(scaled)) == 200


def test_bins_hold_what_is_above_their_low_end_and_at_most_their_high_end() -> None:
    bins = reliability([0.0, 0.1, 0.7, 0.71, 0.79, 1.0], [False, False, True, True, False, True])
    assert [(b["low"], b["high"], b["count"]) for b in bins] == [
        (0.0, 0.1, 2), (0.6, 0.7, 1), (0.7, 0.8, 2), (0.9, 1.0, 1),
    ]  # fmt: skip
    assert [b["accuracy"] for b in bins] == [0, 1, 0.5, 1]
    assert [b["confidence"] for b in bins] == pytest.approx([0.05, 0.7, 0.75, 1])


def test_the_error_is_the_mean_distance_of_accuracy_from_confidence() -> None:
    told = [0.95] * 4 + [0.55] * 2
    right = [True, True, True, False, True, True]
    assert expected_calibration_error(told, right) == pytest.approx((4 * 0.20 + 2 * 0.45) / 6)
    assert expected_calibration_error(told, right, bins=1) == pytest.approx(5 / 6 - 4.9 / 6)


@pytest.mark.parametrize("true", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("labels", [2, 6, 77])
def test_the_temperature_of_a_teacher_is_found_again(true: float, labels: int) -> None:
    found = calibrate(*answers(labels, 500, temperature=true, labels=labels), "logprobs", labels)
    assert found["temperature"] == pytest.approx(true, rel=0.15)
    assert found["note"] == ""


@pytest.mark.parametrize("seed", range(5))
def test_an_overconfident_teacher_is_mended_on_rows_that_the_fit_did_not_see(seed: int) -> None:
    told, right = answers(seed, 500, temperature=2.5, labels=6)
    found = calibrate(told, right, "logprobs", 6)
    assert found["ece_before"] > 0.2
    assert found["ece_after"] < 0.07
    fresh, truth = answers(seed + 100, 2000, temperature=2.5, labels=6)
    scaled = [calibrated(p, found) for p in fresh]
    assert expected_calibration_error(scaled, truth) < 0.05


def test_what_is_measured_is_all_there() -> None:
    found = calibrate(
        [0.9] * 50 + [0.6] * 50, [True] * 45 + [False] * 5 + [True] * 30 + [False] * 20, "votes", 2
    )
    assert (found["source"], found["labels"], found["rows"]) == ("votes", 2, 100)
    assert found["accuracy"] == 0.75
    assert found["interval"] == pytest.approx([0.657, 0.825], abs=1e-3)
    assert found["ece_before"] == pytest.approx(0, abs=1e-9)
    assert found["temperature"] == pytest.approx(1, abs=0.05)
    assert [b["count"] for b in found["bins_before"]] == [50, 50]
    assert json.loads(json.dumps(found)) == found


def test_the_same_confidence_everywhere_becomes_the_share_of_right_answers() -> None:
    found = calibrate([0.95] * 100, [True] * 80 + [False] * 20, "stated", 4)
    assert calibrated(0.95, found) == pytest.approx(0.8, abs=0.005)
    assert "cannot tell right from wrong" in found["note"]


def test_right_on_every_row_is_not_taken_for_infallible() -> None:
    found = calibrate([0.9] * 25 + [0.8] * 25, [True] * 50, "stated", 3)
    assert 0.97 < calibrated(0.9, found) < 0.99
    assert "right on every row" in found["note"]


def test_a_confidence_that_is_high_where_it_is_wrong_is_flattened_and_called_out() -> None:
    found = calibrate([0.95] * 30 + [0.6] * 30, [False] * 30 + [True] * 30, "stated", 2)
    assert 0.5 < calibrated(0.95, found) < 0.55
    assert "does not tell right from wrong" in found["note"]


def test_wrong_on_every_row() -> None:
    found = calibrate([0.9, 0.7] * 20, [False] * 40, "stated", 2)
    assert found["accuracy"] == 0
    assert calibrated(0.9, found) < 0.54
    assert "wrong on every row" in found["note"]


def test_few_rows_are_measured_but_fit_nothing() -> None:
    found = calibrate([0.9] * 19, [True] * 10 + [False] * 9, "stated", 2)
    assert found["temperature"] == 1
    assert found["ece_after"] == found["ece_before"] == pytest.approx(0.9 - 10 / 19)
    assert "19 rows are too few" in found["note"]


def test_no_rows_measure_nothing() -> None:
    found = calibrate([], [], "", 2)
    assert found["rows"] == 0
    assert found["accuracy"] is found["ece_before"] is found["ece_after"] is None
    assert found["interval"] == [0, 1]
    assert calibrated(0.8, found) == pytest.approx(0.8)


def test_a_slice_has_as_many_rows_of_each_label_as_there_are() -> None:
    rows = [Row(id=str(i), text=str(i), label="rare" if i < 3 else f"l{i % 2}") for i in range(60)]
    drawn = slice_of(CLASSIFICATION, rows, 21, 0)
    assert Counter(row["label"] for row in drawn) == {"rare": 3, "l0": 9, "l1": 9}
    assert drawn == slice_of(CLASSIFICATION, rows, 21, 0)
    assert drawn != slice_of(CLASSIFICATION, rows, 21, 1)
    assert len(slice_of(CLASSIFICATION, rows, 100, 0)) == 60
    assert slice_of(CLASSIFICATION, rows, 0, 0) == []


Open = Callable[..., "Any"]


@pytest.fixture
def opened(encoder: Encoder, shop: Callable[[str], list[Row]], tmp_path: Path) -> Open:
    """Opens a workshop whose teacher, behind HTTP, knows the labels of diagnose, and whose student is right
    on as many of these texts as `right` says; yields it and requests.
    """

    @contextmanager
    def open_(
        noise: float = 0.0, listener: Any = None, server: Any = None, right: float = 0.0, **parts: Any
    ) -> Iterator[tuple[RunContext, list[Any]]]:
        log: list[dict[str, Any]] = []
        model = RehearsalModel(rehearsal=Rehearsal(shop("diagnose"), encoder.encode, label_noise=noise))
        with serve(model, log=log, **(server or {})) as url:
            raw = sample_task().model_dump(exclude_none=True)
            raw["teacher"] = {"model": "openai:x", "base_url": url, **parts.pop("teacher", {})}
            task = parse_task({**raw, **parts}, "test", Path())
            folder, splits = RunFolder(tmp_path / "run"), load_splits(task)
            if not folder.path.exists():
                folder.create(describe(task, splits))
            with closing(open_context(task, folder, splits=splits, encoder=encoder, listener=listener)) as it:
                labels, rows = list(task.labels), splits.diagnose
                wrong = Random(0).sample(range(len(rows)), round((1 - right) * len(rows)))
                gold = [labels.index(row["label"]) for row in rows]
                folder.store_predictions(
                    "round-00", diagnose=np.array([labels[j - (i in wrong)] for i, j in enumerate(gold)])
                )
                yield it, log

    return open_


def test_the_node_labels_diagnose_texts_blind_and_tells_what_it_found(
    opened: Open, shop: Callable[[str], list[Row]]
) -> None:
    lines = io.StringIO()
    progress = Progress(console=Console(file=lines))
    with opened(noise=0.2, listener=progress, teacher={"calibrate": 48}) as (it, log):
        with it.trace.node("calibrate", 0):
            assert node(it, {"rounds": 1})["stop"] == ""
        found = it.folder.read_calibration()
    asked = [entry["text"] for request in log for entry in payload(request)["texts"]]
    gold = {row["text"]: row["label"] for row in shop("diagnose")}
    assert len(asked) == 48
    assert Counter(gold[text] for text in asked) == dict.fromkeys(gold.values(), 8)
    assert all(set(entry) == {"id", "text"} for request in log for entry in payload(request)["texts"])
    assert found["rows"] == 48
    assert 0.6 < found["accuracy"] < 0.95
    right = round(48 * found["accuracy"])
    told = (
        f"right on {right} of 48 of your texts (a student trained on your labels alone: 0.00, 0.00-0.00);"
        " confidence"
    )
    assert f"4 calls   {told} (logprobs) T " in lines.getvalue()


@pytest.mark.parametrize(
    ("teacher", "source"),
    [({}, "logprobs"), ({"logprobs": False}, "stated"), ({"logprobs": False, "votes": 2}, "votes")],
)
def test_the_node_measures_the_confidence_that_samples_will_have(
    opened: Open, teacher: dict[str, Any], source: str
) -> None:
    with opened(teacher={"calibrate": 24, **teacher}) as (it, _):
        node(it, {"rounds": 1})
        assert it.folder.read_calibration()["source"] == source


def test_texts_whose_confidence_is_of_another_kind_are_left_out(opened: Open) -> None:
    with opened(teacher={"calibrate": 60}, budget={"calls": 2}) as (it, _):
        node(it, {"rounds": 1})
        port = int(it.task.teacher.base_url.split(":")[2].split("/")[0])
    poorer = {"port": port, "offers": Offers(logprobs=False)}
    with opened(teacher={"calibrate": 60}, server=poorer) as (it, _):
        node(it, {"rounds": 1})
        found = it.folder.read_calibration()
    assert (found["source"], found["rows"]) == ("stated", 36)
    assert found["note"].startswith("24 more texts were labelled without stated confidence")


@pytest.mark.parametrize(("noise", "accuracy"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_node_compares_with_the_gold_label(opened: Open, noise: float, accuracy: float) -> None:
    with opened(noise=noise, teacher={"calibrate": 24}) as (it, _):
        node(it, {"rounds": 1})
        assert it.folder.read_calibration()["accuracy"] == accuracy


def test_the_node_run_again_asks_nothing_twice_and_finds_the_same(opened: Open) -> None:
    with opened(noise=0.2, teacher={"calibrate": 24}) as (it, log):
        node(it, {"rounds": 1})
        first = it.folder.calibration.read_text()
        it.folder.calibration.unlink()
        node(it, {"rounds": 1})
        assert it.folder.calibration.read_text() == first
        assert len(log) == it.teacher.journal.spent()["calls"] == 2


def test_a_budget_that_refuses_is_told_and_stops_the_run(opened: Open) -> None:
    with opened(teacher={"calibrate": 24}, budget={"calls": 0}) as (it, log):
        assert node(it, {"rounds": 1})["stop"] == "budget of 0 calls is spent"
        found = it.folder.read_calibration()
    assert log == []
    assert (found["rows"], found["accuracy"]) == (0, None)
    assert "24 of 24 texts got no label: budget of 0 calls is spent" in found["note"]


def test_a_budget_that_ends_in_between_leaves_what_was_measured(opened: Open) -> None:
    with opened(teacher={"calibrate": 48}, budget={"calls": 3}) as (it, _):
        node(it, {"rounds": 1})
        found = it.folder.read_calibration()
    assert found["rows"] == 36
    assert "12 of 48 texts got no label: budget of 3 calls" in found["note"]


def test_nothing_is_asked_where_it_is_off(opened: Open) -> None:
    with opened(teacher={"calibrate": 0}) as (it, log):
        assert node(it, {"rounds": 1})["stop"] == ""
        assert log == []
        assert it.folder.read_calibration() is None


def test_a_run_without_rounds_is_not_led_to_it(opened: Open) -> None:
    with opened(teacher={"calibrate": 24}) as (it, _):
        assert after_examine(it, {"round": 0, "stop": "0 rounds are done"}) == "refit"
        assert after_examine(it, {"round": 0, "stop": ""}) == "calibrate"
        assert after_examine(it, {"round": 1, "stop": ""}) == "analyst"


@pytest.mark.parametrize("right", [0.5, 0.95])
def test_a_teacher_that_is_no_better_than_the_student_stops_the_run_unless_forced(
    right: float, opened: Open
) -> None:
    with opened(noise=0.2, right=right, teacher={"calibrate": 96}) as (it, _):
        stop = node(it, {"rounds": 1})["stop"]
        rivals = it.folder.read_calibration()["rivals"]
    assert (rivals["metric"], rivals["rows"]) == ("accuracy", 96)
    assert rivals["teacher"][0] == pytest.approx(0.8, abs=0.12)
    assert rivals["student"][0] == pytest.approx(right, abs=0.12)
    assert rivals["commonest"][0] == pytest.approx(1 / 6, abs=0.01), "the slice has as many of each label"
    assert all(low < score < high for score, low, high in (rivals["teacher"], rivals["student"]))
    assert stop.startswith("the teacher is no better than the student it would teach") == (right > 0.9)
    if right > 0.9:
        figures = [
            f"{score:.2f} ({low:.2f}-{high:.2f})"
            for score, low, high in (rivals["teacher"], rivals["student"])
        ]
        assert (
            f"accuracy on 96 of your own rows is {figures[0]} for the teacher and {figures[1]} for a student"
            " trained on your labels alone;" in stop
        )
        assert stop.endswith("or continue with --force")
        forced = {"calibrate": 96, "force": True}
        with opened(noise=0.2, right=right, teacher=forced) as (it, _):
            assert node(it, {"rounds": 1})["stop"] == ""
    else:
        assert stop == ""


def test_a_teacher_that_is_always_wrong_is_told_of_the_commonest_label(opened: Open) -> None:
    with opened(noise=1.0, right=0.0, teacher={"calibrate": 24}) as (it, _):
        assert ") for always answering the most frequent label;" in node(it, {"rounds": 1})["stop"]


def payload(request: dict[str, Any]) -> dict[str, Any]:
    from tutelage.prompts import read_payload

    return read_payload(request["messages"][-1]["content"])
