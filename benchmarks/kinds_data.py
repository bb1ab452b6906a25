"""Convert the data sets of the other task types, for the loop and for the rehearsal teacher."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from common.data import Record, records

TASKS = Path(__file__).parent / "tasks"
MODEL_LABEL = "told"  # the column with the label that a language model gave
KEYS = {"ner": "entities", "multilabel": "labels", "seq2seq": "target"}


def convert_sets(raw: Record, shape: Callable[[Record], Record], place: Path) -> None:
    """Write the sets of a task to `place`, converted by `shape` and without unlabelled records, and
    point the task at the converted files.
    """
    for which, source in raw["data"].items():
        made = [shape(record) for record in records(TASKS / source["path"])]
        label = source.get("label", KEYS[raw["kind"]])
        write(place / f"{which}.jsonl", [record for record in made if record[label] != ""])
        source["path"] = str(place / f"{which}.jsonl")


def teacher_rows(raw: Record, *, human: bool) -> list[Record]:
    """Return all rows of the file that a task's seeds come from, with the labels of the seeds; with `human`,
    use the human labels where the two differ.
    """
    source, key = raw["data"]["seed"], KEYS[raw["kind"]]
    columns = {"text": source["text"], key: source.get("label", key)}
    if "rationale" in source:
        columns["rationale"] = source["rationale"]
    if human and columns[key] == MODEL_LABEL:
        columns[key] = key
    rows = records(TASKS / source["path"])
    return [{name: record[column] for name, column in columns.items()} for record in rows]


def to_multilabel(raw: Record) -> None:
    """Turn a task of entities into a multi-label task: which entity types does a text contain?"""
    raw |= {"name": f"{raw['name']}-types", "kind": "multilabel", "metric": "micro_f1"}
    raw["instruction"] = "Say which kinds of things a question about films says of them."
    for source in raw["data"].values():
        source |= {"text": "text", "label": "labels"}


def with_entity_types(record: Record) -> Record:
    """Return the text of a record with the set of its entity types."""
    types = {tag[2:] for tag in record["tags"] if tag != "O"}
    return {"text": " ".join(record["tokens"]), "labels": sorted(types)}


def with_begin_tags(record: Record) -> Record:
    """Return the record with every I- tag that continues no entity changed to B-."""
    tags: list[str] = []
    for tag in record["tags"]:
        starts = tag.startswith("I-") and (tags or ["O"])[-1][2:] != tag[2:]
        tags.append(f"B-{tag[2:]}" if starts else tag)
    return {**record, "tags": tags}


def with_model_label(record: Record) -> Record:
    """Add PaLM-540B's label and reason, and write the human equation in PaLM's format: ((9 + 4) * 2)."""
    [answer] = [one for one in record["llm"] if one["model"].startswith("PaLM")]
    human = re.sub(r"(?<=\d)\.0\b|(?<=\() | (?=\))", "", record["target"])
    return {**record, "target": human, MODEL_LABEL: answer["label"].strip(), "reason": answer["rationale"]}


SHAPES = {
    "conll04": with_begin_tags,
    "llm_svamp": with_model_label,
    "mit_movie_types": with_entity_types,
}  # the other data sets need no conversion


def write(path: Path, rows: Sequence[Record]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
