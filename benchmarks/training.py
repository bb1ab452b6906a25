"""Compare the fine-tuning speed of our loop and the Hugging Face Trainer: same rows, model, batch and epochs.

    python benchmarks/training.py                       # 960 AG News rows, five arms: half an hour
    python benchmarks/training.py --arms ours grouped   # the two that matter

The time is that from the rows to the trained model. It includes model loading and tokenisation, but not
imports and a small warm-up run of each arm. Samples and padding are counted at the model's word embedding.
CPU seconds (of all threads) are the stable measure when other work shares the machine. A run replaces the
result of the same settings in results/training.json.

The ratio to group_by_length depends on --rows: transformers sorts within a quarter of the rows or 50 batches,
whichever is less, and our loop always within 50 batches. With 200 batches or more both pad equally.
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

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported: waiting threads use no CPU time

import accelerate
import numpy as np
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from tutelage.student.data.readers import make_row
from tutelage.student.data.rows import Row
from tutelage.student.device import device
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import FullStudent
from tutelage.student.pretrained import load_pretrained
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training.json"
DATA = HERE.parent.parent / "shared" / "data" / "agnews" / "train.jsonl.gz"
SPEEDS = ("per_second", "per_cpu_second")
Arm = Callable[[list[Row], list[str], TrainingConfig, int], FullStudent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help=".jsonl or .jsonl.gz with text and label")
    parser.add_argument("--rows", type=int, default=960, help="number of rows, from the start of the file")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--student-epochs", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps, for every arm")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    rows, labels = read(wanted.data, wanted.rows)
    training_config = TrainingConfig(
        epochs=wanted.student_epochs,
        min_steps=1,  # with few rows our loop would otherwise train more epochs than the Trainer
        batch=wanted.batch,
        learning_rate=3e-4,
        device=device(wanted.device),
    )
    runs = measure({name: ARMS[name] for name in wanted.arms}, rows, labels, training_config, wanted.repeats)
    asked = {**vars(wanted), "data": "/".join(wanted.data.resolve().parts[-2:])}
    result = {"settings": asked, "recipe": vars(training_config), "machine": machine(training_config.device)}
    store({**result, "summary": summarise(runs), "runs": runs})
    print_summary(summarise(runs))


def read(path: Path, count: int) -> tuple[list[Row], list[str]]:
    """Return the first rows of the file, and their labels in alphabetical order."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        records = [json.loads(line) for line in islice(file, count)]
    labels = sorted({record["label"] for record in records})
    return [make_row(record, labels, path.name) for record in records], labels


def ours(rows: list[Row], labels: list[str], training_config: TrainingConfig, seed: int) -> FullStudent:
    return train(rows, labels, training_config, seed=seed, encoder=Encoder(training_config.base))


def ours_shuffled(
    rows: list[Row], labels: list[str], training_config: TrainingConfig, seed: int
) -> FullStudent:
    """Train with our loop, except that batches are random instead of bucketed by length."""
    with patch("tutelage.student.training.loop.bucketed", shuffled):
        return ours(rows, labels, training_config, seed)


def shuffled(lengths: Sequence[int], size: int, order: random.Random) -> Iterator[list[int]]:
    """Yield the random batches of one epoch."""
    rows = list(range(len(lengths)))
    order.shuffle(rows)
    yield from (rows[i : i + size] for i in range(0, len(rows), size))


def trainer(sampling: str, **changes: object) -> Arm:
    """Return an arm that uses the Trainer with this sampling; `changes` go to the model's configuration."""

    def arm(rows: list[Row], labels: list[str], training_config: TrainingConfig, seed: int) -> FullStudent:
        torch.manual_seed(seed)
        auto = AutoModelForSequenceClassification
        model = load_pretrained(auto, training_config.base, num_labels=len(labels), **changes)
        tokenizer = load_pretrained(AutoTokenizer, training_config.base)
        texts, goals = [row["text"] for row in rows], [labels.index(row["label"]) for row in rows]
        tokens = tokenizer(texts, truncation=True, max_length=training_config.max_tokens)["input_ids"]
        # A list of plain rows is the fastest data set for the Trainer.
        data = [{"input_ids": ids, "labels": goal} for ids, goal in zip(tokens, goals, strict=True)]
        pad = transformers.DataCollatorWithPadding(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            options = arguments(folder, sampling, training_config, len(rows), seed)
            loop = transformers.Trainer(model, options, data_collator=pad, train_dataset=data)
            loop.remove_callback(transformers.PrinterCallback)
            loop.train()
        return FullStudent(model, tokenizer, labels, training_config.max_tokens)

    return arm


def arguments(folder: str, sampling: str, training_config: TrainingConfig, count: int, seed: int) -> Any:
    """Return our settings where they change the work, else the defaults; nothing is reported or saved."""
    return transformers.TrainingArguments(
        folder,
        train_sampling_strategy=sampling,
        per_device_train_batch_size=training_config.batch,
        num_train_epochs=training_config.epochs,
        learning_rate=training_config.learning_rate,
        warmup_steps=max(1, -(-count // training_config.batch) * training_config.epochs // 10),
        weight_decay=0.01,
        optim="adamw_torch_fused",
        use_cpu=training_config.device == "cpu",
        bf16=training_config.device == "cuda",
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
    arms: dict[str, Arm], rows: list[Row], labels: list[str], training_config: TrainingConfig, repeats: int
) -> list[dict[str, Any]]:
    """Run every arm once per repetition, in rotating order, so that none always runs first."""
    for arm in arms.values():
        arm(rows[: training_config.batch], labels, training_config, 0)
    names, runs = list(arms), []
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            run = {"repeat": repeat, "arm": name, **clock(arms[name], rows, labels, training_config, repeat)}
            runs.append(run)
            print(json.dumps(run), flush=True)
    return runs


def clock(
    arm: Arm, rows: list[Row], labels: list[str], training_config: TrainingConfig, seed: int
) -> dict[str, float]:
    """Return the speed of one run, the work of its model, and the scores on its own training rows."""
    shapes: list[tuple[int, int]] = []

    def note(module: object, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            shapes.append(tuple(inputs[0].shape))

    with torch.nn.modules.module.register_module_forward_pre_hook(note):
        wall, cpu = time.perf_counter(), time.process_time()
        student = arm(rows, labels, training_config, seed)
        if training_config.device == "cuda":
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    samples, padded = sum(n for n, _ in shapes), sum(n * width for n, width in shapes)
    texts = [row["text"] for row in rows]
    tokens = student.tokenizer(texts, truncation=True, max_length=training_config.max_tokens)["input_ids"]
    goal = np.array([labels.index(row["label"]) for row in rows[:320]])
    probabilities = student.predict_proba(texts[:320])
    return {
        "per_second": round(samples / wall, 2),
        "per_cpu_second": round(samples / cpu, 2),
        "samples": samples,
        "steps": len(shapes),
        "padding": round(padded / training_config.epochs / sum(map(len, tokens)), 3),
        "train_loss": round(float(-np.log(probabilities[np.arange(len(goal)), goal]).mean()), 3),
        "train_accuracy": round(float((probabilities.argmax(1) == goal).mean()), 3),
    }


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return medians of each arm; ours / arm within the same repetition is [median, minimum, maximum]."""
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


def store(result: dict[str, Any]) -> None:
    """Store the result in place of an earlier one with the same settings."""
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
