"""Test how several labels of a text, or none, are parsed, shown and scored."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.schemas import drafts_schema, labels_schema
from tutelage.student.data.readers import Columns, HubSplit, read_hub, read_rows
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import grade, p_value_worse
from tutelage.student.tasks.multilabel import INVENTED, MISSED, MULTILABEL, written

LABELS = ["room", "food", "staff"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (["staff", "room"], '["room", "staff"]'),
        (["room", "room"], '["room"]'),
        ([], "[]"),
        ('["staff", "food"]', '["food", "staff"]'),
        (" [] ", "[]"),
        ("staff|food", '["food", "staff"]'),
        (" staff | food | ", '["food", "staff"]'),
        ("room", '["room"]'),
        ("", "[]"),
    ],
)
def test_labels_are_parsed_from_a_list_or_json_or_text_separated_by_bars(value: object, label: str) -> None:
    assert MULTILABEL.parse_label(value, "text", LABELS) == label


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, 'is int, expected a list of labels, such as [] or ["a", "b"]'),
        (None, "is NoneType, expected a list of labels"),
        ({"room": 1}, "is dict, expected a list of labels"),
        (["room", 3], "is 3, expected the name of a label"),
        ([["room"]], "is list, expected the name of a label"),
        (["romo"], "'romo' is not one of the task's 3 labels; did you mean 'room'?"),
        ("food|wine", "'wine' is not one of the task's 3 labels; add it to `labels` in task.yaml"),
        ("room,food", "'room,food' is not one of the task's 3 labels"),
        ('["food"', "'[\"food\"' is not a JSON list"),
    ],
)
def test_invalid_labels_are_reported_in_one_line_with_their_place(
    tmp_path: Path, value: object, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a", "labels": value}) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(path, LABELS, task_type=MULTILABEL)
    assert str(raised.value).startswith(f"{path} line 1: labels {message}")
    assert "\n" not in str(raised.value)


def test_a_csv_can_hold_labels_separated_by_bars_or_as_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('review,about\nGood soup.,food\nBoth.,room|food\nTrain.,\nAll,"[""staff"", ""room""]"\n')
    rows = read_rows(path, LABELS, task_type=MULTILABEL, columns=Columns(("review",), "about"))
    assert [json.loads(row["label"]) for row in rows] == [["food"], ["food", "room"], [], ["room", "staff"]]


def test_lists_of_class_numbers_of_a_data_set_become_label_names(tmp_path: Path) -> None:
    records = [{"text": "Cold soup.", "labels": [1]}, {"text": "Both.", "labels": [2, 0]}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    names = "\n".join(f"          '{i}': {name}" for i, name in enumerate(LABELS))
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: labels\n"
        f"    list:\n      class_label:\n        names:\n{names}\n---\n"
    )
    rows = read_hub(HubSplit(str(tmp_path)), LABELS, task_type=MULTILABEL)
    assert [row["label"] for row in rows] == ['["food"]', '["room", "staff"]']


def test_labels_are_lists_in_payloads_and_files_and_separated_by_commas_in_text() -> None:
    for label, names, words in (('["food", "room"]', ["food", "room"], "food, room"), ("[]", [], "none")):
        assert MULTILABEL.to_payload(label, "text") == MULTILABEL.to_file(label, "text") == names
        assert MULTILABEL.to_text(label, "text") == words
        assert MULTILABEL.parse_reply(names[::-1], "text") == MULTILABEL.fit_to_text(label, "other") == label


def test_a_text_belongs_to_each_of_its_labels_or_to_the_group_without_labels() -> None:
    assert MULTILABEL.labels_in('["food", "room"]') == ["food", "room"]
    assert MULTILABEL.labels_in("[]") == [""]


@pytest.mark.parametrize(
    ("gold", "answer", "errors"),
    [
        (["food"], ["food"], []),
        ([], [], []),
        (["food", "room"], ["food"], [("room", MISSED)]),
        (["food", "room"], [], [("food", MISSED), ("room", MISSED)]),
        (["food"], ["food", "room", "staff"], [("room", INVENTED), ("staff", INVENTED)]),
        (["food"], ["room"], [("food", "room")]),
        (["food", "room"], ["staff", "room"], [("food", "staff")]),
        (["food", "room"], ["staff"], [("food", "staff"), ("room", "staff")]),
    ],
)
def test_an_error_is_a_missed_or_invented_or_confused_label(
    gold: list[str], answer: list[str], errors: list[tuple[str, str]]
) -> None:
    assert MULTILABEL.error_pairs(written(gold), written(answer)) == errors


@pytest.mark.parametrize("own", [[], ["room"], ["food", "room"], LABELS], ids=len)
def test_a_corrupted_label_adds_and_removes_at_most_one_label(own: list[str]) -> None:
    found = [MULTILABEL.corrupted(written(own), LABELS, i / 500) for i in range(500)]
    for label in found:
        given = json.loads(label)
        assert label == written(given) != written(own)
        assert set(given) <= set(LABELS)
        assert len(set(own) - set(given)) <= 1
        assert len(set(given) - set(own)) <= 1
    assert found == [MULTILABEL.corrupted(written(own), LABELS, i / 500) for i in range(500)]
    sizes = {len(json.loads(label)) - len(own) for label in found}
    assert sizes == ({1} if not own else {-1} if own == LABELS else {-1, 0, 1})


def test_the_reply_schema_asks_for_a_list_of_known_labels() -> None:
    reply = {"id": "1", "reason": "r", "confidence": 0.5}
    given = [{**reply, "labels": ["food", "room"]}, {**reply, "labels": []}, {**reply, "labels": ["wine"]}]
    found, problems = labels_schema(LABELS, MULTILABEL).read(json.dumps({"labels": given}))
    assert [one.item.labels for one in found] == [["food", "room"], []]  # type: ignore[attr-defined]
    assert len(problems) == 1
    assert problems[0].startswith("labels[2].labels.0")
    assert MULTILABEL.choice_count(LABELS) == 2


def test_a_draft_written_with_its_labels_has_them_last_and_can_have_none() -> None:
    reply_schema = drafts_schema([*LABELS, *MULTILABEL.no_label], task_type=MULTILABEL, with_labels=True)
    fields = {"label": "", "kind": "any", "weakness": ""}
    good = {**fields, "text": "We came by train.", "labels": []}
    both = {**fields, "label": "food", "text": "Cold soup, no window.", "labels": ["food", "room"]}
    found, problems = reply_schema.read(
        json.dumps({"drafts": [good, both, {**fields, "text": "No labels."}]})
    )
    assert [(one.item.requested, one.item.written) for one in found] == [
        ("", "We came by train."),
        ("food", "Cold soup, no window."),
    ]
    assert [problem.split(":")[0] for problem in problems] == ["drafts[2].labels"]
    schema = reply_schema.json_schema["properties"]["drafts"]["items"]  # type: ignore[index]
    assert schema["required"] == ["label", "kind", "weakness", "text", "labels"]


def test_only_multilabel_metrics_are_accepted() -> None:
    assert [MULTILABEL.check_metric(name) for name in ("macro_f1", "micro_f1", "accuracy")] == ["", "", ""]
    assert MULTILABEL.check_metric("bleu") == "expected one of macro_f1, micro_f1, accuracy, got 'bleu'"


GOLD = [written(x) for x in (["room", "food"], ["room"], [], ["food", "staff"])]
ANSWERS = [written(x) for x in (["room"], ["room", "food"], [], ["food"])]


def graded(gold: Sequence[str], answers: Sequence[str], labels: Sequence[str], metric: str) -> Any:
    return grade(MULTILABEL, [""] * len(gold), gold, answers, labels, metric)


def test_example_statistics_count_correct_and_predicted_and_gold_labels_and_exact_matches() -> None:
    statistics = MULTILABEL.example_statistics([""] * 4, GOLD, ANSWERS, LABELS, "macro_f1")
    assert statistics.tolist() == [
        [1, 0, 0, 1, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 1, 1, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0, 0, 1, 1, 0],
    ]


def test_metrics_match_a_case_worked_out_by_hand() -> None:
    report = graded(GOLD, ANSWERS, [*LABELS, "nowhere"], "macro_f1")
    f1 = {"room": 2 * 2 / (2 + 2), "food": 2 * 1 / (2 + 2), "staff": 2 * 0 / (0 + 1)}
    assert report["metric"] == report["figures"]["macro_f1"] == pytest.approx(sum(f1.values()) / 3)
    assert report["figures"]["micro_f1"] == pytest.approx(2 * 3 / (4 + 5))
    assert report["figures"]["accuracy"] == 1 / 4  # only the text without labels is answered exactly
    assert report["items"] == [5 / 4, 4 / 4]
    assert [one["f1"] for one in report["classes"]] == pytest.approx([*f1.values(), 0])
    assert [one["support"] for one in report["classes"]] == [2, 2, 1, 0]
    assert (report["size"], report["confusion"]) == (4, [])


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "accuracy"])
def test_a_test_set_without_labels_or_texts_gives_no_nan(metric: str) -> None:
    assert graded([], [], LABELS, metric)["metric"] == 0
    assert graded(["[]"], ["[]"], LABELS, metric)["metric"] == (1 if metric == "accuracy" else 0)


def drawn(seed: int, size: int = 40) -> tuple[list[str], list[str], list[str]]:
    """Return labels, one of which never occurs, gold sets, and answers of which about half are right."""
    rng, labels = random.Random(seed), [f"l{i}" for i in range(6)]
    sets = [[written(x for x in labels[:5] if rng.random() < 0.3) for _ in range(size)] for _ in "ab"]
    return labels, sets[0], [rng.choice(pair) for pair in zip(*sets, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_sklearn(seed: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    labels, gold, answers = drawn(seed)
    true, given = (
        np.array([[label in json.loads(x) for label in labels] for x in part]) for part in (gold, answers)
    )
    there = [i for i in range(len(labels)) if (true | given)[:, i].any()]
    assert there == [0, 1, 2, 3, 4]
    expected = {
        "macro_f1": f1_score(true, given, average="macro", labels=there, zero_division=0),
        "micro_f1": f1_score(true, given, average="micro", zero_division=0),
        "accuracy": accuracy_score(true, given),
    }
    report = graded(gold, answers, labels, "macro_f1")
    assert report["figures"] == pytest.approx(expected)
    each = f1_score(true, given, average=None, zero_division=0)
    assert [one["f1"] for one in report["classes"]] == pytest.approx(list(each))


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "accuracy"])
def test_the_bootstrap_tells_better_answers_from_worse_ones(metric: str) -> None:
    labels, gold, answers = drawn(0)
    worse, better = (MULTILABEL.example_statistics(gold, gold, x, labels, metric) for x in (answers, gold))
    assert p_value_worse(MULTILABEL, worse, better, metric, draws=100) == 1
    assert p_value_worse(MULTILABEL, better, worse, metric, draws=100) == 0
