"""The statistics and data conversions of the benchmarks, compared with cases worked out by hand."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def table() -> Iterator[ModuleType]:
    if not HERE.exists():
        pytest.skip("tests run without the checkout")
    sys.path.insert(0, str(HERE))
    from common import table

    yield table
    sys.path.remove(str(HERE))


def test_every_ablation_is_a_strategy_and_changes_one_field(table: ModuleType) -> None:
    from common.arms import ARMS
    from tutelage.graph.strategies import STRATEGIES
    from tutelage.graph.task.variants import varied

    for name, arm in ARMS.items():
        fields = {key: value for key, value in arm.items() if key not in ("base", "share")}
        made = varied(STRATEGIES[arm["base"]], {**fields, "name": arm["base"]})
        assert bool(fields) == (made != STRATEGIES[arm["base"]]) or name in ("entropy", "least confidence")
        if name.split()[0] in ("evokd", "gold", "auto"):
            assert len(fields) == (name != arm["base"]), name


def test_the_area_is_the_mean_score_over_labels(table: ModuleType) -> None:
    # From 0.2 to 0.4 over 100 labels, then to 0.6 over 50: (30 + 25) / 150.
    assert table.area(
        {"by_round": [0.2, 0.4, 0.6], "kept": [0, 100, 50], "accepted": [True] * 3}
    ) == pytest.approx(55 / 150)


def test_labels_to_a_goal_are_interpolated_between_rounds(table: ModuleType) -> None:
    run = {"by_round": [0.2, 0.4, 0.6], "kept": [0, 100, 50], "accepted": [True] * 3}
    assert table.labels_to(run, 0.3) == pytest.approx(50)
    assert table.labels_to(run, 0.5) == pytest.approx(125)
    assert table.labels_to(run, 0.1) == 0
    assert table.labels_to(run, 0.7) is None


def test_a_round_that_was_rolled_back_does_not_count(table: ModuleType) -> None:
    run = {"by_round": [0.2, 0.6, 0.4], "kept": [0, 100, 100], "accepted": [True, False, True]}
    assert table.promoted(run) == [0.2, 0.2, 0.4]
    assert table.labels_to(run, 0.3) == pytest.approx(150)


def test_a_goal_that_most_seeds_did_not_reach_is_not_reached(table: ModuleType) -> None:
    runs = [{"by_round": [0.2, end], "kept": [0, 100], "accepted": [True, True]} for end in (0.6, 0.4, 0.4)]
    assert table.reach(runs, 0.5) == "not reached (1 of 3)"
    assert table.reach(runs, 0.3) == "50"


def test_two_runs_are_compared_at_the_tokens_of_the_cheaper_run(table: ModuleType) -> None:
    cheap = {"by_round": [0.2, 0.4], "tokens": [10, 90], "accepted": [True, True]}
    dear = {"by_round": [0.2, 0.6], "tokens": [20, 160], "accepted": [True, True]}
    assert table.at_equal_tokens(cheap, dear) == pytest.approx((0.4, 0.2 + 0.4 * 80 / 160))


def test_an_ablation_is_compared_with_its_method(table: ModuleType) -> None:
    from common.arms import ARMS, CONTROLS

    assert CONTROLS["evokd -easy"] == "evokd"
    assert CONTROLS["llkd fixed"] == "llkd"
    assert CONTROLS["gold"] == "random"
    assert CONTROLS["entropy"] == CONTROLS["llkd ask first"] == "pool at random"
    assert set(CONTROLS) == set(ARMS)


def test_an_incomplete_last_line_is_removed(table: ModuleType, tmp_path: Path) -> None:
    from common.cells import read, write

    results = tmp_path / "results.jsonl"
    results.write_text('{"test": 1}\n{"te')
    assert read(results) == [{"test": 1}]
    write(results, {"test": 2})
    assert read(results) == [{"test": 1}, {"test": 2}]


def test_an_entity_without_a_begin_tag_gets_one(table: ModuleType) -> None:
    from kinds_data import with_begin_tags

    tags = ["I-Org", "I-Org", "O", "B-Loc", "I-Loc", "I-Org"]
    assert with_begin_tags({"tags": tags})["tags"] == ["B-Org", "I-Org", "O", "B-Loc", "I-Loc", "B-Org"]


def test_a_human_equation_is_written_in_the_format_of_the_model(table: ModuleType) -> None:
    from kinds_data import with_model_label

    palm = {"model": "PaLM-540B (few-shot)", "label": "(2 * 1.5) ", "rationale": "Twice."}
    other = {"model": "another", "label": "3"}
    found = with_model_label({"target": "( 10.0 - ( 1.05 * 20.0 ) )", "llm": [other, palm]})
    assert (found["target"], found["told"], found["reason"]) == ("(10 - (1.05 * 20))", "(2 * 1.5)", "Twice.")


def test_holm_correction_multiplies_the_smallest_value_most_and_keeps_the_order(table: ModuleType) -> None:
    # 3 · 0.01, then 2 · 0.04, then 1 · 0.05 raised to the one before it.
    found = table.holm({"a": 0.04, "b": 0.01, "c": 0.05})
    assert found == pytest.approx({"b": 0.03, "a": 0.08, "c": 0.08})


def test_the_paired_test_uses_shared_seeds(table: ModuleType) -> None:
    ours = {0: {"test": 0.5}, 1: {"test": 0.7}, 2: {"test": 0.9}}
    control = {0: {"test": 0.4}, 1: {"test": 0.5}}
    gap, p = table.paired(ours, control)
    # Differences 0.1 and 0.2: t = 0.15 / (0.0707 / √2) = 3, p = 1 - 2/π · arctan 3.
    assert gap == pytest.approx(0.15)
    assert p == pytest.approx(0.2048, abs=1e-4)
