"""Sample tasks: the bundled one, and one of every other kind, made of its texts or of parts."""

import calendar
import json
import random
import re
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from tutelage.graph.task.load import load_task
from tutelage.graph.task.schema import Task
from tutelage.student.data.rows import Row, normal, read_rows
from tutelage.student.models.tiny_seq2seq import scratch_writer
from tutelage.student.tasks.fields import KindName

LABELLED = 90  # rows of the demo that count as labelled by the user
_HERE = Path(str(files("tutelage.graph") / "sample"))
_SETS = ("seed", "diagnose", "gate", "test", "teacher")
_PAIRS_OF_EACH = {"seed": 1, "diagnose": 1, "gate": 1, "test": 1, "teacher": 3}  # with a text as their first
_PUT_TOGETHER = {"seed": 15, "diagnose": 60, "gate": 60, "test": 100, "teacher": 600}
_DATES = {"seed": 60, "diagnose": 80, "gate": 80, "test": 150, "teacher": 2000}
_FRAMES = (
    "ordered on {}",
    "I need it by {}",
    "{}",
    "since {}, still nothing",
    "it came on {}",
    "away until {}",
)
_FORMS = ("{0.day} {1} {0.year}", "{1} {0.day}, {0.year}", "{0.day}.{0.month}.{0.year}", "{0.day} {2} {0:%y}")
_GAP = re.compile(r"\{(\w+)\}")
Made = Iterable[dict[str, Any]]


