"""Named training configurations: what `training: auto` compares out of fold on the user's own rows.

Chosen by benchmarks/few_rows.py (ours): none of them wins on every data set.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal

from tutelage.student.errors import InputError
from tutelage.student.training.configuration import Recipe

Training = Literal["plain", "weighted", "probe", "probe_first", "contrastive"]

_FEW = 150  # rows; above, contrastive steps bring nothing that others do not (benchmarks/few_rows.py)
_COMMON: dict[str, Any] = {
    "class_weights": "root",
    "epochs": Recipe.epochs,
    "pooling": "cls",
    "probe_first": False,
    "contrastive_steps": 0,
}
_PROBE: dict[str, Any] = {"class_weights": "inverse", "probe_first": True, "epochs": 0}
_CONFIGURATIONS: dict[Training, dict[str, Any]] = {
    "plain": {"class_weights": "none"},
    "weighted": {},
    "probe": _PROBE,
    "probe_first": {"probe_first": True},
    "contrastive": {**_PROBE, "contrastive_steps": 60},
}
_OF_TYPE: dict[str, tuple[Training, ...]] = {
    "classification": ("probe_first", "weighted", "probe", "contrastive"),
    "multilabel": ("plain", "weighted", "probe", "probe_first"),
    "pairs": ("weighted", "plain"),
    "ner": ("plain", "weighted"),
    "seq2seq": ("plain",),
}


def candidates(
    recipe: Recipe, *, fixed: Collection[str] = (), rows: int | None = None
) -> dict[Training, Recipe]:
    """Return the training configurations that are worth comparing, the default one first.

    Args:
        recipe: everything that is not being compared, and the values of the fixed fields.
        fixed: names of the fields that the user set; no configuration changes them, but a probe alone has no
            epochs. A configuration that contradicts one is left out, and so is one that equals another.
        rows: how many there are to train on; above 150 the contrastive one is left out. None keeps it.

    Raises:
        InputError: the fixed fields leave none.
    """
    found: dict[Training, Recipe] = {}
    for name in _names(recipe):
        if name == "contrastive" and rows is not None and rows > _FEW:
            continue
        made = _configured(recipe, name, fixed)
        if made and made not in found.values():
            found[name] = made
    if not found:
        raise InputError("the fields of `student` leave no training configuration; leave some of them out")
    return found


def configuration(recipe: Recipe, name: str, *, fixed: Collection[str] = ()) -> Recipe:
    """Return one training configuration by its name; "auto" is the default one of the task type.

    Raises:
        InputError: the task type or the student's mode has no such configuration, or fixed fields forbid it.
    """
    found = candidates(recipe, fixed=fixed)
    if name == "auto":
        return next(iter(found.values()))
    for known in _names(recipe):
        if known == name and (made := _configured(recipe, known, fixed)):
            return made
    raise InputError(
        f"`training: {name}` does not fit this task and the other fields of `student`; take"
        f" {', '.join(found)} or auto"
    )


def _names(recipe: Recipe) -> tuple[Training, ...]:
    return _OF_TYPE[recipe.kind] if recipe.mode == "full" else ("weighted",)


def _configured(recipe: Recipe, name: Training, fixed: Collection[str]) -> Recipe | None:
    """The recipe with a configuration's fields, but for the fixed ones; None if they contradict it."""
    if recipe.mode == "head":
        changes = {"class_weights": _PROBE["class_weights"]}
    else:
        changes = {**_COMMON, **_CONFIGURATIONS[name]}
    if changes.get("probe_first") and "pooling" in fixed and recipe.pooling != "mean":
        return None
    # A probe alone has no epochs, whatever the user wants of the others.
    kept = [field for field in fixed if not (field == "epochs" and changes.get("epochs") == 0)]
    try:
        return replace(recipe, **{field: value for field, value in changes.items() if field not in kept})
    except InputError:
        return None
