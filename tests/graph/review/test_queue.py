"""Which texts a person is asked about."""

from collections import Counter
from typing import Literal

from tutelage.graph.review.decisions import Decision, Item
from tutelage.graph.review.queue import Candidate, allowance, chosen, label_uncertainty


def candidate(number: int, *, own: bool = False, weakness: str = "") -> Candidate:
    """Return a text whose uncertainty falls with its number."""
    name = f"{'o' if own else 's'}{number}"
    item = Item(id=name, text=name, own=own, reason="", random=False, near=[])
    return Candidate(item, 1 - number / 100, weakness)


def decision(round: int, action: Literal["accept", "skip", "unseen"]) -> Decision:
    return Decision(id="x", text="x", round=round, own=False, random=False, action=action, at=0.0)


def test_a_label_is_more_uncertain_with_every_witness_against_it() -> None:
    witnesses = [(0.9, 1.0), (0.9, 0.5), (0.6, 0.5), (0.6, 0.1)]
    found = [label_uncertainty(*both) for both in witnesses]
    assert found == sorted(found)
    assert len(set(found)) == 4
    assert label_uncertainty(None, 0.5) == 0.5
    # No witness is believed without limit.
    assert 0 < label_uncertainty(1.0, 1.0) < label_uncertainty(1.0, 0.0) < 1


def test_the_most_uncertain_texts_are_asked_about_first_and_some_at_random() -> None:
    samples = [candidate(number) for number in range(100)]
    items = chosen(samples, [], 20, measured=True, seed="one")
    assert len(items) == 20 == len({item["id"] for item in items})
    drawn = [item["id"] for item in items if item["random"]]
    assert 4 <= len(drawn) <= 5
    others = [item["id"] for item in items if not item["random"]]
    left = [one.item["id"] for one in samples if one.item["id"] not in drawn]
    assert others == left[: len(others)]


def test_a_fifth_is_drawn_at_random_on_average_however_few_texts_a_round_has() -> None:
    samples = [candidate(number) for number in range(30)]
    rounds = [chosen(samples, [], 2, measured=True, seed=str(seed)) for seed in range(400)]
    drawn = sum(item["random"] for items in rounds for item in items)
    assert 0.15 < drawn / (2 * len(rounds)) < 0.25


def test_random_texts_are_drawn_evenly_from_all_samples() -> None:
    samples = [candidate(number) for number in range(10)]
    counts = Counter(
        item["id"]
        for seed in range(500)
        for item in chosen(samples, [], 5, measured=True, seed=str(seed))
        if item["random"]
    )
    assert len(counts) == 10
    assert max(counts.values()) < 2 * min(counts.values())


def test_nothing_is_drawn_at_random_before_there_are_labels_to_measure() -> None:
    items = chosen([candidate(number) for number in range(30)], [], 10, measured=False, seed="one")
    assert [item["id"] for item in items] == [f"s{number}" for number in range(10)]


def test_at_most_a_quarter_are_rows_of_the_user() -> None:
    own = [candidate(number, own=True) for number in range(30)]
    items = chosen([candidate(number) for number in range(30)], own, 20, measured=False, seed="one")
    assert [item["id"] for item in items if item["own"]] == [f"o{number}" for number in range(5)]


def test_each_new_weakness_is_served_by_its_most_uncertain_text() -> None:
    samples = [candidate(number, weakness=f"w{number // 2}") for number in range(20)]
    items = chosen(samples, [], 4, measured=False, seed="one")
    assert [item["id"] for item in items] == ["s0", "s2", "s4", "s6"]


def test_the_budget_is_spread_over_the_rounds_that_are_left() -> None:
    assert allowance(50, [], 1, 3) == 17
    seen = [decision(1, "accept")] * 17
    assert allowance(50, seen, 1, 3) == 0
    assert allowance(50, seen, 2, 3) == 17
    assert allowance(50, [*seen, decision(2, "skip")], 2, 3) == 16
    # Texts that nobody looked at do not count.
    assert allowance(50, [decision(1, "unseen")] * 17, 2, 3) == 25
    assert allowance(5, seen, 2, 3) == 0
