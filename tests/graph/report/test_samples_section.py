"""The sections about classes, weaknesses and samples."""

from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]


def test_classes_are_listed_weakest_first_with_a_confusion_matrix(
    finished: Make, graded: Make, read_report: Make
) -> None:
    gold, predictions = ["bill"] * 20 + ["praise"] * 20, ["bill"] * 20 + ["praise"] * 12 + ["bill"] * 8
    page = read_report(finished(test=graded(gold, predictions, ["bill", "praise"])))
    assert "praise 1.000 0.600 0.750 20 bill 0.714 1.000 0.833 20" in page["classes"]
    assert "gold ↓ predicted → bill praise bill 20 0 praise 8 12" in page["classes"]
    cells = [("hit", "1.00"), ("none", "0.00"), ("miss", "0.40"), ("hit", "0.60")]
    shaded = [pair for colour, part in cells for pair in (("class", colour), ("style", f"--part: {part}"))]
    assert [pair for pair in page.attributes if pair in shaded] == shaded


def test_more_than_twenty_labels_give_confused_pairs_in_place_of_a_matrix(
    finished: Make, graded: Make, read_report: Make
) -> None:
    labels = [f"label-{i}" for i in range(21)]
    gold = [label for label in labels for _ in range(4)]
    predictions = ["label-1", *gold[1:8], *["label-5"] * 3, *gold[11:]]
    page = read_report(finished(test=graded(gold, predictions, labels)))
    assert "The 2 most confused pairs" in page["classes"]
    assert "label-2 label-5 3 75% label-0 label-1 1 25%" in page["classes"]
    assert ("class", "heat") not in page.attributes


def test_a_weakness_card_has_intervals_history_and_status(finished: Make, read_report: Make) -> None:
    weaknesses = read_report(finished())["weaknesses"]
    assert "1 returned." in weaknesses
    assert "↩ returned bills read as praise plain bill predicted as praise polite bills plain" in weaknesses
    assert "when found 8/20 (22%-61%) after round 1 3/20 (5%-36%) after round 2 6/20" in weaknesses
    assert "9 texts requested, 7 kept" in weaknesses
    assert "regression to the mean" in weaknesses


def test_samples_are_counted_by_status_and_listed_with_their_histories(
    finished: Make, read_report: Make
) -> None:
    samples = read_report(finished())["samples"]
    assert "kept 25 accepted by the critic" in samples
    assert "draft 1 still unfinished when the run stopped" in samples
    assert "refused praise 1 plain 90 Id 000000000000005a" in samples
    assert "Text written by the generator (call 754382cec89c) for bill and w01-1" in samples
    assert "Confidence 0.75 (stated)" in samples
    assert "similarity 0.9500 to a held-out text (0123456789abcdef), which is not shown" in samples
    assert samples.count("written by the generator") == 43
    assert "unlabelled" not in samples


def test_a_line_separator_inside_a_text_does_not_break_the_list_of_samples(
    finished: Make, read_report: Make
) -> None:
    assert "one\u2028two 0" in read_report(finished(text="one\u2028two"))["samples"]
