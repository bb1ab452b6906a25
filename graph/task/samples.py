"""Sample tasks: the bundled classification task, and one generated task for each other task type."""

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
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.fields import TaskTypeName

LABELLED = 90  # rows of the demo that serve as the user's labelled rows
_HERE = Path(str(files("tutelage.graph") / "sample"))
_SETS = ("seed", "diagnose", "gate", "test", "teacher")
_PAIRS_PER_TEXT = {"seed": 1, "diagnose": 1, "gate": 1, "test": 1, "teacher": 3}
_ENTITY_TEXTS = {"seed": 15, "diagnose": 60, "gate": 60, "test": 100, "teacher": 600}
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
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
Made = Iterable[dict[str, Any]]


def sample_task(kind: TaskTypeName = "classification", folder: Path | None = None) -> Task:
    """Return a sample task on messages to a small online shop: the queue that a message belongs in
    (classification), whether it belongs in a given queue (pairs), all queues that it needs (multilabel), the
    entities in it (ner), or its date in ISO format (seq2seq).

    Args:
        kind: the task type.
        folder: where the task is written; must not exist. Not needed for classification.
    """
    task = load_task(_HERE / "task.yaml")
    if kind == "classification":
        return task
    assert folder, "a generated task needs a folder"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text((_HERE / f"{kind}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for name, rows in _MAKERS[kind](task):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        if kind == "seq2seq" and name == "teacher":
            tiny_seq2seq(folder / "base", [row[key] for row in rows for key in ("text", "target")])
    return load_task(folder / "task.yaml")


def demo_task(kind: TaskTypeName, folder: Path) -> Task:
    """Return a sample task like most users' tasks: few labelled rows, unlabelled texts and a test set.

    Args:
        kind: the task type.
        folder: where the task is written; must not exist.
    """
    task = sample_task(kind, None if kind == "classification" else folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = _HERE if kind == "classification" else folder
    lines = {name: (source / f"{name}.jsonl").read_text(encoding="utf-8").splitlines() for name in _SETS}
    # The generated entities are easy: trained on 90 rows, a student is as good as any teacher.
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
        # What `training: auto` would choose; the comparison would take minutes.
        raw["student"] = {**raw["student"], "training": "weighted", "epochs": 3, "min_steps": 50}
    if kind == "classification":
        raw["strategy"]["self_training"] = "on"
    if kind in ("ner", "seq2seq"):  # their students take longest to train
        raw["data"]["folds"] = 2
        raw["strategy"] |= {"samples": 40, "control": False}
        raw["teacher"] |= {"label_noise": 0.01, "calibrate": 30}
    if kind == "ner":  # takes a third of the time of 50 steps with batches of 16, with no lower score
        raw["student"] |= {"batch": 8, "min_steps": 30}
    (folder / "task.yaml").write_text(
        yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    return load_task(folder / "task.yaml")


def _texts(line: str, task: Task) -> dict[str, str]:
    """Return the text fields of a JSON line, without its label."""
    return {name: json.loads(line)[name] for name in task.fields}


def _read(task: Task) -> Iterable[tuple[str, list[Row]]]:
    return ((name, read_rows(_HERE / f"{name}.jsonl", list(task.labels))) for name in _SETS)


def _pairs(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield sets of pairs: texts with the description of a queue, alternately their own and another one."""
    for name, rows in _read(task):
        rng, pairs = random.Random(name), []
        for number in range(_PAIRS_PER_TEXT[name]):
            for i, row in enumerate(rows):
                fits, others = (i + number) % 2 == 0, [x for x in task.labels if x != row["label"]]
                queue = row["label"] if fits else rng.choice(others)
                label = "fits" if fits else "other"
                pairs.append({"message": row["text"], "queue": task.labels[queue], "label": label})
        yield name, pairs


def _multilabel(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield sets of texts; every second one is followed by a text of another queue, and has both labels."""
    for name, rows in _read(task):
        rng, texts = random.Random(name), []
        for i, row in enumerate(rows):
            others = [x for x in rows if x["label"] != row["label"]]
            parts = [row, rng.choice(others)] if i % 2 else [row]
            text = " ".join(part["text"] for part in parts)
            texts.append({"text": text, "labels": sorted(part["label"] for part in parts)})
        yield name, texts


def _entities(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield sets of messages of one to three sentences with filled placeholders; every message is unique."""
    parts = yaml.safe_load((_HERE / "ner_texts.yaml").read_text(encoding="utf-8"))
    rng, seen = random.Random("entities"), set[str]()
    for name, count in _ENTITY_TEXTS.items():
        rows: list[dict[str, Any]] = []
        while len(rows) < count:
            row = _message(parts, rng)
            if normal(row["text"]) not in seen:
                seen.add(normal(row["text"]))
                rows.append(row)
        yield name, rows


def _message(parts: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    text, spans = "", []
    for sentence in rng.sample(parts["sentences"], rng.choice((1, 2, 2, 3))):
        text += " " if text else ""
        place = 0
        for gap in _PLACEHOLDER.finditer(sentence):
            text += sentence[place : gap.start()]
            value = rng.choice(parts["values"][gap[1]])
            spans.append({"start": len(text), "end": len(text) + len(value), "type": gap[1], "text": value})
            text, place = text + value, gap.end()
        text += sentence[place:]
    return {"text": text, "entities": spans}


def _dates(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield sets of messages that contain a date; the target is the date in ISO format."""
    rng, seen = random.Random("dates"), set[str]()
    for name, count in _DATES.items():
        rows: list[dict[str, Any]] = []
        while len(rows) < count:
            day = date(2010, 1, 1) + timedelta(days=rng.randrange(7300))
            month = calendar.month_name[day.month]
            text = rng.choice(_FRAMES).format(rng.choice(_FORMS).format(day, month, month[:3]))
            if normal(text) not in seen:
                seen.add(normal(text))
                rows.append({"text": text, "target": day.isoformat()})
        yield name, rows


_MAKERS: dict[TaskTypeName, Callable[[Task], Iterable[tuple[str, Made]]]] = {
    "pairs": _pairs,
    "multilabel": _multilabel,
    "ner": _entities,
    "seq2seq": _dates,
}
