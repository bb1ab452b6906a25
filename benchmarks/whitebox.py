"""Compare KSM with rivals that learn no policy: a fine-tuned MiniLM is distilled from 6 layers into 3.

    python benchmarks/whitebox.py --quick                    # 1,000 rows, the arms that test the claim
    python benchmarks/whitebox.py --rows 0                   # all rows, every arm: for a GPU
    python benchmarks/whitebox.py --table                    # print the stored results

All arms learn from the same rows and teacher. The seeds vary initialisation, dropout, order and exploration,
not the rows. `learnt` and `constant` do not train on their reward rows. The score is the accuracy on the
published test rows, by which nothing was chosen. TextBrewer (0.2.1.post1, if installed) is run with equal
weights. Each result is appended to results/whitebox.jsonl as it comes, and cells with a result are not run
again.
"""

import argparse
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from common.cells import Cell, encoder, print_failures, read, run_cells
from common.data import records, text_of
from common.table import holm, paired, spread

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "whitebox.jsonl"
DATA = HERE.parent.parent / "shared" / "data"
TASKS = {
    "glue_sst2": ("negative", "positive"),
    "glue_mrpc": ("not_equivalent", "equivalent"),
    "glue_qnli_dev": ("not_entailment", "entailment"),
}
LAYERS = 3
ARMS: dict[str, dict[str, Any]] = {
    "fine-tune": {"weights": "equal", "kinds": ("fin",)},
    "fin + res": {"weights": "equal", "kinds": ("fin", "res")},
    "equal": {"weights": "equal"},
    "constant": {"weights": "constant"},
    "random": {"weights": "random"},
    "dynamic": {"weights": "dynamic"},
    "learnt": {},
    "learnt, reward rows too": {"reuse": True},
    "learnt hard": {"action": "hard"},
    "learnt -bonus": {"bonus": 0.0},
    "learnt -phases": {"phase": 1},
    "learnt as printed": {"target": "printed"},
    "equal, losses as they are": {"weights": "equal", "normalise": False},
}
OTHERS = ("teacher", "untouched", "TextBrewer")
QUICK = (*OTHERS, *list(ARMS)[:8])
CONTROL = "equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, metavar="TASK")
    parser.add_argument("--arms", nargs="+", default=None, choices=[*OTHERS, *ARMS], metavar="ARM")
    parser.add_argument("--rows", type=int, default=1000, help="number of train rows; 0 takes all")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--quick", action="store_true", help="only the arms that test the claim")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        for task in wanted.tasks:
            make_teacher(task, wanted.rows, wanted.cache)
        print_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def cells(wanted: argparse.Namespace) -> list[Cell]:
    """Return the cells seed by seed, so that an interrupted benchmark has results of every arm."""
    arms = list(wanted.arms or (QUICK if wanted.quick else (*OTHERS, *ARMS)))
    if "TextBrewer" in arms and not (find_spec("textbrewer") and find_spec("tensorboard")):
        print("TextBrewer is not installed and is left out: pip install textbrewer==0.2.1.post1 tensorboard")
        arms.remove("TextBrewer")
    setting = f"{wanted.rows or 'all'} rows"
    return [
        {"task": task, "arm": arm, "setting": setting, "seed": seed, "student": f"{LAYERS} layers"}
        for seed in wanted.seeds
        for task in wanted.tasks
        for arm in arms
        if not (arm == "teacher" and seed)
    ]


def work(cell: Cell, cache: Path) -> Cell:
    """Return the test accuracy of the student of an arm; `teacher` and `untouched` are bounds."""
    from tutelage.student.distillation.knowledge import keep_layers
    from tutelage.student.distillation.loop import distil
    from tutelage.student.evaluation.evaluate import evaluate
    from tutelage.student.training.adapters.classifier import fresh
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.knowledge import Knowledge

    start, logged = time.monotonic(), {}
    count = int(cell["setting"].split()[0].replace("all", "0"))
    labels, seed, training_config = (
        list(TASKS[cell["task"]]),
        cell["seed"],
        TrainingConfig(fields=fields(cell["task"])),
    )
    rows, tests = load(cell["task"], count)
    teacher = white_box_teacher(cell["task"], count, cache)
    if cell["arm"] == "teacher":
        student = teacher.student
    elif cell["arm"] == "untouched":
        student = keep_layers(fresh(labels, training_config, seed), LAYERS)
    elif cell["arm"] == "TextBrewer":
        from whitebox_textbrewer import distil_equally

        student = keep_layers(fresh(labels, training_config, seed), LAYERS)
        distil_equally(student, teacher.student, rows, training_config, seed)
    else:
        knowledge = Knowledge(layers=LAYERS, **ARMS[cell["arm"]])
        views = teacher.views([row["text"] for row in rows], knowledge)
        student, logged = distil(rows, labels, training_config, knowledge, seed=seed, views=views)
    seconds = round(time.monotonic() - start, 1)
    about = {name: logged[name] for name in ("steps", "mean_action") if name in logged}
    return {"test": round(evaluate(student, tests, "accuracy")["metric"], 4), "seconds": seconds, **about}


