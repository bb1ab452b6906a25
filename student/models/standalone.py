"""Predict texts with the ONNX model in this folder. It needs no other package than these three:

    pip install onnxruntime tokenizers numpy
    python predict.py "where is my parcel?"        # or a text per line of standard input
    python predict.py --int8 "where is my parcel?" # the smaller, faster model

For pairs, a tab divides the two texts. From Python, `open_model("folder").predict(texts)`; pairs are tuples.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# From 1.29 on, onnxruntime reports to its maker which models are run, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from tokenizers import Tokenizer

BATCH = 32


class Model:
    """The classifier of a folder; `labels[j]` names column j of its probabilities."""

    def __init__(self, folder: Path | str = Path(__file__).parent, *, int8: bool = False, threads: int = 0):
        folder = Path(folder)
        self.settings = json.loads((folder / "predict.json").read_text(encoding="utf-8"))
        self.labels: list[str] = self.settings["labels"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        name = "model_int8.onnx" if int8 else "model.onnx"
        if not (folder / "onnx" / name).exists():
            raise FileNotFoundError(f"{folder / 'onnx' / name} was not written; README.md says why")
        self.session = onnxruntime.InferenceSession(
            str(folder / "onnx" / name), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        overlap = self.settings.get("overlap") or 0
        self.tokenizer.enable_truncation(self.settings["max_tokens"], stride=overlap)
        self.tokenizer.enable_padding(
            pad_id=self.settings["pad_id"], pad_token=self.settings["pad_token"], pad_to_multiple_of=None
        )

    def predict_proba(self, texts: Sequence[Any]) -> Any:
        """Return probabilities, shape (texts, labels). Rows sum to 1, except for several labels per text."""
        scores = self.logits(texts)
        if self.settings["thresholds"]:
            return 1 / (1 + np.exp(-scores))
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def logits(self, texts: Sequence[Any]) -> Any:
        """Return logits, shape (texts, labels)."""
        scores = np.zeros((len(texts), len(self.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len("".join(texts[i])))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            scores[part] = self._scores([texts[i] for i in part])
        return scores

    def predict(self, texts: Sequence[Any]) -> list[Any]:
        """Return the label of each text, or the list of its labels if it can have several."""
        found = self.predict_proba(texts)
        if thresholds := self.settings["thresholds"]:
            return [[self.labels[j] for j in np.flatnonzero(row >= thresholds)] for row in found]
        return [self.labels[j] for j in found.argmax(1)]

    def count_truncated(self, texts: Sequence[Any]) -> int:
        """Return how many texts have more tokens than the model reads; none if it reads them in windows."""
        if self.settings.get("overlap") is not None:
            return 0
        tokens = self.tokenizer.encode_batch(list(texts))
        return sum(bool(one.overflowing) for one in tokens)

    def _scores(self, texts: Sequence[Any]) -> Any:
        """Return logits; those of a long text are averaged over its windows unless it is cut."""
        encoded = self.tokenizer.encode_batch(list(texts))
        if self.settings.get("overlap") is None:
            return self._logits(encoded)
        windows = [[one, *one.overflowing] for one in encoded]
        flat = [one for part in windows for one in part]
        logits = [self._logits(flat[start : start + BATCH]) for start in range(0, len(flat), BATCH)]
        counts = np.array([len(part) for part in windows])
        sums = np.add.reduceat(np.concatenate(logits), np.cumsum(counts) - counts)
        return sums / counts[:, None]

    def _logits(self, tokens: Sequence[Any]) -> Any:
        """Return the model's logits for tokenized and padded texts."""
        columns = {
            "input_ids": [one.ids for one in tokens],
            "attention_mask": [one.attention_mask for one in tokens],
            "token_type_ids": [one.type_ids for one in tokens],
        }
        names = [one.name for one in self.session.get_inputs()]
        return self.session.run(None, {name: np.array(columns[name], np.int64) for name in names})[0]


class Tagger(Model):
    """The tagger of a folder, which finds entities; `labels[j]`, a BIO tag, names column j of its
    probabilities.
    """

    def predict_proba(self, texts: Sequence[Any]) -> Any:
        """Return the probabilities of each text's tags, shape (tokens, labels)."""
        exp = [np.exp(one - one.max(axis=1, keepdims=True)) for one in self.logits(texts)]
        return [one / one.sum(axis=1, keepdims=True) for one in exp]

    def logits(self, texts: Sequence[Any]) -> Any:
        """Return the logits of each text's tags, shape (tokens, labels)."""
        return [logits for _, logits in self.read(texts)]

    def predict(self, texts: Sequence[Any]) -> list[Any]:
        """Return the entities of each text, with `start`, `end`, `type` and `text`."""
        return [
            [
                {"start": start, "end": end, "type": kind, "text": text[start:end]}
                for start, end, kind in words.entities([self.labels[j] for j in logits.argmax(1)])
            ]
            for text, (words, logits) in zip(texts, self.read(texts), strict=True)
        ]

    def read(self, texts: Sequence[str]) -> list[tuple[Any, Any]]:
        """Return the words of each text, and the logits of its tokens, shape (tokens, labels)."""
        if __name__ == "tutelage.student.models.standalone":
            from tutelage.student.tasks.words import Words
        else:  # in an exported folder, where words.py lies beside this file
            sys.path.insert(0, str(Path(__file__).parent))
            from words import Words  # type: ignore[import-not-found, no-redef]

            sys.path.pop(0)
        found: dict[int, tuple[Any, Any]] = {}
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            encoded = self.tokenizer.encode_batch([texts[i] for i in part])
            for i, tokens, logits in zip(part, encoded, self._logits(encoded), strict=True):
                size = sum(tokens.attention_mask)  # the rest is padding
                words = Words.of(texts[i], {"input_ids": tokens.ids[:size]}, tokens.offsets[:size])
                found[i] = words, logits[:size]
        return [found[i] for i in range(len(texts))]


def open_model(folder: Path | str = Path(__file__).parent, *, int8: bool = False, threads: int = 0) -> Model:
    """Open the model of a folder; `threads` of 0 takes all cores."""
    settings = json.loads((Path(folder) / "predict.json").read_text(encoding="utf-8"))
    return (Tagger if settings.get("entities") else Model)(folder, int8=int8, threads=threads)


def main() -> None:
    """Print a line of JSON for each text of the arguments, or of standard input."""
    arguments = sys.argv[1:]
    int8 = "--int8" in arguments
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return
    if unknown := [one for one in arguments if one.startswith("--") and one != "--int8"]:
        sys.exit(f"unknown option {unknown[0]}; the options are --int8 and --help")
    texts: list[Any] = [one for one in arguments if one != "--int8"] or [
        line.rstrip("\n") for line in sys.stdin
    ]
    try:
        model = open_model(int8=int8)
    except FileNotFoundError as error:
        sys.exit(str(error))
    if not all(text.strip() for text in texts):
        sys.exit("a text is empty; leave it out")
    if model.settings["pairs"]:
        texts = [tuple(text.split("\t", 1)) for text in texts]
        if single := [text[0] for text in texts if len(text) == 1]:
            sys.exit(f"a pair is two texts, divided by a tab; got {single[0]!r}")
    if isinstance(model, Tagger):
        for text, entities in zip(texts, model.predict(texts), strict=True):
            print(json.dumps({"text": text, "entities": entities}))
        return
    for text, label, p in zip(texts, model.predict(texts), model.predict_proba(texts), strict=True):
        print(json.dumps({"text": text, "label": label, "confidence": round(float(p.max()), 4)}))


if __name__ == "__main__":
    main()
