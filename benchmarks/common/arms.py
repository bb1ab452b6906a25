"""The arms: every method, control and ablation as fields of a strategy. An ablation changes one field."""

from typing import Any

Arm = dict[str, Any]

# `auto` before this benchmark: three times as many texts, among which the student chooses.
FORMER: Arm = {"base": "auto", "agree": False, "oversample": 3}
# `gold` before: every round trains a fresh student with symmetric cross-entropy.
FORMER_GOLD: Arm = {"base": "gold", "continue_training": False, "final": None, "objective": {"loss": "sce"}}
# Arms with written texts. Each gets the same number of labelled samples, or `share` times as many.
WRITTEN: dict[str, Arm] = {
    "random": {"base": "random"},  # the control for feedback, analysis and selection
    "zerogen": {"base": "zerogen"},
    "auggpt": {"base": "auggpt"},
    "evokd": {"base": "evokd"},
    "gold": {"base": "gold"},
    "auto": {"base": "auto"},
    "random in steps": {"base": "random", "objective": {"loss": "sce", "alpha": 1.0, "beta": 0.0}},
    "evokd -easy": {"base": "evokd", "hard_share": 1.0},
    "evokd -correct": {"base": "evokd", "shows_right": False},
    "evokd -review": {"base": "evokd", "replay": 0.0},
    "evokd more review": {"base": "evokd", "replay": 3.0},
    "evokd -separation": {"base": "evokd", "blind_labels": False},
    "evokd -analysis": {"base": "evokd", "feedback": "errors"},
    "evokd -feedback": {"base": "evokd", "feedback": "none"},
    "evokd placebo": {"base": "evokd", "shows_wrong": "random"},
    "evokd +init": {"base": "evokd", "paraphrase_rounds": 1},
    "evokd train first": {"base": "evokd", "test_first": False},
    "evokd fresh": {"base": "evokd", "continue_training": False},
    "evokd on diagnose": {"base": "evokd", "probe": "diagnose"},
    "gold -feedback": {"base": "gold", "feedback": "none"},
    "gold -ood": {"base": "gold", "ood_share": 0.0},
    "gold nll": {"base": "gold", "score": "nll"},
    "gold low band": {"base": "gold", "band": [0.0, 0.5]},
    "gold high band": {"base": "gold", "band": [0.8, 1.0]},
    "gold choice": {"base": "gold", "oversample": 3},
    "gold fresh": {"base": "gold", "continue_training": False},
    "gold -final": {"base": "gold", "final": None},
    "gold ce": {"base": "gold", "final": {"loss": "ce"}},
    "former gold": FORMER_GOLD,
    "former gold -feedback": {**FORMER_GOLD, "feedback": "none"},
    "former gold choice": {**FORMER_GOLD, "oversample": 3},
    "former gold ce": {**FORMER_GOLD, "objective": {"loss": "ce"}},
    "auto -agreement": {"base": "auto", "agree": False},
    "auto -analysis": {"base": "auto", "feedback": "errors"},
    "auto -feedback": {"base": "auto", "feedback": "none"},
    "auto -separation": {"base": "auto", "blind_labels": False},
    "auto -critic": {"base": "auto", "critic": "none"},
    "random -critic": {"base": "random", "critic": "none"},
    "labels as written": {"base": "auto", "critic": "none", "blind_labels": False},
    "auto +choice": {"base": "auto", "oversample": 3},
    "auto sce": {"base": "auto", "objective": {"loss": "sce"}},
    "auto soft": {"base": "auto", "objective": {"target": "soft"}},
    "former random": {"base": "random", "agree": False},
    "former random more": {
        "base": "random",
        "agree": False,
        "share": 1.6,
    },  # about as many tokens as `former` takes
    "former random thresholds": {"base": "random", "agree": False, "objective": {"adaptive_selection": {}}},
    "former": FORMER,
    "former -choice": {**FORMER, "oversample": 1},
    "former -critic": {**FORMER, "critic": "none"},
    "former -analysis": {**FORMER, "feedback": "errors"},
    "former choice alone": {**FORMER, "feedback": "none"},
    "former choice by chance": {**FORMER, "selection": "random"},
    "former band": {**FORMER, "feedback": "band"},
    "former five": {**FORMER, "oversample": 5},
    "former soft": {**FORMER, "objective": {"target": "soft"}},
    "former thresholds": {**FORMER, "objective": {"adaptive_selection": {}}},
    # Half of a round, or all of it, is drawn from the user's own texts instead of written.
    "auto +pool": {"base": "auto", "pool_share": 0.5},
    "random +pool": {"base": "random", "pool_share": 0.5},
    "random all pool": {"base": "random", "pool_share": 1.0},
    "zerogen with shots": {"base": "zerogen", "shots": 3},
    "random sce": {"base": "random", "objective": {"loss": "sce"}},
    "random soft": {"base": "random", "objective": {"target": "soft"}},
}


