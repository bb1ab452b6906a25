"""Replays: data sets with recorded answers of language models, as task.yaml fields and JSONL files."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import ONE, PAIR, Fields, join, split

TASKS = Path(__file__).parent.parent / "tasks"
Record = dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """The size and sources of a replay: `labels` are bought in total, in `rounds` rounds. `written` names
    files of texts that a model wrote. They have only the label they were written for, so buying fewer of them
    saves nothing; the teacher's answers to the user's own texts are not known. `mapped` maps labels to
    others.
    """

    labels: int = 1000
    rounds: int = 4
    written: tuple[str, ...] = ()
    mapped: Mapping[str, str] = field(default_factory=dict)


_WRITTEN = Replay(rounds=10, written=("generated_gpt4", "generated_llama2_70b"))
_TWO_WAY = {"neutral": "not_entailment", "contradiction": "not_entailment"}
REPLAYS = {
    "llm_freeal_mr": Replay(),
    "llm_global_warming": Replay(),
    "llm_coannotating_mrpc": Replay(),
    "llm_esnli": Replay(),
    "llm_aug_crowdflower": _WRITTEN,
    "llm_aug_hyperbole": _WRITTEN,
    "llm_s3_rte": Replay(rounds=10, written=("generated",), mapped=_TWO_WAY),
}


@dataclass(frozen=True)
class Unpacked:
    """The fields of a task.yaml and the rows from which the recorded teacher answers. By text id, `gold` has
    the human label, where there is one, and `author` the model that wrote the text.
    """

    task: dict[str, Any]
    recorded: list[Row]
    gold: dict[str, str]
    author: dict[str, str]

    @property
    def human(self) -> Path:
        """The file of human labels from which the seeds are drawn."""
        return Path(self.task["data"]["seed"]["path"])


def unpack(name: str, folder: Path) -> Unpacked:
    """Write the sets of a replay to `folder`, as lines with the text (or the two texts of a pair) and the
    label. Records to which the model gave no label are left out.
    """
    task = yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
    replay, pool = REPLAYS[name], []
    for which, source in task["data"].items():
        source = {"path": source} if isinstance(source, str) else source
        files = [TASKS / source["path"]]
        if which == "unlabelled" and replay.written:
            files = [files[0].with_name(f"{part}.jsonl.gz") for part in replay.written]
        kept = [record for file in files for record in records(file) if model_answer(record)["label"] != ""]
        pool = kept if which == "unlabelled" else pool
        path = folder / f"{which}.jsonl"
        lines = [{**split(text_of(r), fields_of(r)), "label": mapped_label(r["label"], replay)} for r in kept]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        task["data"][which] = {**source, "path": str(path)}
    rows = [recorded(record) for record in pool]
    pairs = list(zip(rows, pool, strict=True))
    gold = {} if replay.written else {row["id"]: str(record["label"]) for row, record in pairs}
    author = {row["id"]: record["model"] for row, record in pairs if "model" in record}
    return Unpacked(task, rows, gold, author)


def recorded(record: Record) -> Row:
    """Return the row with the label that a model gave to a text, or for which it wrote the text."""
    answer, text = model_answer(record), text_of(record)
    row = Row(id=content_id(text), text=text, label=str(answer["label"]))
    if answer.get("confidence") is not None:
        row["confidence"] = float(answer["confidence"])
    return row


def model_answer(record: Record) -> Record:
    """Return the part with the label that a model gave; in other files, the record itself."""
    [answer] = record.get("llm") or [record]
    return answer


def mapped_label(label: object, replay: Replay) -> str:
    return replay.mapped.get(str(label), str(label))


def text_of(record: Record) -> str:
    """Return the text of a record; the two texts of a pair are joined into one string."""
    return join(record, fields_of(record))


def fields_of(record: Record) -> Fields:
    """Return the names of the fields that make up the text of a record."""
    return PAIR if "text_a" in record else ONE


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a JSONL file, plain or gzipped."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)
