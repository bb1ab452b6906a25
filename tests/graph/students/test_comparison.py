"""The value of the teacher's labels: measured before they are paid for, and compared in every report."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tutelage
from tutelage.graph.context import RunContext, open_context
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import resume, run
from tutelage.graph.students.self_training import pool_probabilities, self_training_helps, soft_rows
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder

Make = Callable[..., Task]
SAMPLE = Path(tutelage.__file__).parent / "graph" / "sample"


@pytest.fixture(scope="module")
def finished(folded: Make, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    strategy = {"base": "auto", "samples": 24, "self_training": "on"}
    return run(folded(strategy=strategy), tmp_path_factory.mktemp("worth") / "run", encoder=encoder)


def test_the_report_compares_the_student_with_students_trained_without_the_teacher(
    finished: RunFolder,
) -> None:
    about = finished.about()
    found = about["comparison"]
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert list(arms) == ["labels_alone", "self_trained", "random", "chosen", "all"]
    assert arms["labels_alone"]["rows"] == 210
    assert arms["labels_alone"]["teacher_labels"] == 0
    kept = about["samples"]["kept"]
    assert arms["chosen"]["teacher_labels"] == arms["random"]["teacher_labels"] == kept
    assert arms["all"]["teacher_labels"] > kept
    # Only the delivered student learns answers of students that were trained on the chosen labels.
    soft = {name for name, arm in arms.items() if arm["unlabelled"]}
    assert soft == {"self_trained", "all"}
    assert "gain" not in arms["labels_alone"]
    without = max(arms["labels_alone"]["score"], arms["self_trained"]["score"])
    for name in ("random", "chosen", "all"):
        difference, low, high = arms[name]["gain"]
        assert low <= difference <= high
        assert difference == pytest.approx(arms[name]["score"] - without)
    assert [arm["delivered"] for arm in found["arms"]] == [False] * 4 + [True]
    assert about["test"]["metric"] == arms["all"]["score"]
    page = finished.report.read_text()
    for words in (
        "Value of the teacher labels",
        "your labels alone",
        "labels at random",
        f"The teacher&#x27;s {arms['all']['teacher_labels']} labels ",
    ):
        assert words in page


def test_the_control_labels_are_drawn_at_random_and_train_the_final_student_too(finished: RunFolder) -> None:
    rows = [json.loads(line) for line in finished.control_labels.read_text().splitlines()]
    found = {arm["name"]: arm for arm in finished.about()["comparison"]["arms"]}
    assert len(rows) == found["random"]["teacher_labels"]
    samples = [json.loads(line) for line in finished.samples.read_text().splitlines()]
    chosen = {s["id"] for s in samples if s["status"] == "kept"}
    new = {row["id"] for row in rows} - chosen
    assert found["all"]["teacher_labels"] == len(chosen) + len(new)


def test_rounds_leave_enough_of_the_budget_for_the_random_labels(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "random", "control": True, "samples": 24, "pool_share": 1.0, "critic": "none"}
    calls = 9 + 8  # of the calibration; of two rounds and as many random labels
    task = folded(strategy=strategy, budget={"rounds": 9, "calls": calls})
    folder = run(task, tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == (
        f"budget of {calls} calls does not cover the next call (13 used, 4 held back for texts drawn at"
        " random, about 1 needed)"
    )
    found = {arm["name"]: arm for arm in folder.about()["comparison"]["arms"]}
    assert found["random"]["teacher_labels"] == found["chosen"]["teacher_labels"] == 48
    assert sum(line["teacher_calls"] for line in folder.read_rounds()) == 13


@pytest.mark.slow
def test_a_run_extended_by_a_higher_limit_pays_for_no_random_label_twice(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {"base": "random", "control": True, "samples": 24, "pool_share": 1.0, "critic": "none"}
    whole = run(
        folded(strategy=strategy, budget={"calls": 17, "rounds": 9}), tmp_path / "whole", encoder=encoder
    )
    short = run(
        folded(strategy=strategy, budget={"calls": 13, "rounds": 9}), tmp_path / "short", encoder=encoder
    )
    bought = {row["id"] for row in map(json.loads, short.control_labels.read_text().splitlines())}
    assert len(bought) == 24
    extended = resume(short.path, budget={"calls": 17})
    found = {arm["name"]: arm for arm in extended.about()["comparison"]["arms"]}
    assert found["random"]["teacher_labels"] == found["chosen"]["teacher_labels"] == 48
    rows = {row["id"] for row in map(json.loads, extended.control_labels.read_text().splitlines())}
    assert bought < rows
    assert rows == {row["id"] for row in map(json.loads, whole.control_labels.read_text().splitlines())}
    assert extended.about()["spent"]["calls"] <= 17


@pytest.mark.slow
def test_a_run_stopped_during_calibration_resumes_it(folded: Make, encoder: Encoder, tmp_path: Path) -> None:
    stopped = run(
        folded(teacher={"label_noise": 0.3}, budget={"calls": 1, "rounds": 1}),
        tmp_path / "run",
        encoder=encoder,
    )
    assert stopped.about()["stop"] == "budget of 1 calls is spent"
    resumed = resume(stopped.path, budget={"calls": 100})
    assert json.loads(resumed.calibration.read_text())["baselines"]["rows"] == 100


def test_the_first_round_can_have_a_selection_of_its_own(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    strategy = {
        "base": "random",
        "samples": 12,
        "pool_share": 1.0,
        "critic": "none",
        "choose_from": 100,
        "selection": "margin",
        "first_selection": "typical",
    }
    folder = run(folded(strategy=strategy), tmp_path / "run", encoder=encoder)
    samples = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    assert {s["round"] for s in samples} == {1, 2}
    # Typical texts are chosen without asking the students: they have no uncertainty.
    assert all(("uncertainty" in s) == (s["round"] == 2) for s in samples)


def test_without_a_test_set_the_gain_is_measured_out_of_fold(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    data = {"labelled": "labelled.jsonl", "unlabelled": "pool.jsonl"}
    folder = run(folded(data=data, budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    found = folder.about()["comparison"]
    assert found["measured_on"] == "out of fold"
    assert [arm["name"] for arm in found["arms"]] == ["labels_alone", "chosen"]
    assert found["arms"][0]["score"] == pytest.approx(folder.read_rounds()[0]["gate"])
    assert "(out of fold; 95 % interval" in folder.report.read_text()
    assert folder.student.exists()


def test_a_teacher_no_better_than_the_student_stops_the_run_before_more_is_paid(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    task = folded(teacher={"label_noise": 0.6}, budget={"rounds": 1})
    folder = run(task, tmp_path / "run", encoder=encoder)
    stop = folder.about()["stop"]
    assert stop.startswith(
        "the teacher is no better than the student it would teach: accuracy on 100 of your"
    )
    assert "for a student trained on your labels alone;" in stop
    assert stop.endswith(f"or go on all the same: tutelage resume {folder.path} --force")
    events = [json.loads(line) for line in folder.trace.read_text().splitlines()]
    assert {event["node"] for event in events if event["event"] == "call"} == {"calibrate"}
    measured = json.loads(folder.calibration.read_text())["baselines"]
    assert measured["teacher"][0] < measured["student"][0]
    assert all(low <= score <= high for score, low, high in (measured["teacher"], measured["student"]))
    assert "a student trained on your labels alone" in folder.report.read_text()
    assert folder.student.exists(), "the student of the user's labels alone remains"
    assert resume(folder.path).about()["stop"] == stop, "nothing has changed"
    forced = resume(folder.path, force=True)
    assert forced.about()["stop"] == "1 round is done"
    assert forced.about()["samples"]["kept"] > 0


def test_a_forced_run_is_not_stopped(folded: Make, encoder: Encoder, tmp_path: Path) -> None:
    teacher = {"label_noise": 0.6, "force": True}
    folder = run(folded(teacher=teacher, budget={"rounds": 1}), tmp_path / "run", encoder=encoder)
    assert folder.about()["stop"] == "1 round is done"


def test_rounds_without_a_gain_end_the_run_with_the_cost_of_another_round(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    teacher = {"label_noise": 0.7, "force": False, "calibrate": 0}
    strategy = {"base": "random", "samples": 12, "pool_share": 1.0, "critic": "none", "stall": 2}
    task = folded(teacher=teacher, strategy=strategy, budget={"rounds": 6})
    folder = run(task, tmp_path / "run", encoder=encoder)
    assert len(folder.read_rounds()) < 7
    stop = folder.about()["stop"]
    assert stop.startswith("the last 2 rounds brought no gain beyond noise (")
    assert "another round would take about" in stop
    assert "calls and" in stop


def test_labels_that_look_wrong_are_listed_and_left_unchanged(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in Path(str(folded().data.labelled.path)).read_text().splitlines()]  # type: ignore[union-attr]
    rng, labels = random.Random(0), list(folded().labels)
    wrong = rng.sample(range(len(lines)), 20)
    for index in wrong:
        others = [label for label in labels if label != lines[index]["label"]]
        lines[index]["label"] = rng.choice(others)
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = {"labelled": str(path), "unlabelled": "pool.jsonl"}
    folder = run(folded(data=data, budget={"rounds": 0}), tmp_path / "run", encoder=encoder)
    with folder.labels_to_check.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert folder.about()["labels_to_check"] == len(found)
    flipped = {lines[index]["text"] for index in wrong}
    hits = sum(row["text"] in flipped for row in found)
    assert hits >= 8, "many of the planted errors are found"
    assert hits / len(found) > 0.5, "chance would be one in ten"
    assert path.read_text() == "".join(json.dumps(line) + "\n" for line in lines)
    assert "Labels to check" in folder.report.read_text()


@pytest.fixture
def context_after_round_0(folded: Make, encoder: Encoder, tmp_path: Path) -> RunContext:
    """Return the context of a run killed after round 0, when its students are on disk."""

    class Killed(Exception):  # noqa: N818
        pass

    def listener(event: dict[str, Any]) -> None:
        if event["event"] == "leave" and event["node"] == "evaluate":
            raise Killed

    task = folded(strategy={"base": "auto", "self_training": "auto"})
    with pytest.raises(Killed):
        run(task, tmp_path / "run", encoder=encoder, listener=listener)
    return open_context(task, RunFolder(tmp_path / "run"), encoder=encoder)


def test_a_fold_student_learns_only_predictions_of_its_own_fold(context_after_round_0: RunContext) -> None:
    ctx = context_after_round_0
    answers = pool_probabilities(ctx, 0)
    assert answers.shape[0] == ctx.task.fold_count
    for fold in range(ctx.task.fold_count):
        rows = soft_rows(ctx, answers, set(), fold)
        assert np.allclose([row["target"] for row in rows], answers[fold])
    whole = soft_rows(ctx, answers, set())
    assert np.allclose([row["target"] for row in whole], answers.mean(0))
    self_training_helps(ctx, answers, 0, [])
    before = ctx.folder.load_array("self-training", "probabilities")
    others = np.roll(answers, 1, axis=2)
    others[0] = answers[0]
    self_training_helps(ctx, others, 0, [])
    after = ctx.folder.load_array("self-training", "probabilities")
    own = [ctx.splits.folds[row["id"]] == 0 for row in ctx.splits.labelled]
    assert np.array_equal(before[own], after[own]), (
        "predictions of other folds' students do not change its own rows"
    )
    assert not np.allclose(before[~np.array(own)], after[~np.array(own)], atol=1e-3)


def test_a_run_that_keeps_no_sample_ends_with_a_report_and_a_student(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def refuse(row):\n    return 'none of these'\n")
    data = {"labelled": "labelled.jsonl", "unlabelled": "pool.jsonl"}
    task = folded(data=data, filters=[f"{tmp_path / 'mine.py'}:refuse"], budget={"rounds": 1})
    folder = run(task, tmp_path / "run", encoder=encoder)
    about = folder.about()
    assert about["samples"].get("kept", 0) == 0
    assert about["samples"]["refused"] > 0
    assert about["comparison"] is None, "nothing is held out, and no label was kept"
    assert folder.student.exists()
    assert "Value of the teacher labels" in folder.report.read_text()


def test_the_teachers_accuracy_is_weighted_by_the_frequency_of_the_users_labels(
    folded: Make, encoder: Encoder, tmp_path: Path
) -> None:
    lines = Path(str(folded().data.labelled.path)).read_text().splitlines(keepends=True)  # type: ignore[union-attr]
    common = [line for line in lines if json.loads(line)["label"] == "order_status"]
    rare = [line for line in lines if json.loads(line)["label"] == "return_refund"][:6]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join([*common, *rare]))
    labels = {name: folded().labels[name] for name in ("order_status", "return_refund")}
    corpus = [json.loads(line) for line in (SAMPLE / "teacher.jsonl").read_text().splitlines()]
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in corpus if row["label"] in labels)
    )
    task = folded(
        data={"labelled": str(path), "folds": 2},
        labels=labels,
        teacher={"corpus": str(tmp_path / "corpus.jsonl"), "calibrate": 12, "force": True},
        strategy={"base": "auto", "samples": 4, "attempts": 0},
        budget={"rounds": 1},
    )
    measured = run(task, tmp_path / "run", encoder=encoder).read_calibration()
    assert measured is not None
    assert measured["baselines"]["rows"] == 12, "six of each label"
    share = len(common) / (len(common) + len(rare))
    assert measured["baselines"]["majority_class"][0] == pytest.approx(share, abs=1e-3)
