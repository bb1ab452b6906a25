"""Replays: data sets with what language models once said of them, as task.yaml and JSONL in a folder."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import ONE, PAIR, Fields, join, split

TASKS = Path(__file__).parent / "tasks"
Record = dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """What a replay buys: `labels` in all, in `rounds`; `written` texts have no label but the one they were
    written for, so that buying fewer of them saves nothing, and the teacher's answers to the user's own
    texts are not known. Labels in `folded` count as the one they are mapped to.
    """

    labels: int = 1000
    rounds: int = 4
    written: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)


_WRITTEN = Replay(rounds=10, written=("generated_gpt4", "generated_llama2_70b"))
_TWO_WAY = {"neutral": "not_entailment", "contradiction": "not_entailment"}
REPLAYS = {
    "llm_freeal_mr": Replay(),
    "llm_global_warming": Replay(),
    "llm_coannotating_mrpc": Replay(),
    "llm_esnli": Replay(),
    "llm_aug_crowdflower": _WRITTEN,
    "llm_aug_hyperbole": _WRITTEN,
    "llm_s3_rte": Replay(rounds=10, written=("generated",), folded=_TWO_WAY),
}


@dataclass(frozen=True)
class Unpacked:
    """Fields of a task.yaml, the rows a recorded teacher answers from, and by text id the human label (where
    there is one) and the model that wrote the text.
    """

    task: dict[str, Any]
    recorded: list[Row]
    gold: dict[str, str]
    author: dict[str, str]

    @property
    def human(self) -> Path:
        """The file of human labels that the seeds are drawn from."""
        return Path(self.task["data"]["seed"]["path"])


def unpack(name: str, folder: Path) -> Unpacked:
    """Write a replay's sets as lines of text, or of the two of a pair, and label under `folder`; what the
    model gave no label is left out.
    """
    task = yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
    replay, pool = REPLAYS[name], []
    for which, source in task["data"].items():
        source = {"path": source} if isinstance(source, str) else source
        files = [TASKS / source["path"]]
        if which == "unlabelled" and replay.written:
            files = [files[0].with_name(f"{part}.jsonl.gz") for part in replay.written]
        found = [record for file in files for record in records(file) if said(record)["label"] != ""]
        pool = found if which == "unlabelled" else pool
        path = folder / f"{which}.jsonl"
        lines = [{**split(text_of(r), fields_of(r)), "label": folded(r["label"], replay)} for r in found]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        task["data"][which] = {**source, "path": str(path)}
    rows = [recorded(record) for record in pool]
    told = list(zip(rows, pool, strict=True))
    gold = {} if replay.written else {row["id"]: str(record["label"]) for row, record in told}
    author = {row["id"]: record["model"] for row, record in told if "model" in record}
    return Unpacked(task, rows, gold, author)


def recorded(record: Record) -> Row:
    """What a language model said of a text; of one it wrote, the label it was to write it for."""
    answer, text = said(record), text_of(record)
    row = Row(id=content_id(text), text=text, label=str(answer["label"]))
    if answer.get("confidence") is not None:
        row["confidence"] = float(answer["confidence"])
    return row


def said(record: Record) -> Record:
    """What has the label that a model gave or wrote for; in a file of human labels, the record itself."""
    [answer] = record.get("llm") or [record]
    return answer


def folded(label: object, replay: Replay) -> str:
    return replay.folded.get(str(label), str(label))


def text_of(record: Record) -> str:
    """The text; of a pair, both as one string."""
    return join(record, fields_of(record))


def fields_of(record: Record) -> Fields:
    """What a record's text consists of."""
    return PAIR if "text_a" in record else ONE


def records(path: Path) -> Iterator[Record]:
    """Of a file of lines, as it stands or in gzip."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)
