"""Compare forms of an exported classifier in 8 bits: how many of its answers they keep.

    python benchmarks/quantisation.py            # 5 data sets: about 20 minutes
    python benchmarks/quantisation.py --table    # print the stored results

A cell is a data set and a seed. A full MiniLM student is trained by default settings on the rows of
few_rows.py, exported as ONNX, and its weights are written in 8 bits in several ways:

- `8 bits`: one scale a column, all of the 8 bits. On CPUs without VNNI instructions sums of two products
  can saturate.
- `7 bits`: one scale a column, seven of the bits, so that no sum can saturate.
- `8 bits, one scale`, `7 bits, one scale`: one scale for a whole matrix.

Each form predicts 1,000 texts of the validation split, beside the model in full precision (the control).
Stored are the share of texts with the same answer, the largest and the mean difference of a probability, and
the macro-F1. Each result is appended to results/quantisation.jsonl as it comes; cells with a result are not
run again.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported: waiting threads use no CPU time

import numpy as np
import torch
from few_rows import FIRST, load
from onnxruntime.quantization import QuantType, quantize_dynamic
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.evaluate import grade
from tutelage.student.models.onnx import write_onnx
from tutelage.student.models.standalone import open_model
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.loop import train

RESULTS = Path(__file__).parent / "results" / "quantisation.jsonl"
SETS = {"emotion": 300, "agnews": 300, "csabstruct": 300, "tweeteval_irony": 300, "clinc150": 600}
FORMS = {
    "8 bits": {"per_channel": True, "reduce_range": False},
    "7 bits": {"per_channel": True, "reduce_range": True},
    "8 bits, one scale": {"per_channel": False, "reduce_range": False},
    "7 bits, one scale": {"per_channel": False, "reduce_range": True},
}
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if not wanted.table:
        done = {(one["set"], one["seed"]) for one in results()}
        for seed in wanted.seeds:
            for name in wanted.sets:
                if (name, seed) not in done:
                    store(measured(name, seed))
    print_table()


def measured(name: str, seed: int) -> Line:
    """Train and export a student, and compare every form with the model in full precision."""
    rows, evaluated, labels = load({"set": name, "rows": SETS[name], "noisy": False, "seed": seed})
    student = train(rows, labels, FIRST, seed=seed, encoder=Encoder(FIRST.base, device="cpu"))
    texts, gold = [row["text"] for row in evaluated], [row["label"] for row in evaluated]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "student"
        student.save(folder)
        write_onnx(student, folder, texts[:2])  # type: ignore[arg-type]
        graph = folder / "onnx" / "model.onnx"
        full = open_model(folder, int8=False, threads=1).predict_proba(texts)
        found = {"full precision": full}
        for form, settings in FORMS.items():
            small = graph.with_stem("model_int8")
            quantize_dynamic(str(graph), str(small), weight_type=QuantType.QInt8, **settings)
            found[form] = open_model(folder, int8=True, threads=1).predict_proba(texts)
    forms = {form: compared(p, full, texts, gold, labels) for form, p in found.items()}
    return {"set": name, "seed": seed, "texts": len(texts), "cpu": processor(), "forms": forms}


def compared(p: Any, full: Any, texts: list[str], gold: list[str], labels: list[str]) -> Line:
    """Return how far probabilities are from those in full precision, and their macro-F1."""
    best = p.argmax(1)
    answers = [labels[j] for j in best]
    figures = grade(TASK_TYPES["classification"], texts, gold, answers, labels, "macro_f1")["figures"]
    return {
        "same": round(float((best == full.argmax(1)).mean()), 4),
        "largest": round(float(np.abs(p - full).max()), 4),
        "mean": round(float(np.abs(p - full).mean()), 5),
        "macro_f1": round(figures["macro_f1"], 4),
    }


def processor() -> Line:
    """Return the processor's name, and whether it adds 8-bit products without saturation."""
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = next((line.split(":")[1].strip() for line in about.splitlines() if "model name" in line), "")
    return {"name": name, "vnni": "vnni" in about}


def store(line: Line) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def results() -> list[Line]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def print_table() -> None:
    """Print the mean over the seeds, for each processor and form."""
    found = results()
    for cpu in dict.fromkeys((one["cpu"]["name"], one["cpu"]["vnni"]) for one in found):
        mine = [one for one in found if (one["cpu"]["name"], one["cpu"]["vnni"]) == cpu]
        print(f"\n{cpu[0]}, {'with' if cpu[1] else 'without'} VNNI")
        for form in ("full precision", *FORMS):
            print(f"  {form:18}", end="")
            for name in dict.fromkeys(one["set"] for one in mine):
                lines = [one["forms"][form] for one in mine if one["set"] == name]
                same, score = (mean(line[key] for line in lines) for key in ("same", "macro_f1"))
                print(f"  {name} {same:.1%} ({score:.3f})", end="")
            print()


if __name__ == "__main__":
    main()
