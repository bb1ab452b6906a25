"""Measure what the loop is worth to its users: scores at equal spend, beside what they would do without it.

    python benchmarks/value.py                                   # every cell without a result: days on a CPU
    python benchmarks/value.py --sets emotion --seeds 0 --arms own random auto
    python benchmarks/value.py --own 300 --labels 150 --errors 25 --long-tailed
    python benchmarks/value.py --on-train --student head         # to choose a default: no test row is used
    python benchmarks/value.py --table                           # the results as tables

A cell is a data set, a regime (common/regime.py), a seed, a student and an arm. Each result is appended to
results/value.jsonl as it comes, and cells with a result are not run again. Scores are macro-F1 on at most
2,000 rows of the published test split; nothing is chosen by them within a cell. With --on-train they are on
1,500 further rows of the train split, which may be near-duplicates of training rows, and results go to
results/value_choices.jsonl: the product's defaults are chosen by these.

Arms of one student, trained by plain library calls with the default configuration of its task type:
  own          the user's labels alone
  random       and the teacher's labels for random texts of the pool
  margin, ...  and for texts chosen by a selection method in three batches, with a new student after each
  whole pool   and the teacher's labels for all texts of the pool
  gold         and human labels for all texts of the pool: the upper bound
  self-trained the user's labels, and the mean answers of students of its folds on 1,500 texts of the pool
  adapted      as `random`, with a base that was first trained on the pool without labels (SimCSE, Gao et al.
               2021, arXiv 2104.08821), against task-adaptive pretraining
The teacher itself, asked about every test row: teacher
Arms of the product, `tutelage run` as a user would start it, with a labeler that answers from the records:
  auto         three rounds; the result holds the scores of the run's own comparison (own labels alone,
               self-trained, random, chosen, all)
  llkd, ...    the published methods that draw texts; the white-box teacher of `ksm` is a full student of
               2,000 further rows with human labels
  evokd, ...   methods that write texts, and their controls; "written" texts are real ones of the train split
Arms of peers (value_peers.py says how to install them):
  setfit       SetFit on the user's labels alone
  small-text   its active learner with the same labels, in the same number of batches
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.regime import RECORDED, SETS, Data, Regime, load, task_fields, write_rows
from common.students import score, trained
from tutelage.graph.strategies import Strategy
from tutelage.student.encoder import Encoder
from tutelage.student.selection import NEEDS_VECTORS, Pool, select
from value_peers import PEERS, peer_answers
from value_table import SINGLE, print_tables

RESULTS = Path(__file__).parent / "results" / "value.jsonl"
CHOICES = RESULTS.with_name("value_choices.jsonl")
HELD_OUT = 1500  # further rows of the train split on which defaults are chosen
BATCHES = 3
REFERENCES = ("own", "random", "whole pool", "gold", "self-trained", "adapted", "teacher")
NEEDS_OWN = ("own", "self-trained", "setfit")
EXPERT = 2000  # rows of ksm's white-box teacher
# Nothing is written and no judgement is asked for, because the records hold labels only. A run does not stop
# before its labels are spent, so that all arms have the same number of them.
_DRAWN = {"base": "auto", "pool_share": 1.0, "fill_gaps": False, "critic": "none", "stall": 0}
DRAWING: dict[str, dict[str, Any]] = {
    "auto": _DRAWN,
    "auto margin": {**_DRAWN, "selection": "margin"},
    "auto diverse": {**_DRAWN, "selection": "uncertain_and_diverse"},
    "auto balanced": {**_DRAWN, "selection": "balanced"},
    "auto disagreement": {**_DRAWN, "selection": "disagreement"},
    "auto typical first": {**_DRAWN, "first_selection": "typical"},
    "auto mixed labels": {**_DRAWN, "label_mix": 0.3},
    "auto own rows twice": {**_DRAWN, "own_weight": 2.0},
    "auto confidence": {**_DRAWN, "confidence_weight": True},
    "llkd": {"base": "llkd"},
    "llkd ask first": {"base": "llkd", "oversample": 2},
    "ksm": {"base": "ksm"},
}
# The rehearsal teacher "writes" texts of the train split that are in no other set: real ones, whose labels it
# gets wrong as often as the regime says.
WRITING: dict[str, dict[str, Any]] = {
    "auto writing": {"base": "auto", "pool_share": 0.0, "stall": 0},
    "random writing": {"base": "random"},
    "evokd": {"base": "evokd"},
    "gold method": {"base": "gold"},
}
SEPARATE = ("evokd", "gold method", "ksm")
PRODUCT = {**DRAWING, **WRITING}
ARMS = (*REFERENCES, *SINGLE, *PRODUCT, *PEERS)
DEFAULT_ARMS = ("own", "random", "typical_and_uncertain", "auto", "gold", "whole pool")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    known = (*SETS, *RECORDED)
    parser.add_argument("--sets", nargs="+", default=known, choices=known, metavar="SET")
    parser.add_argument("--arms", nargs="+", default=DEFAULT_ARMS, choices=ARMS, metavar="ARM")
    parser.add_argument("--own", nargs="+", type=int, default=[100], help="rows with the user's labels")
    parser.add_argument("--labels", nargs="+", type=int, default=[500], help="labels bought from the teacher")
    parser.add_argument("--errors", nargs="+", type=int, default=[10], help="percent of them that are wrong")
    parser.add_argument("--long-tailed", action="store_true", help="make class frequencies fall 20-fold")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--student", default="full", choices=("full", "head"))
    parser.add_argument("--on-train", action="store_true", help="measure on rows of the train split")
    parser.add_argument("--results", type=Path, help="another file for the results")
    add_options(parser)
    wanted = parser.parse_args()
    results = wanted.results or (CHOICES if wanted.on_train else RESULTS)
    if not wanted.table:
        print_failures(run_cells(cells(wanted), work, results, jobs=wanted.jobs, cache=wanted.cache))
    print_tables(read(results))


def cells(wanted: argparse.Namespace) -> list[Cell]:
    """Return the cells seed by seed, so that an interrupted benchmark has results of every arm."""
    regimes = [
        Regime(own, labels, errors, wanted.long_tailed)
        for own in wanted.own
        for labels in wanted.labels
        for errors in wanted.errors
    ]
    found = {
        (task, arm, regime.setting(task), seed): {
            "task": task,
            "arm": arm,
            "setting": regime.setting(task),
            "seed": seed,
            "student": wanted.student,
            "regime": vars(regime),
            **({"on_train": True} if wanted.on_train else {}),
        }
        for seed in wanted.seeds
        for regime in regimes
        for task in wanted.sets
        for arm in wanted.arms
        if regime.own or arm not in NEEDS_OWN
    }
    return list(found.values())


def work(cell: Cell, cache: Path) -> Cell:
    """Draw the cell's data and measure its arm."""
    start, regime = time.process_time(), Regime(**cell["regime"])
    data = load(cell["task"], regime, cell["seed"], encoder(cache))
    if cell.get("on_train"):
        if len(data.rest) < HELD_OUT:
            raise ValueError(f"{cell['task']} has only {len(data.rest)} further rows to measure on")
        data = replace(data, test=data.rest[:HELD_OUT], rest=data.rest[HELD_OUT:])
    wrong = sum(data.answers[row["id"]] != row["label"] for row in data.pool) / len(data.pool)
    measure = single_scores
    if cell["arm"] in PRODUCT:
        measure = product_score
    elif cell["arm"] in PEERS:
        measure = peer_score
    found = measure(cell, data, regime, encoder(cache))
    return {**found, "wrong": round(wrong, 3), "cpu_seconds": round(time.process_time() - start)}


