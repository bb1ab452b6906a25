"""Regimes of the value benchmark: own rows, a pool and the teacher's labels, drawn from a data set."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.tasks.fields import Fields, split

from common.data import Record, fields_of, records, text_of

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"
SETS = ("emotion", "csabstruct", "banking77", "clinc150", "tweeteval_irony", "subj", "agnews")
# Data sets with recorded answers of language models: the model whose answers are taken, "" for the only one.
RECORDED = {"llm_freeal_mr": "", "llm_babe": "gpt-3.5-turbo", "llm_global_warming": "", "llm_esnli": ""}
POOL = 4000  # less the near-duplicates of test texts
TESTED = 2000
_DUPLICATE = 0.92  # cosine of near-duplicates, the product's default
_RATIO = 20  # frequency of the most to the least frequent class in a long-tailed regime


@dataclass(frozen=True)
class Regime:
    """What a user has: rows with own labels, and teacher labels to buy, of which `errors` percent are wrong.
    With `long_tailed`, the most frequent class has 20 times as many texts as the least frequent one.
    """

    own: int
    labels: int
    errors: int
    long_tailed: bool = False

    def setting(self, task: str) -> str:
        """Return the regime as the `setting` of a cell."""
        wrong = "recorded answers" if task in RECORDED else f"errors {self.errors} %"
        tail = ", long tail" if self.long_tailed else ""
        return f"own {self.own}, labels {self.labels}, {wrong}{tail}"


@dataclass(frozen=True)
class Data:
    """One draw of a regime. Rows of `own`, `pool`, `rest` and `test` have human labels; `answers` has the
    teacher's label for each text of the pool, of the own and of the test rows, by id; records may lack some
    of the latter. From `rest`, the remaining training rows, the rehearsal teacher takes the texts that it is
    asked to write. No text is in two of the sets.
    """

    kind: str
    fields: Fields
    labels: list[str]
    own: list[Row]
    pool: list[Row]
    rest: list[Row]
    test: list[Row]
    answers: dict[str, str]

    def labelled(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows with the teacher's labels."""
        return [{**row, "label": self.answers[row["id"]]} for row in rows]


def load(task: str, regime: Regime, seed: int, encoder: Encoder) -> Data:
    """Draw a regime from a data set; the seed draws everything but the test rows."""
    known, test = _records(task, "train"), _records(task, "test")
    fields = fields_of(known[0])
    kind = "pairs" if len(fields) > 1 else "classification"
    rng = random.Random(f"{task} {seed}")
    tested = random.Random(0).sample(test, min(TESTED, len(test)))
    reserved = {content_id(text_of(record)) for record in test}
    rows, answers = dict[str, Row](), dict[str, str]()
    for record in rng.sample(known, len(known)):
        id = content_id(text_of(record))
        answer = _answer(record, task)
        if id not in reserved and answer:
            rows[id] = _row(record)
            answers[id] = answer
    drawn = list(rows.values())
    if regime.long_tailed:
        drawn = _long_tailed(drawn, rng)
    # A run refuses texts that are nearly those of the test set; here no arm has them.
    usable = _unlike(drawn[: regime.own + POOL], [text_of(record) for record in tested], encoder)
    own, pool, rest = usable[: regime.own], usable[regime.own :], drawn[regime.own + POOL :]
    if task not in RECORDED:
        answers = _with_errors([*own, *pool], regime.errors / 100, encoder, rng)
        test_rows = [_row(record) for record in tested]
        answers |= _with_errors(test_rows, regime.errors / 100, encoder, random.Random(f"{task} {seed} test"))
    else:
        given = {content_id(text_of(record)): _answer(record, task) for record in tested}
        answers |= {id: answer for id, answer in given.items() if answer}
    labels = sorted({str(record["label"]) for record in known})
    return Data(kind, fields, labels, own, pool, rest, [_row(record) for record in tested], answers)


def _records(task: str, split: str) -> list[Record]:
    return list(records(DATA / task / f"{split}.jsonl.gz"))


