"""Fine-tuning speed: our loop against the Hugging Face Trainer, same rows, backbone, batch and epochs.

    python benchmarks/training.py                       # 960 AG News rows, five arms: half an hour
    python benchmarks/training.py --arms ours grouped   # the two that matter

Timed is rows in, trained model out: model loading and tokenisation are in every arm, imports and one
small warm-up run of each arm in none. Samples and padding are counted at the model's word embedding.
CPU seconds (of all threads) are the stable figure where other work shares the machine. Runs with
other settings stay in results/training.json side by side.

The ratio to group_by_length depends on --rows: transformers sorts within a quarter of the rows or 50
batches, whichever is less, and we always within 50 batches. With 200 batches or more both pad alike.
"""

import argparse
import gzip
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported: waiting threads burn no CPU seconds

import accelerate
import numpy as np
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from tutelage.student.data.rows import Row, make_row
from tutelage.student.encoder import Encoder, device, load_pretrained
from tutelage.student.models.base import FullStudent
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.loop import train

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training.json"
DATA = HERE.parent.parent / "shared" / "data" / "agnews" / "train.jsonl.gz"
SPEEDS = ("per_second", "per_cpu_second")
Arm = Callable[[list[Row], list[str], Recipe, int], FullStudent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help=".jsonl or .jsonl.gz with text and label")
    parser.add_argument("--rows", type=int, default=960, help="the first so many rows")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--student-epochs", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps, for every arm")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    rows, labels = read(wanted.data, wanted.rows)
    recipe = Recipe(
        epochs=wanted.student_epochs,
        min_steps=1,  # else few rows would give our loop more epochs than the Trainer
        batch=wanted.batch,
        learning_rate=3e-4,
        device=device(wanted.device),
    )
    runs = measure({name: ARMS[name] for name in wanted.arms}, rows, labels, recipe, wanted.repeats)
    asked = {**vars(wanted), "data": "/".join(wanted.data.resolve().parts[-2:])}
    result = {"settings": asked, "recipe": vars(recipe), "machine": machine(recipe.device)}
    keep({**result, "summary": summarise(runs), "runs": runs})
    print_summary(summarise(runs))