def single_scores(cell: Cell, data: Data, regime: Regime, encoder: Any) -> Cell:
    """Return the test score of one student of an arm; for a selection method, also after each batch, and the
    share of its labels that are wrong.
    """
    arm, seed = cell["arm"], cell["seed"]
    if arm == "teacher":
        if missing := sum(row["id"] not in data.answers for row in data.test):
            raise ValueError(f"no answer of the teacher is recorded for {missing} test rows")
        return {"test": graded([data.answers[row["id"]] for row in data.test], data)}
    if arm == "self-trained":
        return {
            "test": score(trained([*data.own, *soft_rows(data, cell, encoder)], data, cell, encoder), data)
        }
    if arm == "adapted":
        rows = [*data.own, *data.labelled(data.pool[: regime.labels])]
        with tempfile.TemporaryDirectory() as folder:
            adapt(data, folder, seed)
            student = trained(rows, data, cell, Encoder(folder), base=folder)
            return {"test": score(student, data)}
    if arm == "gold":
        return {"test": score(trained([*data.own, *data.pool], data, cell, encoder), data)}
    if arm == "whole pool":
        rows = [*data.own, *data.labelled(data.pool)]
        return {"test": score(trained(rows, data, cell, encoder), data)}
    count = {"own": 0}.get(arm, min(regime.labels, len(data.pool)))
    if arm in ("own", "random"):  # the pool is in random order
        rows = [*data.own, *data.labelled(data.pool[:count])]
        return {"test": score(trained(rows, data, cell, encoder), data)}
    bought: list[Any] = []
    student, scores = trained(data.own, data, cell, encoder) if data.own else None, []
    for batch in range(BATCHES):
        taken = {row["id"] for row in bought}
        left = [row for row in data.pool if row["id"] not in taken]
        size = count * (batch + 1) // BATCHES - len(bought)
        texts, known = [row["text"] for row in left], [row["text"] for row in [*data.own, *bought]]
        how = arm if student else "typical"  # without a label there is no student to ask
        vectors = (encoder.encode(texts), encoder.encode(known)) if how in NEEDS_VECTORS else (None, None)
        predictions = [student.predict(texts)] if student else []
        chosen = select(how, size, Pool(predictions, *vectors), seed=seed)
        bought += data.labelled([left[i] for i in chosen])
        student = trained([*data.own, *bought], data, cell, encoder)
        scores.append(score(student, data))
    human = {row["id"]: row["label"] for row in data.pool}
    wrong = sum(row["label"] != human[row["id"]] for row in bought) / len(bought)
    return {"test": scores[-1], "by_batch": scores, "wrong_chosen": round(wrong, 3)}


