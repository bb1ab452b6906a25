"""The statistics and data conversions of the benchmarks, compared with cases worked out by hand."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

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


def gpu_script(results: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run benchmarks/gpu.py in a process of its own."""
    if not HERE.exists():
        pytest.skip("tests run without the checkout")
    command = [sys.executable, str(HERE / "gpu.py"), "--results", str(results), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_gpu_script_says_so_and_measures_nothing(tmp_path: Path) -> None:
    done = gpu_script(tmp_path / "gpu.jsonl")
    assert done.returncode == 2
    assert done.stderr == "no CUDA device was found; --rehearse runs every part on the CPU\n"
    assert not (tmp_path / "gpu.jsonl").exists()


def test_parts_of_the_gpu_script_that_do_not_fit_are_stored_as_not_run(tmp_path: Path) -> None:
    done = gpu_script(tmp_path / "gpu.jsonl", "--rehearse", "--seconds", "1", "--parts", "tests", "value")
    assert done.returncode == 0
    found = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [(one["part"], one["not_run"]) for one in found] == [
        ("tests", "0 of 1 s were left, and it needs 360"),
        ("value", "0 of 1 s were left, and it needs 240"),
    ]


@pytest.mark.slow
@pytest.mark.long
def test_every_part_of_the_gpu_script_is_rehearsed_without_a_gpu(tmp_path: Path) -> None:
    done = gpu_script(tmp_path / "gpu.jsonl", "--rehearse")
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in (tmp_path / "gpu.jsonl").read_text().splitlines():
        one = json.loads(line)
        assert one.pop("card") == ""
        assert "error" not in one, done.stderr
        found.setdefault(one.pop("part"), []).append(one)
    assert [*found] == ["tests", "training", "round", "throughput", "memory", "value"]
    [tests] = found["tests"]
    assert tests["exit_code"] == 0
    assert re.match("9 skipped", tests["tests"]), "the tests that need a GPU were collected"
    rate, *trainings = found["training"]
    assert [one["model"] for one in trainings] == ["bert-base", "minilm"]
    for one in trainings:
        assert one["share"] == pytest.approx(one["tflops"] / rate["matrix_tflops"], rel=0.5)
    assert [one["seconds"] > 0 for one in found["round"]] == [True]
    assert all(one["embedded_per_second"] and one["predicted_per_second"] for one in found["throughput"])
    assert [one["round"] for one in found["memory"]] == [1, 2]
    assert all(one["highest"] >= one["before"] for one in found["memory"])
    [value] = found["value"]
    assert value.get("not_run") or 0 < value["cell"]["test"] < 1
