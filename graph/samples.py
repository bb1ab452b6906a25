"""Sample tasks: the bundled one, and one of every other kind, made of its texts."""

import json
import random
from importlib.resources import files
from pathlib import Path

from tutelage.graph.config import Task, load_task
from tutelage.student.fields import KindName
from tutelage.student.rows import Row, read_rows

_HERE = Path(str(files("tutelage.graph") / "sample"))
_SETS = ("seed", "diagnose", "gate", "test", "teacher")
_PAIRS_OF_EACH = {"seed": 1, "diagnose": 1, "gate": 1, "test": 1, "teacher": 3}  # with a text as their first


def sample_task(kind: KindName = "classification", folder: Path | None = None) -> Task:
    """A task to try: messages to a small online shop, six queues; of pairs, whether a message
    belongs in a queue that is described.

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
    for name in _SETS:
        rows = read_rows(_HERE / f"{name}.jsonl", list(task.labels))
        made = _pairs(rows, task.labels, _PAIRS_OF_EACH[name], random.Random(name))
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return load_task(folder / "task.yaml")


def _pairs(rows: list[Row], labels: dict[str, str], each: int, chance: random.Random) -> list[dict[str, str]]:
    """Every text with `each` descriptions of a queue, in turn of its own and of another."""
    made = []
    for number in range(each):
        for i, row in enumerate(rows):
            fits = (i + number) % 2 == 0
            queue = row["label"] if fits else chance.choice([x for x in labels if x != row["label"]])
            made.append(
                {"message": row["text"], "queue": labels[queue], "label": "fits" if fits else "other"}
            )
    return made
