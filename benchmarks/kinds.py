"""Run the loop on the other task types: `auto` and its controls, with equally many labelled samples.

    python benchmarks/kinds.py                               # nine tasks, four arms or more, three seeds
    python benchmarks/kinds.py --tasks conll2003 --seeds 0
    python benchmarks/kinds.py --table                       # print the stored results

The tasks are the entities of conll2003, conll04, wnut17 and mit_movie, the set of entity types that a
question of mit_movie names (several labels per text), and the targets of nl2bash, disfl_qa, gsm8k and
llm_svamp. Targets are written by an encoder-decoder with random initial weights, because no pretrained one is
available: its scores show how the loop runs, not how good such a student is. The teacher is the rehearsal
teacher with 10 % errors; no language model is called. On llm_svamp it answers with the labels that PaLM-540B
gave, and makes PaLM's errors. It gives no reasons. Their value is measured outside the loop, by students of
the same train rows with and without reasons: human ones on gsm8k, PaLM-540B's on llm_svamp ("model labels").
Each result is a line of results/kinds.jsonl, with the score on the published test split.
"""

import argparse
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, encoder, print_failures, read, run_cells
from common.measured import measured, upper_bound
from common.table import paired, spread
from kinds_data import SHAPES, TASKS, convert_sets, teacher_rows, to_multilabel, write

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "kinds.jsonl"
ENTITIES = ("conll2003", "conll04", "wnut17", "mit_movie")
TARGETS = ("nl2bash", "disfl_qa", "gsm8k", "llm_svamp")
NAMES = (*ENTITIES, "mit_movie_types", *TARGETS)
STUDENTS = {"mit_movie_types": "head"}
ARMS = ("random", "auto", "zerogen")
UPPER, UPPER_ROWS = "human labels", 1000
MODEL, REASONED = "model labels", ", reasons"
MORE = {"gsm8k": (UPPER + REASONED,), "llm_svamp": (MODEL, MODEL + REASONED)}
ALL = tuple(dict.fromkeys([UPPER, *(arm for arms in MORE.values() for arm in arms), *ARMS]))
CORPUS_ROWS = 4000  # rows of the train split from which the rehearsal teacher answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=NAMES, choices=NAMES, metavar="TASK")
    parser.add_argument("--arms", nargs="+", default=ALL, choices=ALL, metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(3))
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        cells: list[Cell] = [
            {
                "task": task,
                "arm": arm,
                "setting": "typical",
                "seed": seed,
                "student": STUDENTS.get(task, "full"),
            }
            for seed in wanted.seeds
            for task in wanted.tasks
            for arm in wanted.arms
            if arm in (UPPER, *MORE.get(task, ()), *ARMS)
        ]
        print_failures(run_cells(cells, work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def work(cell: Cell, cache: Path) -> Cell:
    """Run the loop, or train a student on existing labels; return what was measured."""
    from tutelage.graph.runs.run import run

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        task, folder = task_of(cell, Path(place)), Path(place) / "run"
        if cell["arm"] in ARMS:
            result: Cell = measured(run(task, folder, encoder=encoder(cache)), {})
        else:
            reasons = cell["arm"].endswith(REASONED)
            score = upper_bound(task, task.teacher.corpus, encoder(cache), UPPER_ROWS, reasons=reasons)
            result = {"test": score}
    return {**result, "seconds": round(time.monotonic() - start, 1)}


def task_of(cell: Cell, place: Path) -> Any:
    """Return the cell's task; converted data files and the teacher's corpus are written to `place`."""
    import yaml
    from tutelage.graph.task.load import parse_task

    name, arm = cell["task"], cell["arm"]
    raw = yaml.safe_load((TASKS / f"{name.removesuffix('_types')}.yaml").read_text(encoding="utf-8"))
    if name.endswith("_types"):
        to_multilabel(raw)
    if name in SHAPES:
        convert_sets(raw, SHAPES[name], place)
    rows = teacher_rows(raw, human=arm == UPPER)
    corpus = random.Random(f"{cell['seed']} corpus").sample(rows, min(CORPUS_ROWS, len(rows)))
    raw.setdefault("student", {})["mode"] = cell["student"]
    if raw["kind"] == "seq2seq":
        set_untrained_base(raw["student"], corpus, place)
    write(place / "corpus.jsonl", corpus)
    raw["teacher"]["corpus"] = str(place / "corpus.jsonl")
    if arm in ARMS:
        raw["strategy"] = {**raw["strategy"], "base": arm}
    return parse_task({**raw, "seed": cell["seed"]}, name, TASKS)


def set_untrained_base(student: dict[str, Any], corpus: Sequence[dict[str, str]], place: Path) -> None:
    """Set the base of a sequence-to-sequence student to a tiny untrained model of the corpus's words."""
    from tutelage.student.models.tiny_seq2seq import tiny_seq2seq

    texts = [row[name] for row in corpus for name in ("text", "target", "rationale") if name in row]
    student["base"] = str(tiny_seq2seq(place / "base", texts, words=2000))


def print_table(results: Sequence[Cell]) -> None:
    """Print test scores, mean ± standard deviation over seeds, and paired t-tests against `random`."""
    groups: dict[str, dict[str, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for r in results:
        if "error" not in r:
            groups[f"{r['task']}, {r['student']}"][r["arm"]][r["seed"]] = r
    print(f"| task | arm | seeds | seeds only | final | - random | p | tokens |\n{'|---' * 8}|")
    for task, arms in groups.items():
        for arm, runs in arms.items():
            gap, p = paired(runs, arms.get("random", {})) if arm in ARMS[1:] else (None, None)
            first = spread([r["by_round"][0] for r in runs.values()]) if arm in ARMS else ""
            tokens = f"{sum(sum(r['tokens']) for r in runs.values()) / len(runs):.0f}" if arm in ARMS else ""
            row = [task, arm, str(len(runs)), first, spread([r["test"] for r in runs.values()])]
            row += ["" if gap is None else f"{gap:+.3f}", "" if p is None else f"{p:.3f}", tokens]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
