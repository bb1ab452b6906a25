"""The headline, the rounds and the learning curve of a report, for runs with separate sets and with folds."""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def test_the_headline_shows_scores_stop_reason_and_cost(finished: Make, read_report: Make) -> None:
    headline = read_report(finished())["headline"]
    assert (
        "0.333 untrained 0.510 seeds only 0.800 best student, round 1 macro-F1 on test (40 texts)" in headline
    )
    assert "Stopped because 2 rounds are done" in headline
    assert "Teacher calls 31" in headline
    assert "3,100 + 310" in headline
    assert "Cost 1,235 " in headline
    assert "Samples kept 25 of 43 texts" in headline
    assert "0.800 (0.652–0.895)" in headline
    assert "labels without a seed: plain" in headline
    assert "Unfinished" not in headline


def test_the_table_of_rounds_shows_a_rolled_back_round_and_the_total(
    finished: Make, read_report: Make
) -> None:
    page = read_report(finished())
    rounds = page["rounds-and-cost"]
    assert "0.600 0.550 0.600 0.800 ★ best 10 1,000 + 100 0.25 20 1 duplicate 30 3.2" in rounds
    assert "0.011 0.710 ✕ rolled back 20" in rounds
    assert "total 31 3,100 + 310 1,235" in rounds
    assert "rolled back" in page["learning-curve"]
    assert "control" not in page["learning-curve"].lower()


def test_a_refitted_student_has_a_score_of_its_own_in_the_headline(finished: Make, read_report: Make) -> None:
    headline = read_report(finished(strategy={"name": "auto", "refit": True}))["headline"]
    assert (
        "0.510 seeds only 0.800 best student, round 1 0.800 refitted on all rows macro-F1 on test" in headline
    )


def test_a_run_on_folds_shows_one_out_of_fold_score_a_round(
    finished_on_folds: Make, read_report: Make
) -> None:
    page = read_report(finished_on_folds())
    rounds = page["rounds-and-cost"]
    columns = "Round Out of fold p-value Outcome Calls Tokens Cost Kept Refused Trained on Seconds"
    assert f"{columns} 0 0.500" in rounds
    assert "1 0.600 0.600 ★ best 10 1,000 + 100 0.25 20 1 duplicate 30 3.2" in rounds
    assert "2 0.700 0.011 ✕ rolled back 20" in rounds
    assert "total 31 3,100 + 310 1,235 25" in rounds
    assert "trained on your labels alone" in rounds
    assert "Diagnose" not in rounds
    assert "Gate" not in rounds
    assert "out of fold rolled back" in page["learning-curve"]
    assert "gate" not in page["learning-curve"]
    tiles = "0.333 untrained 0.610 your labels alone 0.800 + 20 teacher labels, chosen"
    assert f"{tiles} macro-F1 on test (40 texts)" in page["headline"]
    worth = (
        "The teacher's 20 labels raised macro-F1 from 0.61 to 0.80 (test; 95 % interval of the gain 0.10 to"
    )
    assert f"{worth} 0.30)." in page["value-of-the-teacher-labels"]
    assert (
        "the labels and in the unlabelled texts that they learn from" in page["value-of-the-teacher-labels"]
    )
    assert "test 25 0 0 0 0.697" in page["leakage-check"]
    assert "seeds" not in page["headline"].replace("labels without a seed", "")


def test_an_unfinished_run_on_folds_shows_its_out_of_fold_scores(
    started: Make, round_line: Make, finished_on_folds: Make, read_report: Make
) -> None:
    data = {"digest": "d1", "labelled": 40, "test": 0}
    page = read_report(started([round_line(0), round_line(1)], data=data), finished_on_folds("control"))
    scores = (
        "0.450 your labels alone 0.550 best student, round 1 macro-F1 on your rows, out of fold (40 texts)"
    )
    assert f"{scores}; there is no test set" in page["headline"]
    assert "out of fold, control" in page["learning-curve"]


def test_a_run_on_folds_without_a_test_set_has_no_leakage_check(
    finished_on_folds: Make, read_report: Make
) -> None:
    data = {"digest": "d1", "labelled": 40, "test": 0}
    overlap = {"test": {"texts": 20, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.0}}
    page = read_report(
        finished_on_folds(data=data, test=None, test_untrained=None, comparison=None, overlap=overlap)
    )
    assert "None: there is no test set." in page["leakage-check"]
    assert "Not measured" in page["value-of-the-teacher-labels"]