def _llkd(**changed: Any) -> Arm:
    return {"base": "llkd", "objective": {"adaptive_selection": changed}}


_ALL = {"rule": "random", "top": 1.0, "weight": "none"}  # LLKD's training steps, without selection
# Arms that draw from a pool. `share` is the share of its labels that is bought.
POOL: dict[str, Arm] = {
    "whole pool": {"base": "random", "pool_share": 1.0, "critic": "none"},
    "whole pool in steps": _llkd(**_ALL),
    "pool at random": {"base": "random", "pool_share": 1.0, "critic": "none", "share": 0.5},
    "entropy": {"base": "entropy", "oversample": 2, "share": 0.5},
    "least confidence": {"base": "least_confidence", "oversample": 2, "share": 0.5},
    "whole pool soft": {
        "base": "random",
        "pool_share": 1.0,
        "critic": "none",
        "objective": {"target": "soft"},
    },
    "llkd": {"base": "llkd"},
    "llkd ask first": {"base": "llkd", "oversample": 2, "share": 0.5},
    "llkd teacher only": _llkd(gates="teacher"),
    "llkd student only": _llkd(gates="student"),
    "llkd -weights": _llkd(weight="none"),
    "llkd -classes": _llkd(class_rule="none"),
    "llkd mass": _llkd(class_rule="mass"),
    "llkd fixed": _llkd(rule="fixed"),
    "llkd top": _llkd(rule="top"),
    "llkd at random": _llkd(rule="random", weight="none", top=0.4),  # about as many samples as LLKD takes
    "llkd quick": _llkd(decay=0.9),
    "llkd warm": _llkd(warm_up=60),
    "llkd slow": _llkd(decay=0.999, start="uniform"),
    "llkd one pass": _llkd(passes=1),
    "llkd soft": {"base": "llkd", "objective": {"target": "soft", "adaptive_selection": {}}},
}

ARMS = {**WRITTEN, **POOL}
# The control of an ablation is its method; that of a share of the labels is the same share at random.
_HALF = ("entropy", "least confidence", "llkd ask first")
_PARENTS = ("evokd", "gold", "auto", "former gold", "former", "zerogen", "llkd", "random", "whole pool")
CONTROLS = {
    **{arm: next((p for p in _PARENTS if arm.startswith(f"{p} ")), "random") for arm in WRITTEN},
    **{arm: next((p for p in _PARENTS if arm.startswith(f"{p} ")), "whole pool") for arm in POOL},
    **dict.fromkeys(_HALF, "pool at random"),
    "former gold": "random",
    **dict.fromkeys(("former", "former random more", "former random thresholds"), "former random"),
    "former random": "random",
    "random": "",
    "whole pool": "",
}

METHODS = (
    "random",
    "zerogen",
    "auggpt",
    "evokd",
    "gold",
    "auto",
    "whole pool",
    "pool at random",
    "llkd",
    "former random",
    "former",
    "entropy",
    "least confidence",
    "llkd ask first",
    "llkd quick",
)
