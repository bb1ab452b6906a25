"""`tutelage init`: a commented task.yaml and data stubs to replace."""

import json
from importlib.resources import files
from pathlib import Path

from tutelage.student.errors import InputError

_STUBS = {
    "seed": [
        ("Works as described, I would buy it again.", "positive"),
        ("My daughter has used it every day since her birthday and loves it.", "positive"),
        ("It fell apart in a week.", "negative"),
        ("Nothing like the picture, and far too loud.", "negative"),
    ],
    "diagnose": [
        ("Not bad at all for the price.", "positive"),
        ("Great, another charger that lasts two days.", "negative"),
    ],
    "gate": [
        ("I had doubts, but it does the job.", "positive"),
        ("If you enjoy sending things back, go ahead.", "negative"),
    ],
    "test": [
        ("Sturdy, quiet and quick to set up.", "positive"),
        ("The second one broke as well.", "negative"),
    ],
}


def scaffold(folder: Path) -> list[Path]:
    """Write task.yaml and four data stubs; nothing is overwritten.

    Raises:
        InputError: one of the files is there already, or the folder cannot be written.
    """
    contents = {
        "task.yaml": (files("tutelage.graph") / "sample" / "template.yaml").read_text(encoding="utf-8")
    }
    for name, rows in _STUBS.items():
        contents[f"{name}.jsonl"] = "".join(json.dumps({"text": t, "label": x}) + "\n" for t, x in rows)
    there = [name for name in contents if (folder / name).exists()]
    if there:
        raise InputError(f"{folder / there[0]} exists already; choose another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    return [folder / name for name in contents]
