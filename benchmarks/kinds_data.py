"""Data sets of the other kinds: what the loop reads of them, and what the rehearsal teacher answers from."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from methods_data import Record, records

TASKS = Path(__file__).parent / "tasks"
TOLD = "told"  # the column of a language model's label
KEYS = {"ner": "entities", "multilabel": "labels", "seq2seq": "target"}


def lay(raw: Record, shape: Callable[[Record], Record], place: Path) -> None:
    """Have a task read its sets from `place`, in another shape; records without a label are left out."""
    for which, source in raw["data"].items():
        made = [shape(record) for record in records(TASKS / source["path"])]
        label = source.get("label", KEYS[raw["kind"]])
        write(place / f"{which}.jsonl", [record for record in made if record[label] != ""])
        source["path"] = str(place / f"{which}.jsonl")


def taught(raw: Record, *, human: bool) -> list[Record]:
    """The rows of the file that a task's seeds are drawn from, labelled as those are; `human`: as people did,
    where that is another label.
    """
    source, key = raw["data"]["seed"], KEYS[raw["kind"]]
    columns = {"text": source["text"], key: source.get("label", key)}
    if "rationale" in source:
        columns["rationale"] = source["rationale"]
    if human and columns[key] == TOLD:
        columns[key] = key
    found = records(TASKS / source["path"])
    return [{name: record[column] for name, column in columns.items()} for record in found]


def of_types(raw: Record) -> None:
    """Make of a task of entities the one that asks which types a text has."""
    raw |= {"name": f"{raw['name']}-types", "kind": "multilabel", "metric": "micro_f1"}
    raw["instruction"] = "Say which kinds of things a question about films says of them."
    for source in raw["data"].values():
        source |= {"text": "text", "label": "labels"}


def typed(record: Record) -> Record:
    """The types that a text has."""
    types = {tag[2:] for tag in record["tags"] if tag != "O"}
    return {"text": " ".join(record["tokens"]), "labels": sorted(types)}


def begun(record: Record) -> Record:
    """Tags of which none goes on with what nothing began."""
    tags: list[str] = []
    for tag in record["tags"]:
        alone = tag.startswith("I-") and (tags or ["O"])[-1][2:] != tag[2:]
        tags.append(f"B-{tag[2:]}" if alone else tag)
    return {**record, "tags": tags}


def told(record: Record) -> Record:
    """With what PaLM-540B said, and the human equation written as PaLM writes its own: ((9 + 4) * 2)."""
    [said] = [one for one in record["llm"] if one["model"].startswith("PaLM")]
    human = re.sub(r"(?<=\d)\.0\b|(?<=\() | (?=\))", "", record["target"])
    return {**record, "target": human, TOLD: said["label"].strip(), "reason": said["rationale"]}


SHAPES = {"conll04": begun, "llm_svamp": told, "mit_movie_types": typed}  # the others are read as they stand


def write(path: Path, rows: Sequence[Record]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
