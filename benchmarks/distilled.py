"""Measure what a distilled model saves: the student answers where it is sure, and the teacher elsewhere.

    python benchmarks/distilled.py                # every cell without a result, head students: seconds a cell
    python benchmarks/distilled.py --table

A student learns from 100 own rows, 500 teacher labels of chosen texts and 500 of random ones, as a run's
does. The threshold is chosen as a run and `tutelage.distilled` do it: by the agreement, on the random texts,
of a student that has not learnt these, and for the share of texts that this one answers. Then up to 2,000
other texts come one after another: test rows, and for the recorded answers of language models (not recorded
for all test rows) further rows of the train split. In the other sets 10 % of the teacher's labels are wrong,
as in value.py. Rivals on the same texts:

  always student  no text goes to the teacher
  random router   as many texts as of the product go to the teacher, drawn at random (expected value)
  semantic cache  a text whose embedding has a cosine above a limit with an earlier text gets the teacher's
                  answer to that one; the cache begins with the same labels. The limit is the best in
                  hindsight: the one that saves most at the product's agreement, which no user would know

Saved is the share of texts that cost nothing; agreement is the share of all answers, the teacher's among
them, that are the teacher's. Results go to results/distilled.jsonl as they come.
"""

import argparse
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common.cells import Cell, add_options, encoder, print_failures, read, run_cells
from common.regime import RECORDED, SETS, Regime, load
from common.students import trained

