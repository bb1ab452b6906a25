"""Test and measure tutelage on a machine with a GPU, in at most eight minutes.

    python3 benchmarks/gpu.py               # on a bare machine too: it installs tutelage in .venv if needed
    python3 benchmarks/gpu.py --parts tests training
    python3 benchmarks/gpu.py --rehearse    # every part on the CPU, tiny, results in a folder of /tmp
    python3 benchmarks/gpu.py --table

Without a CUDA device it says so and ends with exit code 2. Each part is a process of its own, which is
stopped when its seconds are over. A part that does not fit into the time left is stored as not run. Each
result is appended to results/gpu.jsonl as it comes, with the name of the card. A rehearsal has four times the
seconds.

  tests       the tests that need a GPU
  training    samples per second of BERT-base with random weights and of MiniLM, and their share of the card's
              rate, which is that of a large bf16 matrix product. The floating-point operations of a sample of
              t tokens are counted as t · (6 · parameters without embeddings + 12 · layers · width · t); the
              second term is attention. Loading and the first steps are not counted.
  round       the students of a round, 300 own rows and 300 samples in three folds, trained as a run does.
              The aim is less than 15 seconds.
  throughput  texts per second that are embedded, and predicted by a full student
  memory      MiB of the card that are in use before and after each of ten rounds, and the most within it.
              The aim is that they come back to what they were before the first one.
  value       the widest cells of value.py, with the time left; needs its data in ../shared/data
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.resolve()
ROOT = HERE.parent
RESULTS = HERE / "results" / "gpu.jsonl"
START = time.monotonic()
LIMIT, SLOWER = 480, 4
FOLDS = 3
FEW_STEPS = {"epochs": 1, "min_steps": 50}  # the memory of a training does not depend on their number
LABELS = ["refund", "status"]
# Each word is one token of MiniLM. The words of a text tell its label, so that every training learns
# something: one that does not would be started again.
WORDS = {
    "refund": "money back return price cost paid want card bank change order sold buy cash fee",
    "status": "late where road train house city day week hour map door street ship truck home",
}
Figures = dict[str, Any]
GPU_TESTS = ("tests/test_gpu.py", "tests/student/training/processes")


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `bert` are the fields of BERT's configuration that are not those of BERT-base;
    `trainings` has (model, tokens of a text, batch); `config` changes the training of a round.
    """

    device: str = "cuda"
    matrix: int = 8192
    bert: Mapping[str, int] = field(default_factory=dict)
    trainings: tuple[tuple[str, int, int], ...] = (
        ("bert-base", 128, 16),
        ("bert-base", 128, 64),
        ("minilm", 128, 16),
        ("minilm", 128, 64),
        ("minilm", 32, 16),
    )
    steps: int = 90  # fewer than 100: so few are never started again
    unmeasured: int = 20
    rows: int = 300
    config: dict[str, Any] = field(default_factory=dict)
    texts: int = 5000
    rounds: int = 10
    value: str = "--sets clinc150 banking77 --arms gold auto random own --student full"