def soft_rows(data: Data, cell: Cell, encoder: Any) -> list[Any]:
    """Return texts of the pool with the mean probabilities of the fold students as targets."""
    from tutelage.student.data.folds import stratified_folds
    from tutelage.student.tasks.registry import TASK_TYPES

    count = 5 if cell["student"] == "head" else 3
    folds = stratified_folds(data.own, TASK_TYPES[data.kind], count, cell["seed"])
    drawn = data.pool[: Strategy.soft_texts]
    parts = []
    for fold in range(count):
        student = trained([row for row in data.own if folds[row["id"]] != fold], data, cell, encoder)
        parts.append(student.predict([row["text"] for row in drawn]).probabilities)
    targets = sum(parts[1:], parts[0]) / count
    return [
        {
            **row,
            "label": data.labels[target.argmax()],
            "target": target.tolist(),
            "weight": Strategy.soft_weight,
        }
        for row, target in zip(drawn, targets, strict=True)
    ]


def adapt(data: Data, folder: str, seed: int) -> None:
    """Train the base for one epoch on the pool without labels, and save it in a folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from tutelage.student.pretrained import EMBEDDED, locate

    torch.manual_seed(seed)
    model = SentenceTransformer(locate(EMBEDDED), device="cpu")
    model.max_seq_length = 128
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    model.train()
    texts = [row["text"] for row in data.pool]
    for first in range(0, len(texts), 64):
        tokens = model.preprocess(texts[first : first + 64])
        # The same texts twice: dropout makes the two views of each.
        views = [torch.nn.functional.normalize(model(dict(tokens))["sentence_embedding"]) for _ in range(2)]
        scores = views[0] @ views[1].T / 0.05
        torch.nn.functional.cross_entropy(scores, torch.arange(len(scores))).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save(folder)


def peer_score(cell: Cell, data: Data, regime: Regime, encoder: Any) -> Cell:
    """Return the test score of a peer's student."""
    return {"test": graded(peer_answers(cell["arm"], data, regime.labels, BATCHES, cell["seed"]), data)}