def test_an_unfinished_run_is_reported_up_to_its_last_round(
    started: Make, round_line: Make, finished: Make, read_report: Make
) -> None:
    folder = started([round_line(0), round_line(1)])
    page = read_report(folder, finished("control"))
    resume = f"Continue with `tutelage resume {folder.path}`"
    assert f"Unfinished: 1 of 2 rounds are over. {resume}" in page["headline"]
    assert "0.450 seeds only 0.550 best student, round 1 macro-F1 on gate (40 texts)" in page["headline"]
    assert "Teacher calls 10" in page["headline"]
    assert "gate, control" in page["learning-curve"]
    assert "has not been opened" in page["classes"]
    assert "kept 20" in page["samples"]
    assert "checked when the run ends" in page["leakage-check"]


def test_a_run_without_a_finished_round_is_reported(started: Make, finished: Make, read_report: Make) -> None:
    page = read_report(started([]), finished("control"))
    assert "Unfinished: 0 of 2 rounds" in page["headline"]
    assert "No round is over yet" in page["learning-curve"]
    assert "svg" not in page.tags


def test_a_run_without_gate_and_test_set_is_scored_on_the_diagnose_set(
    started: Make, round_line: Make, read_report: Make
) -> None:
    no_overlap = {"texts": 20, "exact": 0, "ngram": 0, "near": 0, "nearest": 0.0}
    folder = started(
        [{**round_line(i), "gate": None, "p_value": None} for i in (0, 1)],
        data={"digest": "d1", "seed": 10, "diagnose": 40, "gate": 0, "test": 0},
        stop="1 rounds are done",
        best=1,
        test=None,
        test_untrained=None,
        test_by_round=None,
        overlap={"gate": no_overlap, "test": no_overlap},
    )
    page = read_report(folder)
    assert "macro-F1 on diagnose (40 texts); there is no test set" in page["headline"]
    assert "there is no gate or test set" in page["leakage-check"]


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(None, "unknown"), (0, "0"), (1e-17, "0"), (0.0001234567, "0.0001235"), (23456.7, "23,460")],
)
def test_a_cost_is_rounded_to_four_digits_or_unknown(
    finished: Make, read_report: Make, cost: float | None, shown: str
) -> None:
    spent = {"calls": 3, "prompt_tokens": 3, "completion_tokens": 3, "cost": cost}
    page = read_report(finished(spent=spent))
    assert f"Cost {shown} Samples" in page["headline"]
    assert f"total 3 3 + 3 {shown} 25" in page["rounds-and-cost"]


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ({"model": "openai:gpt-5-mini", "roles": {}}, None),
        ({"model": "rehearsal", "roles": {}}, "The teacher was the rehearsal teacher: a look-up in labelled"),
        ({"model": "openai:x", "roles": {"critic": {"model": "rehearsal"}}}, "as critic was the rehearsal"),
    ],
)
def test_the_headline_says_that_a_teacher_was_the_rehearsal_teacher(
    finished: Make, run_record: Make, read_report: Make, teacher: dict[str, Any], sentence: str | None
) -> None:
    headline = read_report(finished(task={**run_record()["task"], "teacher": teacher}))["headline"]
    assert sentence in headline if sentence else "rehearsal" not in headline


def test_the_control_has_dashed_curves_and_a_table_of_its_own(
    finished: Make, run_record: Make, read_report: Make
) -> None:
    control = finished("control", **run_record(strategy="random"))
    folder = finished()
    alone, page = read_report(folder), read_report(folder, control)
    assert page.source.count("stroke-dasharray") > alone.source.count("stroke-dasharray")
    assert "test, control" in page["learning-curve"]
    assert "The control differs" not in page["learning-curve"]
    assert "control (random): macro-F1 0.800" in page["learning-curve"]
    assert "Control: strategy random" in page["rounds-and-cost"]


def test_a_control_with_other_data_is_warned_of(finished: Make, run_record: Make, read_report: Make) -> None:
    control = finished("control", data={**run_record()["data"], "digest": "d2"})
    curve = read_report(finished(), control)["learning-curve"]
    assert "other data: the two runs cannot be compared" in curve


def test_a_control_that_differs_in_more_than_its_strategy_is_warned_of(
    finished: Make, run_record: Make, read_report: Make
) -> None:
    control = finished("control", task={**run_record(strategy="random")["task"], "budget": {}})
    assert "more than its strategy: budget." in read_report(finished(), control)["learning-curve"]