RESULTS = Path(__file__).parent / "results" / "distilled.jsonl"
WANTED = (0.9, 0.95)
LABELS, BATCHES = 500, 3
STREAM = 2_000  # texts that come later
LIMITS = np.arange(0.30, 1.0, 0.02)  # cosines of the semantic cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    every = (*RECORDED, *SETS)
    parser.add_argument("--sets", nargs="+", default=every, choices=every, metavar="SET")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--student", default="head", choices=("full", "head"))
    add_options(parser)
    wanted = parser.parse_args()
    if not wanted.table:
        cells: list[Cell] = [
            {"task": task, "arm": "distilled", "setting": "own 100", "seed": seed, "student": wanted.student}
            for seed in wanted.seeds
            for task in wanted.sets
        ]
        print_failures(run_cells(cells, work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def work(cell: Cell, cache: Path) -> Cell:
    """Distil, choose thresholds, and route the test texts."""
    from tutelage.student.errors import InputError
    from tutelage.student.evaluation.agreement import measure_agreement

    start, vectors = time.process_time(), encoder(cache)
    data = load(cell["task"], Regime(100, LABELS, 10), cell["seed"], vectors)
    stream = data.test
    if cell["task"] in RECORDED:
        half = min(STREAM, len(data.pool) // 2)
        data, stream = replace(data, pool=data.pool[half:]), data.pool[:half]
    chosen, apart = chosen_labels(cell, data, vectors)
    taken = {row["id"] for row in chosen}
    drawn = data.labelled([row for row in data.pool if row["id"] not in taken][:LABELS])
    agreement = measure_agreement(apart, [row["text"] for row in drawn], [row["label"] for row in drawn])
    student = trained([*data.own, *chosen, *drawn], data, cell, vectors)
    taken |= {row["id"] for row in drawn}
    unseen = [row["text"] for row in data.pool if row["id"] not in taken][:1_000]
    promised = agreement.on_scale_of(student.predict(unseen).confidence) if len(unseen) >= 50 else None
    texts = [row["text"] for row in stream]
    given = np.array([data.answers[row["id"]] for row in stream])
    gold = np.array([row["label"] for row in stream])
    found = student.predict(texts)
    answers, confidence = np.array(found.answers), found.confidence
    known = [*chosen, *drawn]
    caches = semantic_caches(
        vectors.encode([*(row["text"] for row in known), *texts]), [row["label"] for row in known], given
    )
    result: dict[str, Any] = {
        "texts": len(texts),
        "calls for labels": len(known),
        "teacher right": share(given == gold),
        "student agrees": share(answers == given),
        "student right": share(answers == gold),
    }
    for wanted in WANTED:
        result[f"at {wanted}"] = None  # nothing can be promised, so the teacher answers everything
        with suppress(InputError):
            if promised:
                result[f"at {wanted}"] = routed(
                    confidence >= promised.threshold(wanted), answers, given, gold, caches
                )
    return {**result, "cpu_seconds": round(time.process_time() - start)}


def routed(
    kept: Any, answers: Any, given: Any, gold: Any, caches: list[tuple[float, float]]
) -> dict[str, float]:
    """Return the figures if the student answers the `kept` texts and the teacher the others."""
    final = np.where(kept, answers, given)
    overall = share(final == given)
    return {
        "saved": share(kept),
        "kept promise": share((answers == given)[kept]) if kept.any() else 1.0,
        "agreement": overall,
        "right": share(final == gold),
        "random router": round(float(1 - kept.mean() * (answers != given).mean()), 4),
        "cache saved": max((saved for saved, agrees in caches if agrees >= overall), default=0.0),
    }


def chosen_labels(cell: Cell, data: Any, vectors: Any) -> tuple[list[Any], Any]:
    """Return the teacher's labels of chosen texts, and the student of the own rows and these."""
    from tutelage.student.selection import Pool, select

    bought: list[Any] = []
    student = trained(data.own, data, cell, vectors)
    for batch in range(BATCHES):
        taken = {row["id"] for row in bought}
        left = [row for row in data.pool if row["id"] not in taken]
        texts, known = [row["text"] for row in left], [row["text"] for row in [*data.own, *bought]]
        pool = Pool([student.predict(texts)], vectors.encode(texts), vectors.encode(known))
        size = LABELS * (batch + 1) // BATCHES - len(bought)
        bought += data.labelled(
            [left[i] for i in select("typical_and_uncertain", size, pool, seed=cell["seed"])]
        )
        student = trained([*data.own, *bought], data, cell, vectors)
    return bought, student


def semantic_caches(vectors: Any, known: list[str], given: Any) -> list[tuple[float, float]]:
    """Return (share saved, agreement) of a semantic cache for each limit. The first vectors are those of the
    labels known at the start; each later text is answered from the cache or asked and added to it.
    """
    first, results = len(known), []
    similar = vectors[first:] @ vectors.T
    for limit in LIMITS:
        labels = [*known, *([""] * len(given))]
        filled = np.zeros(len(labels), bool)
        filled[:first] = True
        saved = agrees = 0
        for i, label in enumerate(given):
            nearest = int(np.where(filled, similar[i], -2.0).argmax())
            if similar[i, nearest] >= limit:
                saved += 1
                agrees += labels[nearest] == label
            else:
                labels[first + i], filled[first + i] = label, True
        results.append((round(saved / len(given), 4), round((agrees + len(given) - saved) / len(given), 4)))
    return results


def share(values: Any) -> float:
    return round(float(values.mean()), 4)


def print_table(results: list[Cell]) -> None:
    """Print a row per wanted agreement, student and data set: means over the seeds."""
    found = [one for one in results if "error" not in one]
    head = ("wanted", "student", "set", "seeds", "reached", "always student", "saved", "of student's answers")
    head = (*head, "of all answers", "random router", "cache saves", "right", "teacher right")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for wanted in WANTED:
        for student in dict.fromkeys(one["student"] for one in found):
            for task in [*RECORDED, *SETS, "recorded", "all"]:
                names = {"recorded": set(RECORDED), "all": {*RECORDED, *SETS}}.get(task, {task})
                mine = [one for one in found if one["student"] == student and one["task"] in names]
                if mine:
                    print(f"| {' | '.join([f'{wanted:g}', student, task, *_figures(mine, wanted)])} |")


def _figures(mine: list[Cell], wanted: float) -> list[str]:
    """Return the cells of a row. Where nothing can be promised, the teacher answers everything."""
    nothing = {"saved": 0.0, "agreement": 1.0, "random router": 1.0, "cache saved": 0.0}
    routed = [one[f"at {wanted}"] or {**nothing, "right": one["teacher right"]} for one in mine]
    promised = [one["kept promise"] for one in routed if "kept promise" in one]
    names = ("agreement", "random router", "cache saved", "right")
    return [
        str(len({one["seed"] for one in mine})),
        f"{len(promised)} of {len(mine)}",
        f"{mean(one['student agrees'] for one in mine):.3f}",
        f"{mean(one['saved'] for one in routed):.2f}",
        f"{mean(promised):.3f}" if promised else "",
        *(f"{mean(one[name] for one in routed):.3f}" for name in names),
        f"{mean(one['teacher right'] for one in mine):.3f}",
    ]


if __name__ == "__main__":
    main()
