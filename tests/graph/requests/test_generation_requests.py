"""Generation requests: how many texts of which label. Weakness cards: what they count."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.analyst import LabelledPrediction, Weakness
from tutelage.graph.requests.generation_requests import apportion, paraphrases, plan_requests
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.strategies import STRATEGIES
from tutelage.graph.weaknesses import cards_before, measure_again, open_cards, rate, read_cards, write_cards
from tutelage.student.data.rows import Row
from tutelage.student.tasks.classification import CLASSIFICATION

RNG = random.Random(0)
F1 = {"a": 1.0, "b": 0.5, "c": 0.0}


def weakness(label: str = "a", confused_with: str = "b", round: int = 1, **parts: Any) -> Weakness:
    made = Weakness(
        id=f"w{round:02d}-{label}{confused_with}", round=round, name="n", hypothesis="h", label=label,
        confused_with=confused_with, evidence=["e"], examples=["x"], found_by="call",
    )  # fmt: skip
    return Weakness(**{**made, **parts})


def predicted(*pairs: str) -> list[LabelledPrediction]:
    return [
        LabelledPrediction(id=str(i), text=pair, label=pair[0], predicted=pair[1])
        for i, pair in enumerate(pairs)
    ]


def test_without_feedback_every_label_gets_the_same_number_of_texts() -> None:
    requests = plan_requests(STRATEGIES["random"], 9, [weakness()], F1, RNG)
    assert [(r["label"], r["kind"], r["count"], r["weakness"]) for r in requests] == [
        ("a", "any", 3, ""), ("b", "any", 3, ""), ("c", "any", 3, ""),
    ]  # fmt: skip


def test_half_of_the_texts_are_for_weaknesses_and_for_both_labels_of_each() -> None:
    requests = plan_requests(STRATEGIES["evokd"], 24, [weakness(), weakness("c", "a")], F1, RNG)
    hard = [r for r in requests if r["kind"] == "hard"]
    assert sum(r["count"] for r in requests) == 24
    assert [(r["weakness"], r["label"], r["count"]) for r in hard] == [
        ("w01-ab", "a", 4), ("w01-ab", "b", 2), ("w01-ca", "c", 4), ("w01-ca", "a", 2),
    ]  # fmt: skip


def test_easy_texts_go_to_weak_labels_minus_their_hard_texts() -> None:
    requests = plan_requests(replace(STRATEGIES["evokd"], hard_share=0.0), 90, [], F1, RNG)
    assert {r["label"]: r["count"] for r in requests} == {"a": 20, "b": 30, "c": 40}
    assert {r["kind"] for r in requests} == {"easy"}
    easy = {
        r["label"]: r["count"]
        for r in plan_requests(STRATEGIES["evokd"], 90, [weakness("c", "b")], F1, RNG)
        if r["kind"] == "easy"
    }
    assert easy["c"] < easy["a"]


def test_without_errors_hard_texts_of_every_label_are_requested() -> None:
    requests = plan_requests(STRATEGIES["evokd"], 60, [], F1, RNG)
    hard = {r["label"]: r["count"] for r in requests if r["kind"] == "hard"}
    assert hard == {"a": 10, "b": 10, "c": 10}
    assert {r["weakness"] for r in requests} == {""}


def test_gold_requests_half_from_another_domain_and_half_of_the_rest_like_the_feedback() -> None:
    def kinds(has_feedback: bool) -> Counter[str]:
        requests = plan_requests(STRATEGIES["gold"], 60, [], F1, RNG, has_feedback=has_feedback)
        labels = Counter[str]()
        for request in requests:
            labels[request["label"]] += request["count"]
        assert labels == {"a": 20, "b": 20, "c": 20}
        return sum((Counter({r["kind"]: r["count"]}) for r in requests), Counter())

    assert kinds(has_feedback=False) == {"ood": 30, "any": 30}
    assert kinds(has_feedback=True) == {"ood": 30, "any": 15, "like": 15}


def test_with_more_labels_than_texts_the_labels_are_drawn_at_random() -> None:
    many = {f"label {i}": 1.0 for i in range(77)}
    served = [
        {r["label"] for r in plan_requests(STRATEGIES["random"], 10, [], many, random.Random(seed))}
        for seed in (1, 2)
    ]
    assert [len(labels) for labels in served] == [10, 10]
    assert served[0] != served[1]


def test_seeds_are_paraphrased_equally_often() -> None:
    seeds = [Row(id=str(i), text=f"text {i}", label="a") for i in range(4)]
    requests = paraphrases(CLASSIFICATION, seeds, 10, RNG)
    assert sum(r["count"] for r in requests) == 10
    assert {r["count"] for r in requests} == {2, 3}
    assert {(r["kind"], r["of"]) for r in requests} == {("paraphrase", row["text"]) for row in seeds}


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_shares_add_up_and_follow_the_weights(count: int) -> None:
    shares = apportion({"a": 1.0, "b": 2.0, "c": 4.0}, count)
    assert sum(shares.values()) == count
    assert shares["a"] <= shares["b"] <= shares["c"]


def test_a_card_counts_all_rows_of_its_label_and_not_only_the_evidence() -> None:
    [card], served = open_cards(CLASSIFICATION, [], [weakness()], predicted("ab", "ab", "aa", "ac", "bb"))
    assert (card["support"], card["errors"], served) == (4, 2, ["w01-ab"])


def test_a_weakness_is_cured_at_half_its_errors_and_returned_when_they_come_back() -> None:
    cards, _ = open_cards(CLASSIFICATION, [], [weakness()], predicted("ab", "ab", "aa"))
    for round, pairs, status in (
        (1, ("ab", "ab", "aa"), "open"),
        (2, ("ab", "aa", "aa"), "cured"),
        (3, ("ab", "ab", "ab"), "returned"),
    ):  # fmt: skip
        cards = measure_again(CLASSIFICATION, cards, predicted(*pairs), round)
        assert cards[0]["status"] == status
    assert cards[0]["history"] == [[1, 2], [2, 1], [3, 3]]
    [card] = cards_before(cards, 3)
    assert (card["history"], card["status"]) == ([[1, 2], [2, 1]], "cured"), "as it stood before round 3"
    assert measure_again(CLASSIFICATION, cards, predicted("ab", "ab", "ab"), 3) == cards, (
        "measuring the same predictions again changes nothing"
    )


def test_a_pair_that_is_found_again_keeps_its_card_with_the_new_hypothesis() -> None:
    cards, _ = open_cards(CLASSIFICATION, [], [weakness()], predicted("ab", "ab"))
    again = weakness(round=2, hypothesis="sharper")
    cards, served = open_cards(CLASSIFICATION, cards, [again], predicted("ab"))
    assert served == ["w01-ab"]
    assert [(c["hypothesis"], c["errors"], c["found_in"]) for c in cards] == [("sharper", 2, [1, 2])]
    assert cards_before(cards, 2)[0]["found_in"] == [1]
    assert cards_before(cards, 1) == []


def test_cards_can_be_written_and_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_cards(folder) == []
    cards, _ = open_cards(CLASSIFICATION, [], [weakness(hypothesis="naïve “quotes”")], predicted("ab"))
    write_cards(folder, cards)
    assert read_cards(folder) == cards


def test_a_rate_is_printed_with_its_interval() -> None:
    assert rate(5, 10) == "5/10 (24%-76%)"