def load(task: str, count: int) -> tuple[list[Any], list[Any]]:
    """Return `count` train rows (0: all), the same for every seed, and the test rows."""
    from tutelage.student.data.rows import Row, content_id

    def rows(split: str) -> list[Row]:
        pairs = ((text_of(r), str(r["label"])) for r in records(DATA / task / f"{split}.jsonl.gz"))
        return [Row(id=content_id(text), text=text, label=label) for text, label in pairs]

    test = rows("test")
    tested = {row["id"] for row in test}
    distinct = {row["id"]: row for row in rows("train") if row["id"] not in tested}
    train = list(distinct.values())
    return random.Random(0).sample(train, min(count or len(train), len(train))), test


def fields(task: str) -> tuple[str, ...]:
    """Return the names of the fields that make up the texts of a task."""
    return ("text",) if task == "glue_sst2" else ("text_a", "text_b")


def make_teacher(task: str, count: int, cache: Path) -> None:
    """Fine-tune the teacher on the rows of its students, unless it is in the cache."""
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train

    folder = cache / "teachers" / f"{task}-{count}"
    if not folder.exists():
        training_config = TrainingConfig(fields=fields(task))
        student = train(
            load(task, count)[0], list(TASKS[task]), training_config, seed=0, encoder=encoder(cache)
        )
        part = folder.with_suffix(".part")
        student.export(part)
        part.rename(folder)


@lru_cache(maxsize=1)
def white_box_teacher(task: str, count: int, cache: Path) -> Any:
    """Return the white-box teacher; within a process it caches its outputs for the texts."""
    from tutelage.student.distillation.white_box_teacher import load_white_box_teacher

    folder = cache / "teachers" / f"{task}-{count}"
    return load_white_box_teacher(str(folder), list(TASKS[task]), fields=fields(task))


def print_table(results: Sequence[Cell]) -> None:
    """Print accuracy, mean ± standard deviation over seeds, and paired t-tests against equal weights."""
    groups: dict[tuple[str, str], dict[str, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for r in results:
        if "error" not in r:
            groups[r["task"], r["setting"]][r["arm"]][r["seed"]] = r
    print(
        "| task | rows | arm | seeds | accuracy | - equal | p | p (Holm) | steps | seconds | mean weights |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for (task, setting), arms in sorted(groups.items()):
        compared = {arm: paired(runs, arms.get(CONTROL, {})) for arm, runs in arms.items() if arm in ARMS}
        compared |= (
            {"TextBrewer": paired(arms["TextBrewer"], arms.get(CONTROL, {}))} if "TextBrewer" in arms else {}
        )
        compared.pop(CONTROL, None)
        adjusted = holm({arm: p for arm, (_, p) in compared.items() if p is not None})
        for arm, runs in arms.items():
            gap, p = compared.get(arm, (None, None))
            row = [task, setting, arm, str(len(runs)), spread([r["test"] for r in runs.values()])]
            row += [f"{gap:+.3f}" if gap is not None else "", f"{p:.3f}" if p is not None else ""]
            row += [f"{adjusted[arm]:.3f}" if arm in adjusted else "", *_cost(list(runs.values()))]
            print(f"| {' | '.join(row)} |")


def _cost(runs: Sequence[Cell]) -> list[str]:
    """Return the steps of both stages, seconds, and the mean weight of each kind of knowledge in stage 2."""
    seconds = f"{mean(r['seconds'] for r in runs):.0f}"
    if "steps" not in runs[0]:
        return ["", seconds, ""]
    kinds = runs[0]["mean_action"]
    weights = [f"{kind} {mean(r['mean_action'][kind] for r in runs):.2f}" for kind in kinds]
    return [f"{mean(sum(r['steps']) for r in runs):.0f}", seconds, ", ".join(weights)]


if __name__ == "__main__":
    main()