def sample_task(kind: KindName = "classification", folder: Path | None = None) -> Task:
    """A task to try: messages to a small online shop, six queues; of pairs, whether a message belongs in a
    queue that is described; of several labels, all queues a message needs; of named entities, what it speaks
    of.

    Args:
        kind: of the task.
        folder: where a task made of the bundled texts is written; needed for every kind but the first.
    """
    task = load_task(_HERE / "task.yaml")
    if kind == "classification":
        return task
    assert folder, "made of the bundled texts, it has to be written somewhere"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text((_HERE / f"{kind}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for name, rows in _MAKERS[kind](task):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        if kind == "seq2seq" and name == "teacher":
            scratch_writer(folder / "base", [row[key] for row in rows for key in ("text", "target")])
    return load_task(folder / "task.yaml")


def demo_task(kind: KindName, folder: Path) -> Task:
    """A sample task as most users come to one: 90 labelled rows, unlabelled texts, and a test set.

    Args:
        kind: of the task.
        folder: where it is written; must not exist.
    """
    task = sample_task(kind, None if kind == "classification" else folder)
    folder.mkdir(parents=True, exist_ok=True)
    where = _HERE if kind == "classification" else folder
    lines = {name: (where / f"{name}.jsonl").read_text(encoding="utf-8").splitlines() for name in _SETS}
    # The made-up entities are easy: from 90 rows a student knows them as well as any teacher.
    count = 30 if kind == "ner" else LABELLED
    labelled = [*lines["seed"], *lines["diagnose"]][:count]
    rest = [*lines["seed"], *lines["diagnose"]][count:]
    corpus = [*rest, *lines["gate"], *lines["teacher"]]
    parts = {
        "labelled": labelled,
        "unlabelled": [json.dumps(_texts(line, task), ensure_ascii=False) for line in corpus],
        "teacher": corpus,
        "test": lines["test"],
    }
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n", encoding="utf-8")
    raw = task.model_dump(mode="json", exclude_none=True)
    raw["data"] = {name: f"{name}.jsonl" for name in ("labelled", "unlabelled", "test")}
    raw["teacher"] = {**raw["teacher"], "corpus": "teacher.jsonl", "calibrate": 60}
    raw["strategy"] = {"base": "auto", "samples": 150, "soft_texts": 100}
    if kind != "seq2seq":
        # Fixed, as `training: auto` would have found it: comparing takes minutes.
        raw["student"] = {**raw["student"], "training": "weighted", "epochs": 3, "min_steps": 50}
    if kind == "classification":
        raw["strategy"]["self_training"] = "on"
    if kind in ("ner", "seq2seq"):  # whose students take the longest
        raw["data"]["folds"] = 2
        raw["strategy"] |= {"samples": 40, "control": False}
        raw["teacher"] |= {"label_noise": 0.01, "calibrate": 30}
    if kind == "ner":  # a third of the time of 50 steps of 16 texts, and no worse on these
        raw["student"] |= {"batch": 8, "min_steps": 30}
    (folder / "task.yaml").write_text(
        yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    return load_task(folder / "task.yaml")


def _texts(line: str, task: Task) -> dict[str, str]:
    """The texts of a row without its label."""
    return {name: json.loads(line)[name] for name in task.fields}


def _read(task: Task) -> Iterable[tuple[str, list[Row]]]:
    return ((name, read_rows(_HERE / f"{name}.jsonl", list(task.labels))) for name in _SETS)


def _pairs(task: Task) -> Iterable[tuple[str, Made]]:
    """Every text with a description of a queue, or several, in turn of its own and of another."""
    for name, rows in _read(task):
        chance, made = random.Random(name), []
        for number in range(_PAIRS_OF_EACH[name]):
            for i, row in enumerate(rows):
                fits, others = (i + number) % 2 == 0, [x for x in task.labels if x != row["label"]]
                queue = row["label"] if fits else chance.choice(others)
                label = "fits" if fits else "other"
                made.append({"message": row["text"], "queue": task.labels[queue], "label": label})
        yield name, made


def _several(task: Task) -> Iterable[tuple[str, Made]]:
    """Every text, every second one with another of another queue after it."""
    for name, rows in _read(task):
        chance, made = random.Random(name), []
        for i, row in enumerate(rows):
            others = [x for x in rows if x["label"] != row["label"]]
            parts = [row, chance.choice(others)] if i % 2 else [row]
            text = " ".join(part["text"] for part in parts)
            made.append({"text": text, "labels": sorted(part["label"] for part in parts)})
        yield name, made


def _entities(task: Task) -> Iterable[tuple[str, Made]]:
    """Messages of one to three sentences, their gaps filled; none twice, in no two sets."""
    parts = yaml.safe_load((_HERE / "ner_texts.yaml").read_text(encoding="utf-8"))
    chance, seen = random.Random("entities"), set[str]()
    for name, count in _PUT_TOGETHER.items():
        made: list[dict[str, Any]] = []
        while len(made) < count:
            row = _message(parts, chance)
            if normal(row["text"]) not in seen:
                seen.add(normal(row["text"]))
                made.append(row)
        yield name, made


def _message(parts: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    text, found = "", []
    for sentence in chance.sample(parts["sentences"], chance.choice((1, 2, 2, 3))):
        text += " " if text else ""
        place = 0
        for gap in _GAP.finditer(sentence):
            text += sentence[place : gap.start()]
            value = chance.choice(parts["values"][gap[1]])
            found.append({"start": len(text), "end": len(text) + len(value), "type": gap[1], "text": value})
            text, place = text + value, gap.end()
        text += sentence[place:]
    return {"text": text, "entities": found}


def _dates(task: Task) -> Iterable[tuple[str, Made]]:
    """Messages that name a date, which the student is to write in one form."""
    chance, seen = random.Random("dates"), set[str]()
    for name, count in _DATES.items():
        made: list[dict[str, Any]] = []
        while len(made) < count:
            day = date(2010, 1, 1) + timedelta(days=chance.randrange(7300))
            month = calendar.month_name[day.month]
            text = chance.choice(_FRAMES).format(chance.choice(_FORMS).format(day, month, month[:3]))
            if normal(text) not in seen:
                seen.add(normal(text))
                made.append({"text": text, "target": day.isoformat()})
        yield name, made


_MAKERS: dict[KindName, Callable[[Task], Iterable[tuple[str, Made]]]] = {
    "pairs": _pairs,
    "multilabel": _several,
    "ner": _entities,
    "seq2seq": _dates,
}
