"""Runs side by side: the score of each with its interval, its cost, and the settings that differ."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from tutelage.graph.report.run_section import Run, read_run
from tutelage.graph.review.decisions import waiting_sentence
from tutelage.graph.run_folder.folder import RunFolder, rounds_over
from tutelage.student.errors import InputError

# Parts of a task that are compared as a whole; `data` by the rows that were read, not by the files.
_WHOLE = ("name", "kind", "instruction", "fields", "labels", "data")


class RunEntry(TypedDict):
    """One run of a list.

    `rounds` counts finished rounds. `last_round` is the score of the last one, on diagnose or, with folds,
    out of fold. `test` is the score of the final student on test. `score` is that of the delivered student,
    or of the best student so far, with its 95 % interval from `low` to `high` where it was measured. `gain`
    is the difference to the best student without teacher labels, with its interval. `settings` has what
    differs between the listed runs of the same task, as it is in this run, and `task` if there are several.
    All are None or empty for a run folder that cannot be read; `state` then says why.
    """

    run: str
    task: str
    strategy: str
    rounds: int
    last_round: float | None
    test: float | None
    metric: str | None
    score: float | None
    low: float | None
    high: float | None
    measured_on: str | None
    gain: list[float] | None
    calls: int | None
    tokens: int | None
    cost: float | None
    settings: dict[str, Any]
    state: str


def run_entries(folders: Sequence[RunFolder]) -> list[RunEntry]:
    """Return one entry for each run folder, in their order. A folder that cannot be read has an entry too."""
    runs: list[Run | InputError] = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except InputError as error:  # one bad folder must not hide the others
            runs.append(error)
    settings = iter(_differing_by_task([run for run in runs if isinstance(run, Run)]))
    return [
        _entry(run, next(settings)) if isinstance(run, Run) else _unreadable(folder, run)
        for folder, run in zip(folders, runs, strict=True)
    ]


def differing_settings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return for each run the settings that are not the same in all runs, by their names in `task.yaml`."""
    all_settings = [_settings(run.about) for run in runs]
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    differing = [name for name in names if len({repr(one.get(name)) for one in all_settings}) > 1]
    return [{name: settings.get(name) for name in differing} for settings in all_settings]


def _differing_by_task(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return what differs between the runs of each task; if there are several tasks, also their names."""
    tasks = [run.about["task"]["name"] for run in runs]
    found: list[dict[str, Any]] = [{"task": task} if len(set(tasks)) > 1 else {} for task in tasks]
    for task in set(tasks):
        places = [place for place, name in enumerate(tasks) if name == task]
        for place, settings in zip(places, differing_settings([runs[i] for i in places]), strict=True):
            found[place] |= settings
    return found


def _settings(about: Mapping[str, Any]) -> dict[str, Any]:
    task, data = about["task"], about["data"]
    sizes = ", ".join(f"{size:,} {name}" for name, size in data.items() if name != "digest")
    whole = {
        "task": task["name"],
        "kind": task["kind"],
        "data": f"{sizes} ({data['digest'][:6]})",  # the same numbers of other rows have another digest
        "instruction": task["instruction"],
        "labels": ", ".join(sorted(task["labels"])),
        "descriptions": "; ".join(text for _, text in sorted(task["labels"].items())),
    }
    return whole | _flat({name: value for name, value in task.items() if name not in _WHOLE})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _entry(run: Run, settings: dict[str, Any]) -> RunEntry:
    about, spent = run.about, run.spent
    test = about.get("test")
    entry = {
        "run": str(run.folder.path),
        "task": about["task"]["name"],
        "strategy": about["strategy"]["name"],
        "rounds": rounds_over(run.rounds),
        "last_round": run.rounds[-1]["metric"] if run.rounds else None,
        "test": test["metric"] if test else None,
        "metric": about["task"]["metric"],
        **_score(run),
        "calls": spent["calls"],
        "tokens": spent["prompt_tokens"] + spent["completion_tokens"],
        "cost": spent["cost"],
        "settings": settings,
        "state": about.get("stop") or waiting_sentence(run.folder) or "unfinished",
    }
    return cast(RunEntry, entry)


def _score(run: Run) -> dict[str, Any]:
    """Return the score of a run's student, where it was measured and, if they are known, its interval and
    its gain.
    """
    test, comparison = run.about.get("test"), run.about.get("comparison")
    found: dict[str, Any] = dict.fromkeys(("score", "low", "high", "measured_on", "gain"))
    if comparison and (comparison["measured_on"] == "test" or not test):
        arm = comparison["arms"][-1]
        found |= {name: arm.get(name) for name in ("score", "low", "high", "gain")}
        return found | {"measured_on": comparison["measured_on"]}
    if test:
        return found | {"score": test["metric"], "measured_on": "test"}
    set_name = next((name for name in run.set_names if run.scores(name)), None)
    if set_name is None:
        return found
    return found | {
        "score": run.scores(set_name).get(run.best),
        "measured_on": run.set_title(set_name),
    }


def _unreadable(folder: RunFolder, error: InputError) -> RunEntry:
    unknown: dict[str, Any] = dict.fromkeys(RunEntry.__annotations__)
    known = {"run": str(folder.path), "task": "", "strategy": "", "rounds": 0, "settings": {}}
    return cast(RunEntry, {**unknown, **known, "state": str(error)})