def read(path: Path, count: int) -> tuple[list[Row], list[str]]:
    """The first rows of the file and their labels in alphabetical order."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        records = [json.loads(line) for line in islice(file, count)]
    labels = sorted({record["label"] for record in records})
    return [make_row(record, labels, path.name, ("text",), "label") for record in records], labels


def ours(rows: list[Row], labels: list[str], recipe: Recipe, seed: int) -> FullStudent:
    return train(rows, labels, recipe, seed=seed, encoder=Encoder(recipe.base))


def ours_shuffled(rows: list[Row], labels: list[str], recipe: Recipe, seed: int) -> FullStudent:
    """Our loop to the letter, but for the one function that orders the rows."""
    with patch("tutelage.student.training.loop.bucketed", shuffled):
        return ours(rows, labels, recipe, seed)


def shuffled(lengths: Sequence[int], size: int, order: random.Random) -> Iterator[list[int]]:
    """One epoch of random batches."""
    rows = list(range(len(lengths)))
    order.shuffle(rows)
    yield from (rows[i : i + size] for i in range(0, len(rows), size))


def trainer(sampling: str, **changes: object) -> Arm:
    """An arm: the Trainer with this sampling; `changes` go to the model's configuration."""

    def arm(rows: list[Row], labels: list[str], recipe: Recipe, seed: int) -> FullStudent:
        torch.manual_seed(seed)
        auto = AutoModelForSequenceClassification
        model = load_pretrained(auto, recipe.base, num_labels=len(labels), **changes)
        tokenizer = load_pretrained(AutoTokenizer, recipe.base)
        texts, goals = [row["text"] for row in rows], [labels.index(row["label"]) for row in rows]
        tokens = tokenizer(texts, truncation=True, max_length=recipe.max_tokens)["input_ids"]
        # A list of plain rows is the cheapest data set there is for the Trainer.
        data = [{"input_ids": ids, "labels": goal} for ids, goal in zip(tokens, goals, strict=True)]
        pad = transformers.DataCollatorWithPadding(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            options = arguments(folder, sampling, recipe, len(rows), seed)
            loop = transformers.Trainer(model, options, data_collator=pad, train_dataset=data)
            loop.remove_callback(transformers.PrinterCallback)
            loop.train()
        return FullStudent(model, tokenizer, labels, recipe.max_tokens)

    return arm


def arguments(folder: str, sampling: str, recipe: Recipe, count: int, seed: int) -> Any:
    """Ours wherever a setting changes the work; nothing that reports or saves; else the defaults."""
    return transformers.TrainingArguments(
        folder,
        train_sampling_strategy=sampling,
        per_device_train_batch_size=recipe.batch,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=max(1, -(-count // recipe.batch) * recipe.epochs // 10),
        weight_decay=0.01,
        optim="adamw_torch_fused",
        use_cpu=recipe.device == "cpu",
        bf16=recipe.device == "cuda",
        seed=seed,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )


ARMS: dict[str, Arm] = {
    "ours": ours,
    "ours-shuffled": ours_shuffled,
    "grouped": trainer("group_by_length"),
    "grouped-no-attention-dropout": trainer("group_by_length", attention_probs_dropout_prob=0.0),
    "trainer": trainer("random"),
}


def measure(
    arms: dict[str, Arm], rows: list[Row], labels: list[str], recipe: Recipe, repeats: int
) -> list[dict[str, Any]]:
    """Every arm once a repetition; the order turns, so that none always runs first."""
    for arm in arms.values():
        arm(rows[: recipe.batch], labels, recipe, 0)
    names, runs = list(arms), []
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            run = {"repeat": repeat, "arm": name, **clock(arms[name], rows, labels, recipe, repeat)}
            runs.append(run)
            print(json.dumps(run), flush=True)
    return runs


def clock(arm: Arm, rows: list[Row], labels: list[str], recipe: Recipe, seed: int) -> dict[str, float]:
    """Speed of one run, the work its model saw, and how well it then knows its own rows."""
    shapes: list[tuple[int, int]] = []

    def note(module: object, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            shapes.append(tuple(inputs[0].shape))

    with torch.nn.modules.module.register_module_forward_pre_hook(note):
        wall, cpu = time.perf_counter(), time.process_time()
        student = arm(rows, labels, recipe, seed)
        if recipe.device == "cuda":
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    samples, padded = sum(n for n, _ in shapes), sum(n * width for n, width in shapes)
    texts = [row["text"] for row in rows]
    tokens = student.tokenizer(texts, truncation=True, max_length=recipe.max_tokens)["input_ids"]
    goal = np.array([labels.index(row["label"]) for row in rows[:320]])
    chances = student.probabilities(texts[:320])
    return {
        "per_second": round(samples / wall, 2),
        "per_cpu_second": round(samples / cpu, 2),
        "samples": samples,
        "steps": len(shapes),
        "padding": round(padded / recipe.epochs / sum(map(len, tokens)), 3),
        "train_loss": round(float(-np.log(chances[np.arange(len(goal)), goal]).mean()), 3),
        "train_accuracy": round(float((chances.argmax(1) == goal).mean()), 3),
    }


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Medians of each arm; ours / arm is taken within a repetition: [median, least, greatest]."""
    arms = {name: [run for run in runs if run["arm"] == name] for name in ARMS}
    summary: dict[str, dict[str, Any]] = {}
    for name, mine in arms.items():
        if mine:
            summary[name] = {key: median(run[key] for run in mine) for key in list(mine[0])[2:]}
            for speed in SPEEDS if arms["ours"] else ():
                ratios = [a[speed] / b[speed] for a, b in zip(arms["ours"], mine, strict=True)]
                spread = (median(ratios), min(ratios), max(ratios))
                summary[name][f"ours_over_{speed}"] = [round(ratio, 3) for ratio in spread]
    return summary


def print_summary(summary: dict[str, dict[str, Any]]) -> None:
    print(
        "\n| arm | samples/s | ours / arm | samples/CPU s | ours / arm | samples | steps | padding |", end=""
    )
    print(" train loss | train accuracy |\n" + "|---" * 10 + "|")
    for name, arm in summary.items():
        cells = [name]
        for speed in SPEEDS:
            ratio = arm.get(f"ours_over_{speed}")
            cells += [f"{arm[speed]:.1f}", "{:.2f} ({:.2f} to {:.2f})".format(*ratio) if ratio else ""]
        cells += [f"{arm[key]:.0f}" for key in ("samples", "steps")]
        cells += [f"{arm['padding']:.2f}", f"{arm['train_loss']:.3f}", f"{arm['train_accuracy']:.3f}"]
        print(f"| {' | '.join(cells)} |")


def keep(result: dict[str, Any]) -> None:
    """Write to the results file in place of an earlier result of the same settings."""
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = [old for old in earlier if old["settings"] != result["settings"]] + [result]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def machine(name: str) -> dict[str, object]:
    return {
        "device": torch.cuda.get_device_name() if name == "cuda" else name,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "platform": platform.platform(),
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, accelerate)},
    }


if __name__ == "__main__":
    main()
