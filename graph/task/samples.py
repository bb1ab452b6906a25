"""Sample tasks: the bundled classification task, and one generated task for each other task type."""

import calendar
import json
import random
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from tutelage.graph.task.load import load_task, merged
from tutelage.graph.task.schema import Task
from tutelage.student.data.rows import normal_form
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.fields import TaskTypeName
from tutelage.student.tasks.registry import TASK_TYPES

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
Made = list[dict[str, Any]]


def sample_task(kind: TaskTypeName = "classification", folder: Path | None = None) -> Task:
    """Return a sample task on messages to a small online shop: the queue that a message belongs in
    (classification), whether it belongs in a given queue (pairs), all queues that it needs (multilabel), the
    entities in it (ner), or its date in ISO format (seq2seq).

    Args:
        kind: the task type.
        folder: where the task is written; must not exist. Without it the bundled classification task is
            returned, which needs no other files.
    """
    task = load_task(_HERE / "task.yaml")
    if folder is None:
        assert kind == "classification", "a generated task needs a folder"
        return task
    folder.mkdir(parents=True)
    source = _HERE / ("task.yaml" if kind == "classification" else f"{kind}.yaml")
    (folder / "task.yaml").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    for name, rows in _MAKERS[kind](task):
        _write(folder / f"{name}.jsonl", rows)
        if TASK_TYPES[kind].generates and name == "teacher":  # no encoder-decoder is bundled
            tiny_seq2seq(folder / "base", [row[key] for row in rows for key in ("text", "target")])
    return load_task(folder / "task.yaml")


def demo_settings(kind: TaskTypeName) -> dict[str, Any]:
    """Return the settings of a task type's demo: `labelled` (rows), `predict` (texts) and `task` (fields)."""
    demos = yaml.safe_load((_HERE / "demo.yaml").read_text(encoding="utf-8"))
    return {**demos[kind], "task": merged(demos["every"], demos[kind]["task"])}


def demo_task(kind: TaskTypeName, folder: Path) -> Task:
    """Return a sample task like most users' tasks: few labelled rows, unlabelled texts and a test set.

    Args:
        kind: the task type.
        folder: where the task is written; must not exist. It appears when it is whole, even if the process
            is killed.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    _write_demo(kind, part)
    part.rename(folder)
    return load_task(folder / "task.yaml")


def _write_demo(kind: TaskTypeName, folder: Path) -> None:
    task, demo = sample_task(kind, folder), demo_settings(kind)
    sets = {name: _read(folder / f"{name}.jsonl") for name in _SETS}
    known, count = [*sets["seed"], *sets["diagnose"]], demo["labelled"]
    corpus = [*known[count:], *sets["gate"], *sets["teacher"]]
    for name in ("seed", "diagnose", "gate"):
        (folder / f"{name}.jsonl").unlink()
    _write(folder / "labelled.jsonl", known[:count])
    _write(folder / "unlabelled.jsonl", [{name: row[name] for name in task.fields} for row in corpus])
    _write(folder / "teacher.jsonl", corpus)
    written = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))  # with relative paths
    raw = merged({**written, "data": {}}, demo["task"])
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
    (folder / "task.yaml").write_text(text, encoding="utf-8")


def _write(path: Path, rows: Made) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def _read(path: Path) -> Made:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _bundled(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield the sets of the classification task."""
    return ((name, _read(_HERE / f"{name}.jsonl")) for name in _SETS)


def _pairs(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield sets of pairs: texts with the description of a queue, alternately their own and another one."""
    for name, rows in _bundled(task):
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
    for name, rows in _bundled(task):
        rng, texts = random.Random(name), []
        for i, row in enumerate(rows):
            others = [x for x in rows if x["label"] != row["label"]]
            parts = [row, rng.choice(others)] if i % 2 else [row]
            text = " ".join(part["text"] for part in parts)
            texts.append({"text": text, "labels": sorted(part["label"] for part in parts)})
        yield name, texts


def _entities(task: Task) -> Iterable[tuple[str, Made]]:
    """Yield sets of messages of one to three sentences with filled placeholders."""
    parts = yaml.safe_load((_HERE / "ner_texts.yaml").read_text(encoding="utf-8"))
    return _unique(_ENTITY_TEXTS, partial(_message, parts, random.Random("entities")))


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
    return _unique(_DATES, partial(_dated, random.Random("dates")))


def _dated(rng: random.Random) -> dict[str, Any]:
    day = date(2010, 1, 1) + timedelta(days=rng.randrange(7300))
    month = calendar.month_name[day.month]
    text = rng.choice(_FRAMES).format(rng.choice(_FORMS).format(day, month, month[:3]))
    return {"text": text, "target": day.isoformat()}


def _unique(counts: Mapping[str, int], make: Callable[[], dict[str, Any]]) -> Iterable[tuple[str, Made]]:
    """Yield sets of these sizes; no text occurs twice."""
    seen = set[str]()
    for name, count in counts.items():
        rows: Made = []
        while len(rows) < count:
            row = make()
            if normal_form(row["text"]) not in seen:
                seen.add(normal_form(row["text"]))
                rows.append(row)
        yield name, rows


_MAKERS: dict[TaskTypeName, Callable[[Task], Iterable[tuple[str, Made]]]] = {
    "classification": _bundled,
    "pairs": _pairs,
    "multilabel": _multilabel,
    "ner": _entities,
    "seq2seq": _dates,
}
