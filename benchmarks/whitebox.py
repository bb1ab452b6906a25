"""KSM and its free rivals: a 6-layer MiniLM, fine-tuned, distilled into its 3-layer half.

    python benchmarks/whitebox.py --quick                    # 1,000 rows, the arms that decide the claim
    python benchmarks/whitebox.py --rows 0                   # all rows, every arm: for a GPU
    python benchmarks/whitebox.py --table                    # print what is there

All arms learn from the same rows and teacher; seeds vary initialisation, dropout, order and exploration, not
the rows. `learnt` and `constant` hold the rows of their reward out of those that they train on. The score is
the accuracy on the published test rows, which nothing was chosen by.
TextBrewer (0.2.1.post1, if installed) runs equal weights beside ours. One line a cell goes to
results/whitebox.jsonl as it comes; cells that are there are not run again.
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
from methods_cells import Cell, encoder, read, run_cells, tell_failures
from methods_data import records, text_of
from methods_table import holm, paired, spread

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
    parser.add_argument("--rows", type=int, default=1000, help="of the train split; 0 is all of it")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5))
    parser.add_argument("--quick", action="store_true", help="the arms that decide the claim")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    if not wanted.table:
        for task in wanted.tasks:
            make_teacher(task, wanted.rows, wanted.cache)
        tell_failures(run_cells(cells(wanted), work, RESULTS, jobs=wanted.jobs, cache=wanted.cache))
    print_table(read(RESULTS))


def cells(wanted: argparse.Namespace) -> list[Cell]:
    """Seed by seed, so that what is cut off early holds every arm."""
    arms = list(wanted.arms or (QUICK if wanted.quick else (*OTHERS, *ARMS)))
    if "TextBrewer" in arms and not (find_spec("textbrewer") and find_spec("tensorboard")):
        print("TextBrewer is left out; for it: pip install textbrewer==0.2.1.post1 tensorboard")
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
    """A student of one arm, or one of the two it is measured between."""
    from tutelage.student.distillation.knowledge import shallow
    from tutelage.student.distillation.loop import distil
    from tutelage.student.evaluation.evaluate import evaluate
    from tutelage.student.training.adapters.classifier import fresh
    from tutelage.student.training.configuration import Recipe
    from tutelage.student.training.knowledge import Knowledge

    start, told = time.monotonic(), {}
    count = int(cell["setting"].split()[0].replace("all", "0"))
    labels, seed, recipe = list(TASKS[cell["task"]]), cell["seed"], Recipe(fields=fields(cell["task"]))
    rows, tests = load(cell["task"], count)
    teacher = expert(cell["task"], count, cache)
    if cell["arm"] == "teacher":
        student = teacher.student
    elif cell["arm"] == "untouched":
        student = shallow(fresh(labels, recipe, seed), LAYERS)
    elif cell["arm"] == "TextBrewer":
        from whitebox_textbrewer import distil_equally

        student = shallow(fresh(labels, recipe, seed), LAYERS)
        distil_equally(student, teacher.student, rows, recipe, seed)
    else:
        knowledge = Knowledge(layers=LAYERS, **ARMS[cell["arm"]])
        views = teacher.views([row["text"] for row in rows], knowledge)
        student = distil(rows, labels, recipe, knowledge, seed=seed, views=views, tell=told.update)
    taught = round(time.monotonic() - start, 1)
    about = {name: told[name] for name in ("steps", "mean_action") if name in told}
    return {"test": round(evaluate(student, tests, "accuracy")["metric"], 4), "seconds": taught, **about}


def load(task: str, count: int) -> tuple[list[Any], list[Any]]:
    """(train rows, always the same ones of so many, test rows)."""
    from tutelage.student.data.rows import Row, content_id

    def rows(split: str) -> list[Row]:
        pairs = ((text_of(r), str(r["label"])) for r in records(DATA / task / f"{split}.jsonl.gz"))
        return [Row(id=content_id(text), text=text, label=label) for text, label in pairs]

    test = rows("test")
    held = {row["id"] for row in test}
    distinct = {row["id"]: row for row in rows("train") if row["id"] not in held}
    train = list(distinct.values())
    return random.Random(0).sample(train, min(count or len(train), len(train))), test


def fields(task: str) -> tuple[str, ...]:
    """What the texts of a task consist of."""
    return ("text",) if task == "glue_sst2" else ("text_a", "text_b")


def make_teacher(task: str, count: int, cache: Path) -> None:
    """Fine-tune the teacher on the rows that its students get, unless it is in the cache."""
    from tutelage.student.training.configuration import Recipe
    from tutelage.student.training.loop import train

    folder = cache / "experts" / f"{task}-{count}"
    if not folder.exists():
        recipe = Recipe(fields=fields(task))
        student = train(load(task, count)[0], list(TASKS[task]), recipe, seed=0, encoder=encoder(cache))
        part = folder.with_suffix(".part")
        student.export(part)
        part.rename(folder)


@lru_cache(maxsize=1)
def expert(task: str, count: int, cache: Path) -> Any:
    """The teacher, with what it has read so far in this process."""
    from tutelage.student.distillation.white_box_teacher import load_expert

    folder = cache / "experts" / f"{task}-{count}"
    return load_expert(str(folder), list(TASKS[task]), fields=fields(task))


def print_table(results: Sequence[Cell]) -> None:
    """Accuracy, mean ± standard deviation over seeds; p of a paired t-test against equal weights."""
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
    """Steps of both stages, seconds, and the mean weight of each kind of knowledge in the second stage."""
    seconds = f"{mean(r['seconds'] for r in runs):.0f}"
    if "steps" not in runs[0]:
        return ["", seconds, ""]
    kinds = runs[0]["mean_action"]
    weights = [f"{kind} {mean(r['mean_action'][kind] for r in runs):.2f}" for kind in kinds]
    return [f"{mean(sum(r['steps']) for r in runs):.0f}", seconds, ", ".join(weights)]


if __name__ == "__main__":
    main()
