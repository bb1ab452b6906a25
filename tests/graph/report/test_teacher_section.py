"""The section about the teacher: its accuracy, its calibration and the counters of its calls."""

from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]


def test_the_teacher_section_shows_accuracy_and_calibration_before_and_after(
    finished: Make, calibration: Make, read_report: Make
) -> None:
    folder = finished()
    folder.write_json(folder.calibration, calibration())
    page = read_report(folder)
    teacher = page["teacher"]
    assert "Correct on your texts 82 of 100 Accuracy, 95 % interval 0.820 (0.733–0.883)" in teacher
    assert "Source of the confidence the share of votes that agree Temperature T 1.62" in teacher
    assert "ECE, uncalibrated 0.086 ECE, calibrated 0.020" in teacher
    assert "accuracy uncalibrated calibrated 0.0 0.5 1.0 confidence" in teacher  # the two plots
    assert "such as these 100, is biased upwards" in teacher
    assert list(page.sections)[3:5] == ["rounds-and-cost", "teacher"]


def test_a_teacher_without_a_temperature_has_one_plot_and_the_reason(
    finished: Make, calibration: Make, read_report: Make
) -> None:
    folder = finished()
    few = calibration(bins_after=calibration()["bins_before"], rows=12, note="12 rows are too few")
    folder.write_json(folder.calibration, few)
    teacher = read_report(folder)["teacher"]
    assert "12 rows are too few." in teacher
    assert "uncalibrated 0.0 0.5 1.0 confidence" in teacher


def test_a_run_without_a_calibration_has_no_plot(started: Make, read_report: Make) -> None:
    page = read_report(started([]))
    reason = "Not measured: this run did not compare the teacher with your labels."
    assert f"Teacher {reason}" in page["teacher"]
    assert "svg" not in page.tags


def test_a_teacher_that_could_not_be_measured_has_no_plot(
    started: Make, calibration: Make, markup: str, read_report: Make
) -> None:
    folder = started([])
    folder.write_json(folder.calibration, calibration(rows=0, accuracy=None, note=f"refused {markup}"))
    page = read_report(folder)
    assert f"Teacher Not measured: refused {markup}." in page["teacher"]
    assert "svg" not in page.tags


def test_the_counters_of_the_teachers_calls_are_listed(finished: Make, read_report: Make) -> None:
    page = read_report(finished(teacher={"retried": 1234, "set_aside": 0}))
    assert "Calls Retried 1,234 Set aside 0" in page["teacher"]
