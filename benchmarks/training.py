"""Compare the fine-tuning speed of our loop with that of other trainers: same rows, base, batch and epochs.

    python benchmarks/training.py                              # every run without a result
    python benchmarks/training.py --arms ours grouped --rows 300 --repeats 3
    python benchmarks/training.py --table                      # the results as tables

The time is that from the rows to the trained model. It includes model loading and tokenisation, but not
imports and a small warm-up run of each arm. The arms of a repetition run in turn in one process. CPU seconds
(of all threads) are the stable measure when other work shares the machine. The score is accuracy on 500 rows
of the train split that no arm is trained on. Each run is appended to results/training.jsonl as it comes, and
is not run again.

Peers: `grouped` and `trainer` are the Hugging Face Trainer, with `group_by_length` and with random batches.
`setfit` trains on pairs, in one iteration for every four epochs, so that it reads each text as often as the
others, with its own learning rates. `small-text` is its transformer classifier without validation during
training; it pads every text to the maximum length. Both are left out if they are not installed.
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
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported: waiting threads use no CPU time

import numpy as np
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from tutelage.student.data.readers import make_row
from tutelage.student.data.rows import Row
from tutelage.student.device import device
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import FullStudent
from tutelage.student.pretrained import load_pretrained, locate
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training.jsonl"
DATA = HERE.parent.parent / "shared" / "data"
HELD_OUT = 500
KEYS = ("data", "rows", "epochs", "batch", "threads", "device", "repeat", "arm")
Predict = Callable[[list[str]], list[str]]
Arm = Callable[[list[Row], list[str], TrainingConfig, int], Predict]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["emotion"], help="folders of shared/data")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps, for every arm")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--table", action="store_true", help="print the results and run nothing")
    wanted = parser.parse_args()
    wanted.device = device(wanted.device)
    if not wanted.table:
        torch.set_num_threads(wanted.threads)
        for data in wanted.data:
            for rows in wanted.rows:
                measure(wanted, data, rows)
    print_tables(results())


def measure(wanted: argparse.Namespace, data: str, count: int) -> None:
    """Run every arm without a result once per repetition; the order rotates, so that none is always first."""
    rows, labels = read(DATA / data / "train.jsonl.gz", count + HELD_OUT)
    arms = [arm for arm in wanted.arms if find_spec(PACKAGES.get(arm, "torch"))]
    config = TrainingConfig(
        epochs=wanted.epochs,
        min_steps=1,  # with few rows our loop would otherwise train more epochs than the others
        batch=wanted.batch,
        learning_rate=3e-4,
        device=wanted.device,
    )
    settings = {**{name: getattr(wanted, name) for name in ("epochs", "batch", "threads", "device")}}
    warm = set[str]()
    for repeat in range(wanted.repeats):
        turn = repeat % len(arms)
        for name in arms[turn:] + arms[:turn]:
            cell = {"data": data, "rows": count, **settings, "repeat": repeat, "arm": name}
            if any(all(old[key] == cell[key] for key in KEYS) for old in results()):
                continue
            if name not in warm:
                ARMS[name](rows[: wanted.batch], labels, config, 0)
                warm.add(name)
            found = {**cell, **clock(ARMS[name], rows[:count], rows[count:], labels, config, repeat)}
            with RESULTS.open("a") as file:
                file.write(json.dumps({**found, "machine": machine(name, config.device)}) + "\n")
            print(json.dumps(found), flush=True)


def read(path: Path, count: int) -> tuple[list[Row], list[str]]:
    """Return the first rows of the file, and their labels in alphabetical order."""
    with gzip.open(path, "rt") as file:
        records = [json.loads(line) for line in islice(file, count)]
    labels = sorted({record["label"] for record in records})
    return [make_row(record, labels, path.name) for record in records], labels


def clock(
    arm: Arm, rows: list[Row], held_out: list[Row], labels: list[str], config: TrainingConfig, seed: int
) -> dict[str, float]:
    """Return the speed of one run, and its accuracy on rows that are held out."""
    wall, cpu = time.perf_counter(), time.process_time()
    predict = arm(rows, labels, config, seed)
    if config.device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    samples = len(rows) * config.epochs
    answers = predict([row["text"] for row in held_out])
    right = [answer == row["label"] for answer, row in zip(answers, held_out, strict=True)]
    speed = {"per_second": round(samples / wall, 2), "per_cpu_second": round(samples / cpu, 2)}
    return {**speed, "accuracy": round(float(np.mean(right)), 4)}


def ours(rows: list[Row], labels: list[str], config: TrainingConfig, seed: int) -> Predict:
    return train(rows, labels, config, seed=seed, encoder=Encoder(config.base)).predict_best


def ours_shuffled(rows: list[Row], labels: list[str], config: TrainingConfig, seed: int) -> Predict:
    """Train with our loop, except that batches are random instead of bucketed by length."""
    with patch("tutelage.student.training.loop.bucketed", shuffled):
        return ours(rows, labels, config, seed)


def shuffled(lengths: Sequence[int], size: int, order: random.Random) -> Iterator[list[int]]:
    """Yield the random batches of one epoch."""
    rows = list(range(len(lengths)))
    order.shuffle(rows)
    yield from (rows[i : i + size] for i in range(0, len(rows), size))


def trainer(sampling: str) -> Arm:
    """Return an arm that uses the Trainer with this sampling."""

    def arm(rows: list[Row], labels: list[str], config: TrainingConfig, seed: int) -> Predict:
        torch.manual_seed(seed)
        model = load_pretrained(AutoModelForSequenceClassification, config.base, num_labels=len(labels))
        tokenizer = load_pretrained(AutoTokenizer, config.base)
        texts, goals = [row["text"] for row in rows], [labels.index(row["label"]) for row in rows]
        tokens = tokenizer(texts, truncation=True, max_length=config.max_tokens)["input_ids"]
        # A list of plain rows is the fastest data set for the Trainer.
        data = [{"input_ids": ids, "labels": goal} for ids, goal in zip(tokens, goals, strict=True)]
        pad = transformers.DataCollatorWithPadding(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            options = arguments(folder, sampling, config, len(rows), seed)
            loop = transformers.Trainer(model, options, data_collator=pad, train_dataset=data)
            loop.remove_callback(transformers.PrinterCallback)
            loop.train()
        return FullStudent(model, tokenizer, labels, config.max_tokens).predict_best

    return arm


def arguments(folder: str, sampling: str, config: TrainingConfig, count: int, seed: int) -> Any:
    """Return our settings where they change the work, else the defaults; nothing is reported or saved."""
    return transformers.TrainingArguments(
        folder,
        train_sampling_strategy=sampling,
        per_device_train_batch_size=config.batch,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        warmup_steps=max(1, -(-count // config.batch) * config.epochs // 10),
        weight_decay=0.01,
        optim="adamw_torch_fused",
        use_cpu=config.device == "cpu",
        bf16=config.device == "cuda",
        seed=seed,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )


def setfit(rows: list[Row], labels: list[str], config: TrainingConfig, seed: int) -> Predict:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(locate(config.base), labels=labels, device=config.device)
    model.model_body.max_seq_length = config.max_tokens
    data = Dataset.from_dict({name: [row[name] for row in rows] for name in ("text", "label")})  # type: ignore[literal-required]
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            output_dir=folder,
            batch_size=config.batch // 2,  # pairs, so that a step reads as many texts
            num_iterations=max(1, config.epochs // 4),
            num_epochs=1,
            use_amp=config.device == "cuda",
            seed=seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        Trainer(model=model, args=options, train_dataset=data).train()
    return lambda texts: [str(label) for label in model.predict(texts)]


def small_text(rows: list[Row], labels: list[str], config: TrainingConfig, seed: int) -> Predict:
    import small_text as peer

    torch.manual_seed(seed)
    base = locate(config.base)
    tokenizer = AutoTokenizer.from_pretrained(base)

    def data(texts: list[str], goals: list[int]) -> Any:
        """Return its data set. Its own `from_arrays` calls a function that transformers 5 no longer has."""
        whole = {"padding": "max_length", "truncation": True, "max_length": config.max_tokens}
        made = (tokenizer(text, return_tensors="pt", **whole) for text in texts)
        items = [
            (one["input_ids"], one["attention_mask"], goal) for one, goal in zip(made, goals, strict=True)
        ]
        return peer.TransformersDataset(items, target_labels=np.arange(len(labels)))

    model = peer.TransformerBasedClassification(
        peer.TransformerModelArguments(base),
        len(labels),
        num_epochs=config.epochs,
        lr=config.learning_rate,
        mini_batch_size=config.batch,
        device=config.device,
        verbosity=0,
    )
    texts, goals = [row["text"] for row in rows], [labels.index(row["label"]) for row in rows]
    first = data(texts[:1], goals[:1])  # it needs a validation set, and would take rows of training for it
    model.fit(data(texts, goals), validation_set=first, early_stopping="none", model_selection="none")
    return lambda held_out: [labels[i] for i in model.predict(data(held_out, [0] * len(held_out)))]


ARMS: dict[str, Arm] = {
    "ours": ours,
    "ours-shuffled": ours_shuffled,
    "grouped": trainer("group_by_length"),
    "trainer": trainer("random"),
    "setfit": setfit,
    "small-text": small_text,
}
PACKAGES = {"grouped": "accelerate", "trainer": "accelerate", "setfit": "setfit", "small-text": "small_text"}


def results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def print_tables(found: list[dict[str, Any]]) -> None:
    """Print medians over the repetitions, and ours / arm of the same repetition with its range."""
    print("\n| data | rows | arm | samples/s | samples/CPU s | ours / arm (CPU) | accuracy | repetitions |")
    print("|---" * 8 + "|")
    groups = dict.fromkeys(tuple(one[key] for key in KEYS[:-2]) for one in found)
    for group in groups:
        runs = [one for one in found if tuple(one[key] for key in KEYS[:-2]) == group]
        mine = {one["repeat"]: one["per_cpu_second"] for one in runs if one["arm"] == "ours"}
        for name in ARMS:
            arm = [one for one in runs if one["arm"] == name]
            if not arm:
                continue
            ratios = [mine[one["repeat"]] / one["per_cpu_second"] for one in arm if one["repeat"] in mine]
            spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else ""
            speeds = [f"{median(one[key] for one in arm):.1f}" for key in ("per_second", "per_cpu_second")]
            score = f"{np.mean([one['accuracy'] for one in arm]):.3f}"
            cells = [group[0], str(group[1]), name, *speeds, spread, score, str(len(arm))]
            print(f"| {' | '.join(cells)} |")


def machine(arm: str, name: str) -> dict[str, object]:
    packages = ["torch", "transformers", *([PACKAGES[arm]] if arm in PACKAGES else [])]
    return {
        "device": torch.cuda.get_device_name() if name == "cuda" else name,
        "cpu": getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", platform.processor()),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {package: version(package.replace("_", "-")) for package in packages},
    }


if __name__ == "__main__":
    main()
