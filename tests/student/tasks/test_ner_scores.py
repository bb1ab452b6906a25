"""Test how answers with named entities are scored, their errors, and corrupted labels."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tutelage.student.evaluation.evaluate import grade
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.spans import Span, spans, written

NER = TASK_TYPES["ner"]
LABELS = ["person", "city"]
TYPES = ["a", "b", "c"]


def label(*found: tuple[int, int, str]) -> str:
    return written(Span(*one) for one in found)


def random_tags(rng: random.Random, size: int, types: list[str], empty: float = 0.4) -> list[str]:
    """Return BIO tags in which every entity begins with B-."""
    tags, kind = [], ""
    for _ in range(size):
        if kind and rng.random() < 0.5:
            tags.append(f"I-{kind}")
            continue
        kind = "" if rng.random() < empty else rng.choice(types)
        tags.append(f"B-{kind}" if kind else "O")
    return tags


def random_label(rng: random.Random, text: str = "one two three four five six seven") -> str:
    return NER.parse_label(random_tags(rng, len(text.split()), TYPES), text, TYPES)


@pytest.mark.parametrize(
    ("gold", "answer", "wanted"),
    [
        ([], [], []),
        ([(0, 5, "a")], [(0, 5, "a")], []),
        ([(0, 5, "a")], [(0, 5, "b")], [("a", "b")]),
        ([(0, 5, "a")], [(0, 9, "a")], [("a", "boundary")]),
        ([(0, 9, "a")], [(0, 3, "a"), (4, 9, "b")], [("a", "boundary")]),
        ([(0, 5, "a")], [(3, 9, "b")], [("a", "b")]),
        ([(0, 5, "a")], [], [("a", "missed")]),
        ([], [(0, 5, "a")], [("a", "invented")]),
        ([(0, 5, "a")], [(0, 5, "a"), (6, 9, "b")], [("b", "invented")]),
        (
            [(0, 1, "a"), (2, 5, "b"), (6, 9, "c")],
            [(0, 1, "b"), (2, 4, "b"), (10, 12, "a")],
            [("a", "b"), ("b", "boundary"), ("c", "missed"), ("a", "invented")],
        ),
        ([(0, 1, "a"), (2, 3, "a")], [(0, 3, "a")], [("a", "boundary"), ("a", "boundary")]),
    ],
    ids=[
        "nothing to find",
        "right",
        "another type",
        "another boundary",
        "its own type before another",
        "another type and boundary",
        "missed",
        "invented",
        "invented beside a right one",
        "one of each",
        "two predicted as one",
    ],
)
def test_errors_are_classified_as_missed_invented_boundary_or_type(
    gold: Any, answer: Any, wanted: list[tuple[str, str]]
) -> None:
    assert NER.error_pairs(label(*gold), label(*answer)) == wanted


def test_every_wrong_answer_and_every_entity_not_found_has_an_error() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        gold, answer = random_label(rng), random_label(rng)
        errors = NER.error_pairs(gold, answer)
        assert bool(errors) == (gold != answer), (gold, answer)
        lost = Counter(one.type for one in {*spans(gold)} - {*spans(answer)})
        assert Counter(kind for kind, other in errors if other != "invented") == lost
        assert all(other in {*TYPES, *NER.error_kinds} - {kind} for kind, other in errors)


def test_a_corrupted_label_is_valid_for_its_text() -> None:
    text, rng = "one two three four five six seven", random.Random(1)
    ways = Counter[str]()
    for _ in range(2000):
        true = random_label(rng, text)
        made = NER.corrupted(true, TYPES, rng.random())
        assert NER.parse_label(NER.to_file(made, text), text, TYPES) == made
        assert all(not (a.end > b.start) for a, b in pairwise(spans(made)))
        assert (made == true) == (true == "[]")
        ways.update(other if other in NER.error_kinds else "type" for _, other in NER.error_pairs(true, made))
    assert {"missed", "type"} <= set(ways)


def test_with_one_type_a_corrupted_label_lacks_an_entity() -> None:
    assert {NER.corrupted(label((0, 3, "a")), ["a"], i / 20) for i in range(20)} == {"[]"}


def test_corruption_is_deterministic() -> None:
    true = label((0, 3, "a"), (4, 7, "b"))
    assert [NER.corrupted(true, TYPES, i / 50) for i in range(50)] == [
        NER.corrupted(true, TYPES, i / 50) for i in range(50)
    ]


GOLD = [label((0, 5, "person"), (6, 10, "city")), "[]", label((0, 4, "person"))]
ANSWERS = [label((0, 5, "person"), (6, 10, "person")), "[]", "[]"]


def test_example_statistics_count_correct_and_predicted_and_gold_entities_of_each_type() -> None:
    statistics = NER.example_statistics([""] * 3, GOLD, ANSWERS, LABELS, "micro_f1")
    # correct, predicted and gold, each for person and city; whether the whole text is right
    assert statistics.tolist() == [[1, 0, 2, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0]]


def test_metrics_match_a_case_worked_out_by_hand() -> None:
    report = grade(NER, [""] * 3, GOLD, ANSWERS, LABELS, "micro_f1")
    assert report["figures"] == pytest.approx(
        {"micro_f1": 2 * 1 / (2 + 3), "macro_f1": (1 / 2 + 0) / 2, "accuracy": 1 / 3}
    )
    assert report["metric"] == report["figures"]["micro_f1"]
    assert report["items"] == pytest.approx([3 / 3, 2 / 3])
    assert report["classes"] == [
        {"label": "person", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"label": "city", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    ]
    assert report["confusion"] == []


@pytest.mark.parametrize(
    "answer", [(0, 4, "person"), (0, 10, "person"), (1, 5, "person"), (0, 5, "city")], ids=str
)
def test_an_entity_is_right_only_with_its_exact_span_and_type(answer: tuple[int, int, str]) -> None:
    figures = grade(NER, [""], [label((0, 5, "person"))], [label(answer)], LABELS, "micro_f1")["figures"]
    assert figures == {"micro_f1": 0.0, "macro_f1": 0.0, "accuracy": 0.0}


def test_without_gold_and_predicted_entities_the_accuracy_is_one() -> None:
    report = grade(NER, ["a"], ["[]"], ["[]"], LABELS, "micro_f1")
    assert report["figures"] == {"micro_f1": 0.0, "macro_f1": 0.0, "accuracy": 1.0}


@pytest.mark.parametrize("seed", range(20))
def test_span_f1_equals_that_of_seqeval(seed: int) -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    rng = random.Random(seed)
    sizes = [rng.randrange(1, 12) for _ in range(rng.choice((3, 40)))]
    gold = [random_tags(rng, size, TYPES[: 1 + seed % 3]) for size in sizes]
    mixed = [rng.choice((tags, random_tags(rng, len(tags), TYPES))) for tags in gold]
    texts = [" ".join(f"w{i}" for i in range(size)) for size in sizes]
    true, given = (
        [NER.parse_label(tags, text, TYPES) for tags, text in zip(side, texts, strict=True)]
        for side in (gold, mixed)
    )
    report = grade(NER, texts, true, given, TYPES, "micro_f1")
    assert report["metric"] == pytest.approx(metrics.f1_score(gold, mixed))
    macro = metrics.f1_score(gold, mixed, average="macro", zero_division=0)
    assert report["figures"]["macro_f1"] == pytest.approx(macro)
    theirs = metrics.classification_report(gold, mixed, output_dict=True, zero_division=0)
    for entry in report["classes"]:
        figures = [entry["precision"], entry["recall"], entry["f1"], entry["support"]]
        other = theirs.get(entry["label"])
        assert figures == pytest.approx(
            [0, 0, 0, 0]
            if other is None
            else [other[key] for key in ("precision", "recall", "f1-score", "support")]
        )
    exact = np.mean([a == b for a, b in zip(gold, mixed, strict=True)])
    assert report["figures"]["accuracy"] == pytest.approx(exact)


def test_an_entity_is_confused_with_the_first_one_that_overlaps_it() -> None:
    answer = '[[0, 3, "b"], [4, 10, "c"]]'
    assert NER.error_pairs('[[0, 10, "a"]]', answer) == [("a", "b")]