def _row(record: Record) -> Row:
    return Row(id=content_id(text_of(record)), text=text_of(record), label=str(record["label"]))


def _answer(record: Record, task: str) -> str:
    """Return the recorded label of the task's model, "" if it gave none; elsewhere the human label."""
    if task not in RECORDED:
        return str(record["label"])
    of_model = (one for one in record.get("llm", ()) if RECORDED[task] in ("", one["model"]))
    return str(next(of_model, {"label": ""})["label"])


def _unlike(rows: Sequence[Row], texts: Sequence[str], encoder: Encoder) -> list[Row]:
    """Return the rows that are no near-duplicates of any of the texts."""
    mine, theirs = encoder.encode([row["text"] for row in rows]), encoder.encode(texts)
    nearest = np.concatenate([(mine[i : i + 500] @ theirs.T).max(1) for i in range(0, len(mine), 500)])
    return [row for row, cosine in zip(rows, nearest, strict=True) if cosine < _DUPLICATE]


def _long_tailed(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Return rows whose class frequencies fall geometrically, in an order of the classes drawn anew."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    names = rng.sample(sorted(by_label), len(by_label))
    shares = dict(zip(names, np.geomspace(1, 1 / _RATIO, len(names)), strict=True))
    size = min(len(by_label[name]) / share for name, share in shares.items())
    kept = [row for name, share in shares.items() for row in by_label[name][: round(size * share)]]
    return rng.sample(kept, len(kept))


def _with_errors(rows: Sequence[Row], share: float, encoder: Encoder, rng: random.Random) -> dict[str, str]:
    """Return a label for each row by id, a share of them wrong, as a language model's are: the more doubtful
    the text, the likelier, and a wrong label is that of the most similar class.

    Doubt and similarity come from a logistic regression on embeddings, each text predicted by one that was
    not fitted to it.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    answers = {row["id"]: row["label"] for row in rows}
    if not share:
        return answers
    counts = Counter(row["label"] for row in rows)
    usable = [row for row in rows if counts[row["label"]] > 1]
    gold = np.array([row["label"] for row in usable])
    names, codes = np.unique(gold, return_inverse=True)
    vectors = encoder.encode([row["text"] for row in usable])
    model = LogisticRegression(C=10, max_iter=200)
    found = cross_val_predict(model, vectors, codes, cv=2, method="predict_proba")
    places = np.arange(len(usable))
    doubt = 1 - found[places, codes]
    found[places, codes] = -1
    second = names[found.argmax(1)]
    draw = np.random.default_rng(rng.randrange(2**31))
    wrong = draw.choice(len(usable), round(share * len(usable)), replace=False, p=doubt / doubt.sum())
    return answers | {usable[i]["id"]: str(second[i]) for i in wrong}


def task_fields(data: Data, folder: Path, *, separate: bool = False) -> dict[str, Any]:
    """Write the sets of a draw to a folder; return the task.yaml fields that name them. With `separate`, the
    own rows are divided into seeds (a half), diagnose and gate, which the published methods need.
    """
    parts: dict[str, Sequence[Row]] = {"labelled": data.own}
    if separate:
        half, three = len(data.own) // 2, len(data.own) * 3 // 4
        parts = {"seed": data.own[:half], "diagnose": data.own[half:three], "gate": data.own[three:]}
    parts |= {"unlabelled": data.pool, "test": data.test}
    paths = {name: write_rows(data, rows, folder / f"{name}.jsonl") for name, rows in parts.items() if rows}
    return {"kind": data.kind, "labels": {label: label for label in data.labels}, "data": paths}


def write_rows(data: Data, rows: Sequence[Row], path: Path) -> str:
    """Write rows with their labels to a file, those of the pool without; return its path."""
    lines = [split(row["text"], data.fields) for row in rows]
    if rows is not data.pool:
        lines = [{**line, "label": row["label"]} for line, row in zip(lines, rows, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)