def graded(answers: Sequence[str], data: Data) -> float:
    """Return the macro-F1 of answers to the test rows."""
    from tutelage.student.evaluation.evaluate import grade
    from tutelage.student.tasks.registry import TASK_TYPES

    texts, gold = [row["text"] for row in data.test], [row["label"] for row in data.test]
    report = grade(TASK_TYPES[data.kind], texts, gold, list(answers), data.labels, "macro_f1")
    return round(float(report["metric"]), 4)


def product_score(cell: Cell, data: Data, regime: Regime, encoder: Any) -> Cell:
    """Run the product; return the test score of the delivered student and the run's comparison."""
    from tutelage.agents.rehearsal.recorded import Recorded
    from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
    from tutelage.agents.rehearsal.server import serve
    from tutelage.graph.runs.run import run
    from tutelage.graph.task.load import parse_task
    from tutelage.student.training.candidates import candidates
    from tutelage.student.training.configuration import TrainingConfig

    arm = cell["arm"]
    default = next(iter(candidates(TrainingConfig(mode=cell["student"], kind=data.kind))))
    answered = data.labelled([*data.own, *data.pool])
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(RehearsalModel(rehearsal=Recorded(answered))) as url,
    ):
        teacher = {"model": "openai:recorded", "base_url": url, "logprobs": False, "force": True}
        if arm in WRITING:
            corpus = write_rows(data, data.rest, Path(folder) / "rest.jsonl")
            teacher = {"corpus": corpus, "label_noise": regime.errors / 100, "typicality": 1.5, "force": True}
        raw = {
            "name": cell["task"],
            "instruction": "Name the class of the text.",
            **task_fields(data, Path(folder), separate=arm in SEPARATE),
            "student": {"mode": cell["student"], "training": default},
            "teacher": teacher,
            "strategy": {**PRODUCT[arm], "samples": round(regime.labels / BATCHES)},
            **({"white_box_teacher": {"base": expert(data, encoder, folder)}} if arm == "ksm" else {}),
            "budget": {"rounds": BATCHES},
            "seed": cell["seed"],
        }
        if arm in WRITING:
            del raw["data"]["unlabelled"]
        done = run(parse_task(raw, cell["task"], Path()), Path(folder) / "run", encoder=encoder)
        about, rounds = done.about(), done.read_rounds()
    found = {
        "test": round(about["test"]["metric"], 4),
        "labels": sum(line["samples_kept"] for line in rounds),
        "accepted": [line["accepted"] for line in rounds],
        "tokens": about["spent"]["prompt_tokens"] + about["spent"]["completion_tokens"],
    }
    if about.get("comparison"):
        found["arms"] = {arm["name"]: round(arm["score"], 4) for arm in about["comparison"]["arms"]}
    return found


def expert(data: Data, encoder: Any, folder: str) -> str:
    """Train the white-box teacher of `ksm` on further rows with human labels; return its folder."""
    student = trained(data.rest[:EXPERT], data, {"student": "full", "seed": 0}, encoder)
    student.export(Path(folder) / "expert")
    return str(Path(folder) / "expert")


if __name__ == "__main__":
    main()
