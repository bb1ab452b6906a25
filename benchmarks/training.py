"""Fine-tuning speed: our loop against the Hugging Face Trainer, same rows, backbone, batch and epochs.

    python benchmarks/training.py                       # 960 AG News rows, three repetitions
    python benchmarks/training.py --rows 480 --threads 1

Timed is rows in, trained model out: model loading and tokenisation are in every arm, imports and one
small warm-up run of each arm are not. Samples and padding are counted at the model's word embedding.
Wall time suffers from neighbours on a shared machine; CPU seconds (of all threads) much less.
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
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported: waiting threads burn no CPU seconds
if TYPE_CHECKING:
    from tutelage.student.model import FullStudent
    from tutelage.student.rows import Row
    from tutelage.student.training import Recipe

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training.json"
DATA = HERE.parent.parent / "shared" / "data" / "agnews" / "train.jsonl.gz"
SPEEDS = ("per_second", "per_cpu_second")
Arm = Callable[[list["Row"], list[str], "Recipe", int], "FullStudent"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help=".jsonl or .jsonl.gz with text and label")
    parser.add_argument("--rows", type=int, default=960, help="the first so many rows")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--student-epochs", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps, for every arm")
    wanted = parser.parse_args()
    import torch
    from tutelage.student.encoder import device
    from tutelage.student.training import Recipe

    torch.set_num_threads(wanted.threads)
    wanted.device = device(wanted.device)
    rows, labels = read(wanted.data, wanted.rows)
    recipe = Recipe(
        epochs=wanted.student_epochs,
        min_steps=1,  # else a small --rows would give our loop more epochs than the Trainer
        batch=wanted.batch,
        learning_rate=3e-4,
        device=wanted.device,
    )
    runs = measure(rows, labels, recipe, wanted.repeats)
    summary = summarise(runs)
    result = {"machine": machine(wanted), "settings": settings(wanted), "summary": summary, "runs": runs}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print_summary(summary)


def read(path: Path, count: int) -> tuple[list["Row"], list[str]]:
    """The first rows of the file and their labels in alphabetical order."""
    from tutelage.student.rows import make_row

    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        records = [json.loads(line) for line in islice(file, count)]
    labels = sorted({record["label"] for record in records})
    return [make_row(record, labels, path.name, "text", "label") for record in records], labels


def ours(rows: list["Row"], labels: list[str], recipe: "Recipe", seed: int) -> "FullStudent":
    from tutelage.student.encoder import Encoder
    from tutelage.student.training import train

    return train(rows, labels, recipe, seed=seed, encoder=Encoder(recipe.base))


def ours_random(rows: list["Row"], labels: list[str], recipe: "Recipe", seed: int) -> "FullStudent":
    """Our loop to the letter, but for the one function that orders the rows."""
    with patch("tutelage.student.training.bucketed", shuffled):
        return ours(rows, labels, recipe, seed)


def shuffled(lengths: Sequence[int], size: int, order: random.Random) -> Iterator[list[int]]:
    """One epoch of random batches."""
    rows = list(range(len(lengths)))
    order.shuffle(rows)
    yield from (rows[i : i + size] for i in range(0, len(rows), size))


def trainer(sampling: str, **changes: object) -> Arm:
    """An arm: the Trainer with this sampling, its own defaults elsewhere, `changes` to the model."""

    def arm(rows: list["Row"], labels: list[str], recipe: "Recipe", seed: int) -> "FullStudent":
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer
        from transformers import DataCollatorWithPadding as Collator
        from tutelage.student.encoder import load_pretrained
        from tutelage.student.model import FullStudent

        torch.manual_seed(seed)
        model = load_pretrained(
            AutoModelForSequenceClassification, recipe.base, num_labels=len(labels), **changes
        )
        tokenizer = load_pretrained(AutoTokenizer, recipe.base)
        texts = [row["text"] for row in rows]
        tokens = tokenizer(texts, truncation=True, max_length=recipe.max_tokens)["input_ids"]
        # A list of plain rows: the cheapest data set there is for the Trainer.
        data = [
            {"input_ids": ids, "labels": labels.index(row["label"])}
            for ids, row in zip(tokens, rows, strict=True)
        ]
        with tempfile.TemporaryDirectory() as folder:
            options = arguments(folder, sampling, recipe, len(rows), seed)
            Trainer(model, options, data_collator=Collator(tokenizer), train_dataset=data).train()
        return FullStudent(model, tokenizer, labels, recipe.max_tokens)

    return arm


def arguments(folder: str, sampling: str, recipe: "Recipe", count: int, seed: int) -> Any:
    """The Trainer's settings: ours where they change the work, nothing that reports or saves."""
    from transformers import TrainingArguments

    return TrainingArguments(
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
    "ours, random batches": ours_random,
    "Trainer, group_by_length": trainer("group_by_length"),
    "Trainer, grouped, no attention dropout": trainer("group_by_length", attention_probs_dropout_prob=0.0),
    "Trainer, default sampling": trainer("random"),
}


