"""Strategies: the fields that each method sets, and how single fields are overridden."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.strategies import STRATEGIES, Strategy
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.variants import varied
from tutelage.student.errors import InputError
from tutelage.student.training.adaptive_selection import AdaptiveSelection
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.losses import Objective

# A published method leaves the student that it trained, on nothing but what its paper says.
PAPER: dict[str, Any] = {"refit": False, "self_training": "off", "control": False}
# All that a method sets; everything else is a default of `Strategy`.
SETTINGS: dict[str, dict[str, Any]] = {
    "auto": {"agree": True, "samples": 200, "critic": "disputed", "stall": 2},
    "evokd": {"probe": "batch", "analyst_examples": 8, "critic": "none", "continue_training": True, **PAPER},
    "gold": {
        "feedback": "band", "ood_share": 0.5, "blind_labels": False, "critic": "none", "length": (10, 400),
        "continue_training": True, "repeat": 1, "replay": "all", "final": Objective(loss="sce"), **PAPER,
    },
    "llkd": {
        "pool_share": 1.0, "feedback": "none", "critic": "none", "samples": 500, "cold_rounds": 0,
        "objective": Objective(adaptive_selection=AdaptiveSelection()), **PAPER,
    },
    "ksm": {
        "pool_share": 1.0, "feedback": "none", "critic": "none", "samples": 500, "cold_rounds": 0,
        "objective": Objective(knowledge=Knowledge()), **PAPER,
    },
    "random": {"feedback": "none", "selection": "random", "agree": True, "control": False},
    "zerogen": {
        "feedback": "none", "selection": "random", "shots": 0, "blind_labels": False, "critic": "none",
        "control": False,
    },
    "auggpt": {
        "feedback": "none", "selection": "random", "paraphrase_rounds": 99, "blind_labels": False,
        "critic": "none", "control": False,
    },
    "entropy": {
        "pool_share": 1.0, "feedback": "none", "critic": "none", "oversample": 4, "cold_rounds": 0,
    },
    "least_confidence": {
        "pool_share": 1.0, "feedback": "none", "critic": "none", "oversample": 4, "cold_rounds": 0,
        "selection": "least_confidence",
    },
}  # fmt: skip


def test_a_method_differs_from_the_defaults_only_in_its_own_settings() -> None:
    plain = Strategy("plain")
    found = {
        name: {
            field.name: getattr(strategy, field.name)
            for field in fields(Strategy)
            if field.name != "name" and getattr(strategy, field.name) != getattr(plain, field.name)
        }
        for name, strategy in STRATEGIES.items()
    }
    assert found == SETTINGS
    assert all(strategy.name == name for name, strategy in STRATEGIES.items())


def test_auto_uses_unlabelled_texts_first_and_chooses_them_at_any_pool_share() -> None:
    def resolved(strategy: Any) -> Strategy:
        raw = sample_task().model_dump(exclude_none=True)
        raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
        return parse_task({**raw, "strategy": strategy}, "task.yaml", Path()).resolved_strategy()

    drawing = {"pool_share": 1.0, "fill_gaps": True, "choose_from": 5000, "cold_rounds": 0}
    drawing |= {"selection": "typical_and_uncertain"}
    assert resolved("auto") == replace(STRATEGIES["auto"], **drawing)
    assert resolved("auto").writes, "texts that the pool lacks are written"
    half = resolved({"base": "auto", "pool_share": 0.5})
    halves = drawing | {"pool_share": 0.5, "fill_gaps": False, "name": "auto (pool_share)"}
    assert half == replace(STRATEGIES["auto"], **halves)
    assert resolved({"base": "auto", "pool_share": 0}) == replace(
        STRATEGIES["auto"], name="auto (pool_share)"
    )
    assert resolved("random") == STRATEGIES["random"]
    assert sample_task().resolved_strategy() == STRATEGIES["auto"], "without a pool all texts are written"


def test_the_defaults_are_the_published_numbers() -> None:
    gold, llkd = STRATEGIES["gold"], STRATEGIES["llkd"].objective.adaptive_selection
    assert (gold.band, gold.score, gold.similar_share) == ((0.5, 0.8), "energy", 0.5)
    assert gold.final == Objective(loss="sce", alpha=0.1, beta=1.0)
    assert llkd == AdaptiveSelection("both", "adaptive", "both", "mean", "mean", decay=0.99, start="batch")
    evokd = STRATEGIES["evokd"]
    assert (evokd.test_first, evokd.blind_labels, evokd.repeat, evokd.hard_share) == (True, True, 3, 0.5)


def test_an_override_changes_one_field_and_nothing_else_also_in_nested_values() -> None:
    made = varied(STRATEGIES["llkd"], {"objective": {"adaptive_selection": {"weight": "none"}}})
    thresholds = replace(AdaptiveSelection(), weight="none")
    objective, name = Objective(adaptive_selection=thresholds), "llkd (objective)"
    assert made == replace(STRATEGIES["llkd"], objective=objective, name=name)
    narrow = varied(STRATEGIES["gold"], {"band": [0.2, 0.5], "samples": 24})
    assert narrow == replace(STRATEGIES["gold"], band=(0.2, 0.5), samples=24, name="gold (band)")
    assert varied(STRATEGIES["gold"], {"samples": 24}).name == "gold"
    with_thresholds = varied(STRATEGIES["evokd"], {"objective": {"adaptive_selection": {"decay": 0.9}}})
    assert with_thresholds.objective == Objective(adaptive_selection=AdaptiveSelection(decay=0.9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardshare": 0.5}, "strategy has no field 'hardshare'; did you mean 'hard_share'?"),
        ({"objective": {"los": "sce"}}, "strategy.objective has no field 'los'; did you mean 'loss'?"),
        (
            {"objective": {"loss": "mse"}},
            "`strategy.objective.loss`: Input should be 'ce' or 'sce'",
        ),
        ({"critic": False}, "`strategy.critic`: Input should be 'all', 'disputed' or 'none', got 'False'"),
        ({"band": [0.8, 0.5]}, "`strategy.band`: the lower end comes first, got [0.8, 0.5]"),
        ({"objective": 3}, "`strategy.objective`"),
    ],
    ids=[
        "unknown field",
        "unknown nested field",
        "unknown value",
        "a boolean",
        "a reversed band",
        "no mapping",
    ],
)  # fmt: skip
def test_an_invalid_override_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="strategy") as raised:
        varied(STRATEGIES["gold"], changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"base": "gold", "objective": {"adaptive_selection": {}}}, "needs the teacher's confidence"),
        ({"base": "zerogen", "objective": {"target": "soft"}}, "needs the teacher's confidence"),
        ({"base": "ksm", "objective": {"loss": "sce"}}, "leave out `objective.loss`"),
        (
            {"base": "ksm", "objective": {"adaptive_selection": {}}},
            "leave out `objective.adaptive_selection`",
        ),
        ({"base": "gold", "objective": {"alpha": float("nan")}}, "`alpha` is nan; it must be a number"),
        ({"base": "gold", "objective": {"alpha": 0, "beta": 0}}, "nothing would be learnt"),
        ({"base": "gold", "objective": {"alpha": 0.01}}, "weigh the parts of `loss: sce`"),
        ({"base": "gold", "final": {"loss": "ce", "beta": 2}}, "weigh the parts of `loss: sce`"),
        ({"base": "ksm", "objective": {"knowledge": {"state": [0, 4]}}}, "must each be at least 1"),
        ({"base": "ksm", "objective": {"knowledge": {"gamma": 7}}}, "`gamma` is 7"),
    ],
)
def test_a_setting_without_effect_or_out_of_range_is_refused(strategy: dict[str, Any], message: str) -> None:
    raw = sample_task().model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    with pytest.raises(InputError) as raised:
        parse_task({**raw, "strategy": strategy}, "task.yaml", Path())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"white_box_teacher": {"base": "minilm"}},
            "`white_box_teacher` is for strategy ksm, and strategy 'auto' does not use it",
        ),
        ({"unlabelled": {"per_label": 3}}, "`data.unlabelled` is always used whole"),
    ],
)
def test_sections_that_a_strategy_does_not_use_are_refused(change: dict[str, Any], message: str) -> None:
    raw = sample_task().model_dump(exclude_none=True)
    pool = change.pop("unlabelled", None)
    if pool:
        raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"], **pool}
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **change}, "task.yaml", Path())
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "head"}, "`mode: head` is trained in seconds by one process; leave `launcher` out"),
        ({"processes": 2}, "leave `processes` or `launcher` out"),
        ({"launcher": "  "}, "expected a command, such as torchrun --standalone --nproc-per-node 2"),
        ({"launcher": "torchrun 'a"}, "expected a command as in a shell: No closing quotation"),
        ({"strategy": "gold"}, "strategy 'gold' (`continue_training: true`) trains a student in one process"),
        ({"strategy": "llkd"}, "strategy 'llkd' (`objective.adaptive_selection`) trains a student in one"),
        ({"strategy": "ksm"}, "strategy 'ksm' (`objective.knowledge`) trains a student in one process"),
    ],
)
def test_a_launcher_for_what_one_process_trains_is_refused(change: dict[str, Any], message: str) -> None:
    raw = sample_task().model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": raw["teacher"]["corpus"]}
    student = {"launcher": "torchrun --standalone --nproc-per-node 2", **change}
    strategy = student.pop("strategy", "auto")
    with pytest.raises(InputError) as raised:
        parse_task({**raw, "student": student, "strategy": strategy}, "task.yaml", Path())
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
