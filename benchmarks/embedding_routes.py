"""Compare ONNX Runtime with torch for sentence embeddings of MiniLM, on one thread of one process.

    python benchmarks/embedding_routes.py         # needs onnxruntime and the data sets beside the checkout

The same 2,000 texts, the longest first, in batches of 64 that both get in turn, so that other load on the
machine meets both alike. Time includes the tokenizer. The result is appended to
results/embedding_routes.jsonl.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from common.cells import write
from large_corpus import real_texts
from tutelage.student.encoder import Encoder

RESULTS = Path(__file__).parent / "results" / "embedding_routes.jsonl"
TEXTS, BATCH = 2_000, 64


def main() -> None:
    torch.set_num_threads(1)
    texts = sorted(real_texts()[:TEXTS], key=len, reverse=True)
    encoder = Encoder(device="cpu")
    assert encoder._mean_pooled
    tokenizer, model = encoder._mean_pooled
    start = time.process_time()
    session = exported(tokenizer, model)
    export = round(time.process_time() - start, 1)

    def by_onnx(batch: list[str]) -> Any:
        made = tokenizer(batch, padding=True, truncation=True, max_length=128, return_tensors="np")
        hidden = session.run(None, {key.name: made[key.name] for key in session.get_inputs()})[0]
        mask = made["attention_mask"][..., None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    seconds, apart = {"torch": 0.0, "onnx": 0.0}, 0.0
    for start in range(-BATCH, TEXTS, BATCH):  # the first batch warms up
        batch = texts[max(start, 0) : max(start, 0) + BATCH]
        vectors = {}
        for route, encode in (("torch", encoder._forward), ("onnx", by_onnx)):
            before = time.process_time()
            vectors[route] = encode(batch)
            seconds[route] += (time.process_time() - before) * (start >= 0)
        apart = max(apart, float(abs(vectors["torch"] - vectors["onnx"]).max()))
    found = {name: round(spent, 1) for name, spent in seconds.items()}
    ratio = round(seconds["torch"] / seconds["onnx"], 2)
    write(
        RESULTS,
        {"texts": TEXTS, "cpu": found, "export": export, "times_as_fast": ratio, "largest_difference": apart},
    )
    print(RESULTS.read_text())


def exported(tokenizer: Any, model: Any) -> Any:
    """Return a session of ONNX Runtime with the model in float32."""
    import onnxruntime

    example = tokenizer(["a text", "another text of more words"], padding=True, return_tensors="pt")
    names = list(example)

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.model(**dict(zip(names, inputs, strict=True))).last_hidden_state

    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=512)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            Hidden().eval(),
            tuple(example[name] for name in names),
            dynamo=True,
            verbose=False,
            input_names=names,
            dynamic_shapes=(tuple({0: batch, 1: length} for _ in names),),
            opset_version=20,
        ).save(path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