def measure(rows: list["Row"], labels: list[str], recipe: "Recipe", repeats: int) -> list[dict[str, object]]:
    """Every arm once a repetition; the order turns, so that no arm always follows the same one."""
    for arm in ARMS.values():
        arm(rows[: 2 * recipe.batch], labels, recipe, 0)
    names, runs = list(ARMS), []
    for repeat in range(repeats):
        turn = repeat * 2 % len(names)
        for name in names[turn:] + names[:turn]:
            run = {"repeat": repeat, "arm": name, **clock(ARMS[name], rows, labels, recipe, repeat)}
            runs.append(run)
            print(json.dumps(run), flush=True)
    return runs


def clock(arm: Arm, rows: list["Row"], labels: list[str], recipe: "Recipe", seed: int) -> dict[str, float]:
    """Speed of one run, the work the model saw, and what the student then knows of its own rows."""
    import torch

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
    tokens = student.tokenizer([row["text"] for row in rows], truncation=True, max_length=recipe.max_tokens)
    loss, accuracy = knows(student, rows[:320])
    return {
        "per_second": round(samples / wall, 2),
        "per_cpu_second": round(samples / cpu, 2),
        "samples": samples,
        "steps": len(shapes),
        "padding": round(padded / (recipe.epochs * sum(map(len, tokens["input_ids"]))), 3),
        "train_loss": round(loss, 3),
        "train_accuracy": round(accuracy, 3),
    }


def knows(student: "FullStudent", rows: list["Row"]) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy without dropout, after training, outside the clock."""
    import numpy as np

    chances = student.probabilities([row["text"] for row in rows])
    goal = np.array([student.labels.index(row["label"]) for row in rows])
    loss = -np.log(chances[np.arange(len(goal)), goal] + 1e-9).mean()
    return float(loss), float((chances.argmax(1) == goal).mean())


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Medians of each arm; `ours` / arm is taken within a repetition: [median, least, greatest]."""
    summary: dict[str, dict[str, Any]] = {}
    first = [run for run in runs if run["arm"] == "ours"]
    for name in ARMS:
        arm = [run for run in runs if run["arm"] == name]
        keys = [key for key in arm[0] if key not in ("repeat", "arm")]
        summary[name] = {key: median(run[key] for run in arm) for key in keys}
        for speed in SPEEDS:
            ratios = [a[speed] / b[speed] for a, b in zip(first, arm, strict=True)]
            spread = (median(ratios), min(ratios), max(ratios))
            summary[name][f"ours_over_arm_{speed}"] = [round(ratio, 3) for ratio in spread]
    return summary


def print_summary(summary: dict[str, dict[str, Any]]) -> None:
    print("\n| arm | samples/s | ours ÷ arm | samples/cpu-s | ours ÷ arm | samples | steps | padding", end="")
    print(" | train loss | train accuracy |\n|---|---|---|---|---|---|---|---|---|---|")
    for name, arm in summary.items():
        cells = [name]
        for speed in SPEEDS:
            middle, least, most = arm[f"ours_over_arm_{speed}"]
            ratio = "" if name == "ours" else f"{middle:.2f} ({least:.2f}-{most:.2f})"
            cells += [f"{arm[speed]:.1f}", ratio]
        cells += [f"{arm[key]:.0f}" for key in ("samples", "steps")]
        cells += [f"{arm['padding']:.2f}", f"{arm['train_loss']:.3f}", f"{arm['train_accuracy']:.3f}"]
        print(f"| {' | '.join(cells)} |")


def machine(wanted: argparse.Namespace) -> dict[str, object]:
    import accelerate
    import torch
    import transformers

    return {
        "device": torch.cuda.get_device_name() if wanted.device == "cuda" else wanted.device,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "accelerate": accelerate.__version__,
    }


def settings(wanted: argparse.Namespace) -> dict[str, object]:
    path = wanted.data.resolve()
    return {
        **{key: vars(wanted)[key] for key in ("rows", "batch", "repeats", "student_epochs")},
        "data": "/".join(path.parts[-2:]),
        "max_tokens": 128,
        "learning_rate": 3e-4,
        "timed": "model loading, tokenisation and training, in every arm",
    }


if __name__ == "__main__":
    main()