REAL = Sizes()
TINY = Sizes(
    device="cpu",
    matrix=128,
    bert={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    trainings=(("bert-base", 16, 4), ("minilm", 16, 4)),
    steps=6,
    unmeasured=2,
    rows=6,
    config={"epochs": 1, "min_steps": 1},
    texts=20,
    rounds=2,
    value="--sets tweeteval_irony --arms own --student head --own 20 --labels 10",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seconds", type=int, help=f"time limit of the whole script (default: {LIMIT})")
    parser.add_argument("--rehearse", action="store_true", help="run every part on the CPU, with tiny sizes")
    parser.add_argument("--results", type=Path, help="file for the results")
    parser.add_argument("--table", action="store_true", help="print the results and run nothing")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # in a process of its own
    wanted = parser.parse_args()
    if wanted.part:
        for figures in PARTS[wanted.part].measure(TINY if wanted.rehearse else REAL):
            print(json.dumps(figures), flush=True)
        return 0
    wanted.seconds = wanted.seconds or LIMIT * (SLOWER if wanted.rehearse else 1)
    made = Path(tempfile.mkdtemp(prefix="tutelage-gpu-")) / "gpu.jsonl" if wanted.rehearse else RESULTS
    results = wanted.results or made
    if not wanted.table:
        os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        if wanted.rehearse:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        python = interpreter()
        if not python and (wanted.rehearse or shutil.which("nvidia-smi")):
            python = install(wanted.seconds)
        machine = describe(python) if python else {"card": ""}
        if not machine["card"] and not wanted.rehearse:
            print("no CUDA device was found; --rehearse runs every part on the CPU", file=sys.stderr)
            return 2
        for name in wanted.parts:
            run_part(name, python, machine, wanted, results)
    print_table(results)
    print(f"results: {results}")
    return 0


def interpreter() -> str:
    """Return a Python that has tutelage, "" if there is none."""
    for python in (sys.executable, str(ROOT / ".venv" / "bin" / "python")):
        command = [python, "-c", "import tutelage, torch, transformers"]
        if Path(python).exists() and not subprocess.run(command, capture_output=True, check=False).returncode:
            return python
    return ""


def install(seconds: int) -> str:
    """Install tutelage with its tests in .venv, and return its Python. This takes 2 to 4 minutes."""
    print("installing tutelage in .venv", flush=True)
    command = ["make", ".venv/done", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=max(1, seconds - elapsed()))
    return str(ROOT / ".venv" / "bin" / "python")


def describe(python: str) -> Figures:
    """Return the name of the card, "" without one, and the version of torch."""
    code = (
        "import json, torch; card = torch.cuda.get_device_name() if torch.cuda.is_available() else '';"
        "print(json.dumps({'card': card, 'torch': torch.__version__}))"
    )
    found = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(found.stdout.splitlines()[-1]))


def run_part(name: str, python: str, machine: Figures, wanted: argparse.Namespace, results: Path) -> None:
    """Run a part in a process of its own, and store its figures as they come."""
    left, begun, part = wanted.seconds - elapsed(), time.monotonic(), PARTS[name]
    needed = part.seconds * (SLOWER if wanted.rehearse else 1)
    seconds = left if part.takes_the_rest else needed

    def store(**figures: Any) -> None:
        line = json.dumps({"part": name, **machine, **figures})
        print(line, flush=True)
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    if left < needed:
        store(not_run=f"{max(0, round(left))} of {wanted.seconds} s were left, and it needs {needed}")
        return
    command = [python, __file__, "--part", name, *(["--rehearse"] if wanted.rehearse else [])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    assert process.stdout
    for line in process.stdout:
        if line.startswith("{"):
            store(**json.loads(line))
    code = process.wait()
    timer.cancel()
    took = time.monotonic() - begun
    if code:
        stopped = took >= seconds
        store(error=f"stopped after {took:.0f} s" if stopped else f"ended with exit code {code}")


def elapsed() -> float:
    return time.monotonic() - START


def tests(sizes: Sizes) -> Iterator[Figures]:
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--color=no", *GPU_TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
    yield {"exit_code": done.returncode, "tests": done.stdout.strip().splitlines()[-1]}


def training(sizes: Sizes) -> Iterator[Figures]:
    """Measure the rate of a matrix product and the speed of trainings."""
    import torch

    rate = matrix_rate(sizes)
    yield {"matrix_tflops": round(rate / 1e12, 4)}
    with tempfile.TemporaryDirectory() as name:
        bases = {"minilm": "minilm", "bert-base": random_bert(Path(name), sizes.bert)}
        for model, tokens, batch in sizes.trainings:
            speed, operations = training_speed(bases[model], tokens, batch, sizes)
            about = {"model": model, "tokens": tokens, "batch": batch, "samples_per_second": round(speed, 1)}
            share = {"tflops": round(speed * operations / 1e12, 5), "share": speed * operations / rate}
            if sizes.device == "cuda":
                share["allocated_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
                torch.cuda.reset_peak_memory_stats()
            yield {**about, **share}


def matrix_rate(sizes: Sizes) -> float:
    """Return the floating-point operations per second of a bf16 matrix product, at best of five times."""
    import torch

    torch.manual_seed(0)
    left, right = (
        torch.randn(sizes.matrix, sizes.matrix, device=sizes.device, dtype=torch.bfloat16) for _ in range(2)
    )
    seconds = []
    for _ in range(6):  # the first time is a warm-up
        wait(sizes)
        start = time.perf_counter()
        for _ in range(10):
            left @ right
        wait(sizes)
        seconds.append(time.perf_counter() - start)
    return 10 * 2 * float(sizes.matrix) ** 3 / min(seconds[1:])


def training_speed(base: str, tokens: int, batch: int, sizes: Sizes) -> tuple[float, float]:
    """Return the samples per second of a training, and the floating-point operations of a sample."""
    from tutelage.student.encoder import Encoder
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train
    from tutelage.student.training.observer import Observer

    config = TrainingConfig(
        base=base, batch=batch, epochs=1, min_steps=1, max_tokens=tokens, device=sizes.device
    )
    begun = []

    def step(number: int, of: int) -> None:
        if number == sizes.unmeasured + 1:
            wait(sizes)
            begun.append(time.perf_counter())

    rows = labelled_rows(batch * sizes.steps, tokens)
    student: Any = train(rows, LABELS, config, seed=0, encoder=Encoder(base), observer=Observer(step=step))
    wait(sizes)
    speed = batch * (sizes.steps - sizes.unmeasured) / (time.perf_counter() - begun[0])
    shape, named = student.model.config, student.model.named_parameters()
    weights = sum(weight.numel() for name, weight in named if "embeddings" not in name)
    attention = 12 * shape.num_hidden_layers * shape.hidden_size * tokens
    return speed, tokens * (6.0 * weights + attention)


def fold_students(sizes: Sizes) -> Iterator[Figures]:
    """Train the students of a round as a run does on a GPU."""
    start = time.perf_counter()
    train_folds(sizes, 2 * sizes.rows, 0, sizes.config)
    yield {"rows": 2 * sizes.rows, "folds": FOLDS, "seconds": round(time.perf_counter() - start, 2)}


def train_folds(sizes: Sizes, count: int, seed: int, changes: dict[str, Any]) -> None:
    """Train a student without each fold of `count` rows, in child processes as a run does."""
    from tutelage.student.training.candidates import candidates
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.observer import Observer
    from tutelage.student.training.processes.child import Job
    from tutelage.student.training.processes.side_by_side import (
        processes_for,
        threads_for,
        train_side_by_side,
    )

    default = next(iter(candidates(TrainingConfig(device=sizes.device)).values()))
    config, rows = replace(default, **changes), labelled_rows(count, 24, seed)
    processes = max(1, processes_for(config, count, FOLDS))
    jobs = [
        Job(
            [row for i, row in enumerate(rows) if i % FOLDS != fold],
            LABELS,
            config,
            seed + fold,
            threads_for(fold, FOLDS, processes),
        )
        for fold in range(FOLDS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        train_side_by_side(jobs, Path(folder) / "jobs", processes=processes, observers=[Observer()] * FOLDS)


def throughput(sizes: Sizes) -> Iterator[Figures]:
    """Measure how many texts a second are embedded, and predicted by a full student."""
    from tutelage.student.encoder import Encoder
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train

    config = TrainingConfig(epochs=1, min_steps=2, device=sizes.device)
    encoder = Encoder(device=sizes.device)
    student = train(labelled_rows(8, 24), LABELS, config, seed=0, encoder=encoder)
    for tokens in (24, 128):
        texts = [row["text"] for row in labelled_rows(sizes.texts, tokens, seed=tokens)]
        ways: dict[str, Callable[[list[str]], object]] = {
            "embedded_per_second": encoder.encode,
            "predicted_per_second": student.predict,
        }
        speeds = {}
        for name, work in ways.items():
            work([f"{text} again" for text in texts[:64]])  # a warm-up; an encoder keeps what it has seen
            start = time.perf_counter()
            work(texts)
            speeds[name] = round(len(texts) / (time.perf_counter() - start))
        yield {"texts": len(texts), "tokens": tokens, **speeds}


def memory(sizes: Sizes) -> Iterator[Figures]:
    """Train the students of rounds with more and more rows, and measure the memory of the card."""
    before = memory_used(sizes)  # with the context of this process, which stays
    for round in range(1, sizes.rounds + 1):
        with Highest(sizes) as highest:
            train_folds(sizes, sizes.rows * (round + 1) // 2, round, FEW_STEPS | sizes.config)
        yield {"round": round, "before": before, "after": settled(sizes, before), "highest": highest.found}


class Highest:
    """The most memory that is in use in a block, looked at 20 times a second."""

    def __init__(self, sizes: Sizes):
        self.sizes, self.found, self._ended = sizes, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Highest":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.found = max(self.found, memory_used(self.sizes))


def settled(sizes: Sizes, before: float) -> float:
    """Return the memory in use. The driver takes that of an ended process back within some seconds."""
    end = time.monotonic() + 5
    while memory_used(sizes) > before and time.monotonic() < end:
        time.sleep(0.1)
    return memory_used(sizes)


def memory_used(sizes: Sizes) -> float:
    """Return the MiB of the card that all processes use; on a CPU, those of this process."""
    import torch

    if sizes.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return round((total - free) / 2**20)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def value(sizes: Sizes) -> Iterator[Figures]:
    """Measure cells of value.py, and pass each on as it comes."""
    if not (ROOT.parent / "shared" / "data").exists():
        yield {"not_run": "there are no data in ../shared/data"}
        return
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "value.jsonl"
        options = [*sizes.value.split(), "--seeds", "0", "--jobs", "1", "--results", str(results)]
        command = [sys.executable, str(HERE / "value.py"), *options, "--cache", folder]
        process = subprocess.Popen(command, stdout=sys.stderr)
        passed = 0
        while process.poll() is None or passed < len(lines(results)):
            for line in lines(results)[passed:]:
                yield {"cell": json.loads(line)}
                passed += 1
            time.sleep(0.2)
        if process.returncode:
            yield {"error": f"value.py ended with exit code {process.returncode}"}


def lines(path: Path) -> list[str]:
    """Return the complete lines of a file."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def labelled_rows(count: int, tokens: int, seed: int = 0) -> list[Any]:
    """Return rows of different texts with this number of tokens each, two of which begin and end a text."""
    import random

    from tutelage.student.data.rows import Row

    rng = random.Random(f"{seed} {tokens}")
    rows = []
    for number in range(count):
        label = LABELS[number % 2]
        text = " ".join(rng.choices(WORDS[label].split(), k=tokens - 2))
        rows.append(Row(id=str(number), text=text, label=label))
    return rows


def random_bert(folder: Path, sizes: Mapping[str, int]) -> str:
    """Save a BERT with random weights to a folder, by default of the shape of BERT-base, and return its path.
    Its vocabulary is small, which changes nothing but the embedding.
    """
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(WORDS.values()).split()]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return str(folder)


def wait(sizes: Sizes) -> None:
    """Wait until the card has finished."""
    import torch

    if sizes.device == "cuda":
        torch.cuda.synchronize()


def print_table(results: Path) -> None:
    """Print every result as a row."""
    print("| card | part | figures |\n|---|---|---|")
    for line in lines(results):
        found = json.loads(line)
        card, part = found.pop("card") or "CPU (rehearsed)", found.pop("part")
        shown = [
            f"{key} {one:.3g}" if isinstance(one, float) else f"{key} {one}" for key, one in found.items()
        ]
        print(f"| {card} | {part} | {', '.join(shown)} |")


@dataclass(frozen=True)
class Part:
    """A part, and the seconds that it needs and gets."""

    measure: Callable[[Sizes], Iterator[Figures]]
    seconds: int
    takes_the_rest: bool = False


PARTS: dict[str, Part] = {
    "tests": Part(tests, 90),
    "training": Part(training, 60),
    "round": Part(fold_students, 40),
    "throughput": Part(throughput, 40),
    "memory": Part(memory, 140),
    "value": Part(value, 60, takes_the_rest=True),
}


if __name__ == "__main__":
    sys.exit(main())
