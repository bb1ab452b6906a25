"""The benchmarks with recorded answers and with a white-box teacher: data, scores and repeated cells."""

import copy
import operator
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from tutelage.student.data.rows import content_id

HERE = Path(__file__).parent.parent / "benchmarks"
DATA = HERE.parent.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _importable() -> Iterator[None]:
    if not HERE.exists():
        pytest.skip("tests run without the checkout")
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


def test_the_label_of_a_replay_is_that_of_the_model() -> None:
    answers = [{"model": "m", "label": 1, "confidence": 0.8}]
    row = import_module("common.data").recorded({"text": "floods", "label": 0, "llm": answers})
    assert row == {"id": content_id("floods"), "text": "floods", "label": "1", "confidence": 0.8}


def test_a_text_written_by_a_model_has_the_requested_label_and_no_confidence() -> None:
    row = import_module("common.data").recorded({"text": "so bored", "label": "boredom", "model": "gpt-4"})
    assert (row["label"], "confidence" in row) == ("boredom", False)


def test_a_record_with_two_texts_is_read_as_a_pair() -> None:
    data = import_module("common.data")
    pair = {"text_a": "a cat", "text_b": "a dog", "label": "no"}
    assert data.text_of(pair) == "a cat ␞ a dog"
    assert data.fields_of(pair) == ("text_a", "text_b")
    assert data.recorded(pair)["text"] == "a cat ␞ a dog"


@pytest.mark.parametrize(
    "name", ["llm_freeal_mr", "llm_global_warming", "llm_coannotating_mrpc", "llm_esnli"]
)
def test_every_text_of_a_replay_has_a_recorded_label(name: str, tmp_path: Path) -> None:
    if not DATA.exists():
        pytest.skip("the benchmark's data are not here")
    replays = import_module("replays")
    from tutelage.graph.task.splits import load_splits

    data = replays.unpack(name, tmp_path)
    cell = {"task": name, "arm": "llkd ask first", "seed": 0, "student": "head"}
    task = replays.task_of(cell, data, "http://127.0.0.1:1/v1")
    splits, known = load_splits(task), {row["id"] for row in data.recorded}
    assert {row["id"] for row in splits.unlabelled + splits.diagnose} <= known
    assert task.resolved_strategy().samples * task.budget.rounds == 500, "half of what the whole pool takes"
    assert known == set(data.gold)


def test_a_replay_maps_the_labels_of_another_data_set_to_its_own(tmp_path: Path) -> None:
    if not DATA.exists():
        pytest.skip("the benchmark's data are not here")
    from tutelage.graph.task.splits import load_splits

    data = import_module("replays").unpack("llm_s3_rte", tmp_path)
    cell = {"task": "llm_s3_rte", "arm": "whole pool", "seed": 0, "student": "head"}
    splits = load_splits(import_module("replays").task_of(cell, data, "http://127.0.0.1:1/v1"))
    assert len(splits.test) == 5000
    assert sum(row["label"] == "entailment" for row in splits.test) == 1711
    assert {row["label"] for row in data.recorded} == {"entailment", "not_entailment"}


def test_the_score_at_a_number_of_labels_is_interpolated_between_rounds() -> None:
    score_at = import_module("replays_table").score_of
    run = {"by_round": [0.2, 0.4, 0.6], "kept": [0, 100, 96], "accepted": [True] * 3}
    assert score_at(run, 50) == pytest.approx(0.3)
    assert score_at(run, 148) == pytest.approx(0.5)
    assert score_at(run, 200) == 0.6, "196 are near enough"
    assert score_at(run, 250) is None


def test_the_teachers_accuracy_is_its_agreement_with_known_human_labels() -> None:
    agreement = import_module("common.measured").agreement
    labels, gold = {"1": "a", "2": "b", "3": "a"}, {"1": "a", "2": "a"}
    assert agreement(labels, gold, labels) == 0.5
    assert agreement(labels, gold, {"1"}) == 1.0
    assert agreement(labels, gold, {"3"}) is None


def test_arms_of_the_white_box_benchmark_differ_in_weights_or_in_one_field() -> None:
    arms = import_module("whitebox").ARMS
    from tutelage.student.training.knowledge import Knowledge

    made = {name: Knowledge(**fields) for name, fields in arms.items()}
    assert made["learnt"] == Knowledge()
    assert len(set(made.values())) == len(arms), "no two are the same"
    for name, fields in arms.items():
        assert len(fields) == 1 or name == "learnt" or fields["weights"] == "equal", name


def test_a_failed_cell_is_stored_and_run_again_and_a_finished_one_is_not(tmp_path) -> None:
    cells, results = import_module("common.cells"), tmp_path / "results" / "r.jsonl"
    wanted = [{"task": "t", "arm": "a", "setting": "s", "seed": seed, "student": "head"} for seed in (0, 1)]
    results.parent.mkdir()
    cells.write(results, {**wanted[0], "test": 0.5})

    # cell[cache] fails, because a dict is not hashable; copy.deepcopy(cell, cache) gives the cell.
    failed = cells.run_cells(wanted, operator.getitem, results, jobs=1, cache={})
    assert [(cell["seed"], cell["error"][:10]) for cell in failed] == [(1, "TypeError:")]
    assert cells.run_cells(wanted, copy.deepcopy, results, jobs=1, cache={}) == []
    assert [found.get("test", "error" in found) for found in cells.read(results)] == [0.5, True, False]
    assert cells.run_cells(wanted, operator.getitem, results, jobs=1, cache={}) == [], (
        "all cells have a result"
    )
