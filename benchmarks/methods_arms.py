"""Arms: every method, control and ablation as fields of a strategy; an ablation changes one."""

from typing import Any

Arm = dict[str, Any]

# What `auto` was before the benchmark chose: three times as many texts for the student to choose from.
FORMER: Arm = {"base": "auto", "agree": False, "oversample": 3}
# What `gold` was: every round's student a fresh one by symmetric cross-entropy.
FORMER_GOLD: Arm = {"base": "gold", "carry": False, "final": None, "objective": {"loss": "sce"}}
# Texts are written for these; each gets the same number of labelled samples, or `share` times as many.
WRITTEN: dict[str, Arm] = {
    "random": {"base": "random"},  # the control: what feedback, analysis and choice are measured against
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
    "evokd -separation": {"base": "evokd", "label_apart": False},
    "evokd -analysis": {"base": "evokd", "feedback": "errors"},
    "evokd -feedback": {"base": "evokd", "feedback": "none"},
    "evokd placebo": {"base": "evokd", "shows_wrong": "random"},
    "evokd +init": {"base": "evokd", "paraphrase_rounds": 1},
    "evokd train first": {"base": "evokd", "test_first": False},
    "evokd fresh": {"base": "evokd", "carry": False},
    "evokd on diagnose": {"base": "evokd", "probe": "diagnose"},
    "gold -feedback": {"base": "gold", "feedback": "none"},
    "gold -ood": {"base": "gold", "ood_share": 0.0},
    "gold nll": {"base": "gold", "score": "nll"},
    "gold low band": {"base": "gold", "band": [0.0, 0.5]},
    "gold high band": {"base": "gold", "band": [0.8, 1.0]},
    "gold choice": {"base": "gold", "oversample": 3},
    "gold fresh": {"base": "gold", "carry": False},
    "gold -final": {"base": "gold", "final": None},
    "gold ce": {"base": "gold", "final": {"loss": "ce"}},
    "former gold": FORMER_GOLD,
    "former gold -feedback": {**FORMER_GOLD, "feedback": "none"},
    "former gold choice": {**FORMER_GOLD, "oversample": 3},
    "former gold ce": {**FORMER_GOLD, "objective": {"loss": "ce"}},
    "auto -agreement": {"base": "auto", "agree": False},
    "auto -analysis": {"base": "auto", "feedback": "errors"},
    "auto -feedback": {"base": "auto", "feedback": "none"},
    "auto -separation": {"base": "auto", "label_apart": False},
    "auto -critic": {"base": "auto", "critic": "none"},
    "random -critic": {"base": "random", "critic": "none"},
    "labels as written": {"base": "auto", "critic": "none", "label_apart": False},
    "auto +choice": {"base": "auto", "oversample": 3},
    "auto sce": {"base": "auto", "objective": {"loss": "sce"}},
    "auto soft": {"base": "auto", "objective": {"target": "soft"}},
    "former random": {"base": "random", "agree": False},
    "former random more": {
        "base": "random",
        "agree": False,
        "share": 1.6,
    },  # about the tokens that `former` takes
    "former random thresholds": {"base": "random", "agree": False, "objective": {"thresholds": {}}},
    "former": FORMER,
    "former -choice": {**FORMER, "oversample": 1},
    "former -critic": {**FORMER, "critic": "none"},
    "former -analysis": {**FORMER, "feedback": "errors"},
    "former choice alone": {**FORMER, "feedback": "none"},
    "former choice by chance": {**FORMER, "selection": "random"},
    "former band": {**FORMER, "feedback": "band"},
    "former five": {**FORMER, "oversample": 5},
    "former soft": {**FORMER, "objective": {"target": "soft"}},
    "former thresholds": {**FORMER, "objective": {"thresholds": {}}},
    # Half of a round, or all of it, drawn from the user's own texts in place of written.
    "auto +pool": {"base": "auto", "pool_share": 0.5},
    "random +pool": {"base": "random", "pool_share": 0.5},
    "random all pool": {"base": "random", "pool_share": 1.0},
    "zerogen with shots": {"base": "zerogen", "shots": 3},
    "random sce": {"base": "random", "objective": {"loss": "sce"}},
    "random soft": {"base": "random", "objective": {"target": "soft"}},
}


def _llkd(**changed: Any) -> Arm:
    return {"base": "llkd", "objective": {"thresholds": changed}}


_ALL = {"rule": "random", "top": 1.0, "weight": "none"}  # LLKD's steps, with nothing left out
# Texts of a pool; `share` of the labels that the whole pool would take is bought.
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
    "llkd at random": _llkd(rule="random", weight="none", top=0.4),  # about as many as LLKD takes
    "llkd quick": _llkd(decay=0.9),
    "llkd warm": _llkd(warm_up=60),
    "llkd slow": _llkd(decay=0.999, start="uniform"),
    "llkd one pass": _llkd(passes=1),
    "llkd soft": {"base": "llkd", "objective": {"target": "soft", "thresholds": {}}},
}

ARMS = {**WRITTEN, **POOL}
# What each is measured against: an ablation its method, a share of the labels the same share by chance.
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
