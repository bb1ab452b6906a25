"""Named training configurations, which `training: auto` compares out of fold on the user's own rows.

They were chosen by benchmarks/few_rows.py (ours); none of them is the best on every data set.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal

from tutelage.student.errors import InputError
from tutelage.student.training.configuration import TrainingConfig

Training = Literal["plain", "weighted", "probe", "probe_first", "contrastive"]

_MAX_CONTRASTIVE_ROWS = 150  # with more, the other candidates do as well (benchmarks/few_rows.py)
_DEFAULTS: dict[str, Any] = {
    "class_weights": "root",
    "epochs": TrainingConfig.epochs,
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
_BY_TASK_TYPE: dict[str, tuple[Training, ...]] = {
    "classification": ("probe_first", "weighted", "probe", "contrastive"),
    "multilabel": ("plain", "weighted", "probe", "probe_first"),
    "pairs": ("weighted", "plain"),
    "ner": ("plain", "weighted"),
    "seq2seq": ("plain",),
}


def candidates(
    training_config: TrainingConfig, *, fixed: Collection[str] = (), rows: int | None = None
) -> dict[Training, TrainingConfig]:
    """Return the training configurations that are worth comparing; the default is the first.

    Args:
        training_config: the fields that are not compared, and the values of the fixed fields.
        fixed: names of the fields that the user set. They stay as they are, except that `probe` and
            `contrastive` always have 0 epochs. Contradictory and duplicate configurations are left out.
        rows: number of training rows; above 150 `contrastive` is left out. None keeps it.

    Raises:
        InputError: no configuration fits the fixed fields.
    """
    configs: dict[Training, TrainingConfig] = {}
    for name in _names(training_config):
        if name == "contrastive" and rows is not None and rows > _MAX_CONTRASTIVE_ROWS:
            continue
        config = _configured(training_config, name, fixed)
        if config and config not in configs.values():
            configs[name] = config
    if not configs:
        raise InputError("no training configuration fits the fields of `student`; leave some of them out")
    return configs


def configuration(
    training_config: TrainingConfig, name: str, *, fixed: Collection[str] = ()
) -> TrainingConfig:
    """Return a training configuration by its name; "auto" returns the default of the task type.

    Raises:
        InputError: the task type or student mode has no such configuration, or it contradicts a fixed field.
    """
    configs = candidates(training_config, fixed=fixed)
    if name == "auto":
        return next(iter(configs.values()))
    names = _names(training_config)
    if training_config.mode == "full":
        names = (*names, "plain")  # fits every full student, but is not worth comparing for all task types
    for known in names:
        if known == name and (config := _configured(training_config, known, fixed)):
            return config
    raise InputError(
        f"`training: {name}` does not fit this task and the other fields of `student`; take"
        f" {', '.join(configs)} or auto"
    )


def _names(training_config: TrainingConfig) -> tuple[Training, ...]:
    return _BY_TASK_TYPE[training_config.kind] if training_config.mode == "full" else ("weighted",)


def _configured(
    training_config: TrainingConfig, name: Training, fixed: Collection[str]
) -> TrainingConfig | None:
    """Return the named configuration with the fixed fields kept; None if they contradict it."""
    if training_config.mode == "head":
        changes = {"class_weights": _PROBE["class_weights"]}
    else:
        changes = {**_DEFAULTS, **_CONFIGURATIONS[name]}
    if changes.get("probe_first") and "pooling" in fixed and training_config.pooling != "mean":
        return None
    # `probe` and `contrastive` have no epochs; the user's `epochs` apply to the other candidates.
    kept = [field for field in fixed if not (field == "epochs" and changes.get("epochs") == 0)]
    try:
        return replace(
            training_config, **{field: value for field, value in changes.items() if field not in kept}
        )
    except InputError:
        return None
