"""Predict texts with the ONNX model in this folder. It needs no other package than these three:

    pip install onnxruntime tokenizers numpy
    python predict.py "where is my parcel?"        # or a text per line of standard input
    python predict.py --int8 "where is my parcel?" # the smaller, faster model

For pairs, a tab divides the two texts. From Python, `open_model("folder").predict(texts)`; pairs are tuples.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# From 1.29 on, onnxruntime reports to its maker which models are run, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from tokenizers import Tokenizer

BATCH = 32


class OnnxModel:
    """What all models of a folder share: settings, tokenizer and sessions, one for each file in `files`."""

    files: tuple[str, ...] = ("model",)

    def __init__(self, folder: Path | str = Path(__file__).parent, *, int8: bool = False, threads: int = 0):
        folder = Path(folder)
        self.settings = json.loads((folder / "predict.json").read_text(encoding="utf-8"))
        self.labels: list[str] = self.settings["labels"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.sessions = []
        for name in self.files:
            path = folder / "onnx" / f"{name}{'_int8' if int8 else ''}.onnx"
            if not path.exists():
                raise FileNotFoundError(f"{path} was not written; README.md says why")
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.sessions.append(session)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        overlap = self.settings.get("overlap") or 0
        self.tokenizer.enable_truncation(self.settings["max_tokens"], stride=overlap)
        self.tokenizer.enable_padding(
            pad_id=self.settings["pad_id"], pad_token=self.settings["pad_token"], pad_to_multiple_of=None
        )

    def predict(self, texts: Sequence[Any]) -> list[Any]:
        """Return the prediction for each text."""
        raise NotImplementedError

    def count_truncated(self, texts: Sequence[Any]) -> int:
        """Return how many texts have more tokens than the model reads; none if it reads them in windows."""
        if self.settings.get("overlap") is not None:
            return 0
        tokens = self.tokenizer.encode_batch(list(texts))
        return sum(bool(one.overflowing) for one in tokens)

    def _run(self, tokens: Sequence[Any]) -> Any:
        """Return the output of the first file for tokenized and padded texts."""
        columns = {
            "input_ids": [one.ids for one in tokens],
            "attention_mask": [one.attention_mask for one in tokens],
            "token_type_ids": [one.type_ids for one in tokens],
        }
        names = [one.name for one in self.sessions[0].get_inputs()]
        return self.sessions[0].run(None, {name: np.array(columns[name], np.int64) for name in names})[0]


class Model(OnnxModel):
    """The classifier of a folder; `labels[j]` names column j of its probabilities."""

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
        for part in batches(texts):
            scores[part] = self._scores([texts[i] for i in part])
        return scores

    def predict(self, texts: Sequence[Any]) -> list[Any]:
        """Return the label of each text, or the sorted list of its labels if it can have several."""
        found = self.predict_proba(texts)
        if thresholds := self.settings["thresholds"]:
            return [sorted(self.labels[j] for j in np.flatnonzero(row >= thresholds)) for row in found]
        return [self.labels[j] for j in found.argmax(1)]

    def _scores(self, texts: Sequence[Any]) -> Any:
        """Return logits; those of a long text are averaged over its windows unless it is cut."""
        encoded = self.tokenizer.encode_batch(list(texts))
        if self.settings.get("overlap") is None:
            return self._run(encoded)
        windows = [[one, *one.overflowing] for one in encoded]
        flat = [one for part in windows for one in part]
        logits = [self._run(flat[start : start + BATCH]) for start in range(0, len(flat), BATCH)]
        counts = np.array([len(part) for part in windows])
        sums = np.add.reduceat(np.concatenate(logits), np.cumsum(counts) - counts)
        return sums / counts[:, None]


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
        for part in batches(texts):
            encoded = self.tokenizer.encode_batch([texts[i] for i in part])
            for i, tokens, logits in zip(part, encoded, self._run(encoded), strict=True):
                size = sum(tokens.attention_mask)  # the rest is padding
                words = Words.of(texts[i], {"input_ids": tokens.ids[:size]}, tokens.offsets[:size])
                found[i] = words, logits[:size]
        return [found[i] for i in range(len(texts))]


class Writer(OnnxModel):
    """The encoder-decoder of a folder, which writes a target after each text: always the most probable next
    token, up to an end token or `max_target` tokens.
    """

    files = ("encoder", "decoder")

    def __init__(self, folder: Path | str = Path(__file__).parent, *, int8: bool = False, threads: int = 0):
        super().__init__(folder, int8=int8, threads=threads)
        self.decoding = self.settings["decoding"]
        self.target_tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self.target_tokenizer.no_truncation()
        self.target_tokenizer.no_padding()

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the target of each text."""
        found = [""] * len(texts)
        for part in batches(texts):
            ids = self._greedy([texts[i] for i in part]).tolist()
            targets = self.tokenizer.decode_batch(ids, skip_special_tokens=True)
            for i, target in zip(part, targets, strict=True):
                found[i] = target.strip()
        return found

    def confidence(self, texts: Sequence[str], targets: Sequence[str]) -> Any:
        """Return the geometric mean of the probabilities of each target's tokens, shape (texts,)."""
        found = np.ones(len(texts))
        for i, logits, ids in self.target_logits(texts, targets):
            scores = logits - logits.max(axis=1, keepdims=True)
            of_target = scores[np.arange(len(ids)), ids]
            found[i] = np.exp((of_target - np.log(np.exp(scores).sum(axis=1))).mean()) if len(ids) else 1.0
        return found

    def target_logits(self, texts: Sequence[str], targets: Sequence[str]) -> Iterator[tuple[int, Any, Any]]:
        """Yield the index of each text, the logits of its target's tokens, shape (tokens, vocabulary), each
        computed from the tokens before it, and the ids of these tokens, shape (tokens,).
        """
        encoded = self.target_tokenizer.encode_batch(list(targets))
        goals = [np.array(one.ids[: self.decoding["max_target"]], np.int64) for one in encoded]
        for part in batches(texts, 8):  # the logits of many texts need much memory
            ids = np.full((len(part), max(1, *(len(goals[i]) for i in part))), self.decoding["start"])
            for row, i in enumerate(part):
                ids[row, 1 : len(goals[i])] = goals[i][:-1]
            logits, _ = self._decode(ids, *self._encode([texts[i] for i in part]))
            for row, i in enumerate(part):
                yield i, logits[row, : len(goals[i])], goals[i]

    def _greedy(self, texts: Sequence[str]) -> Any:
        """Return the ids of the written tokens, shape (texts, max_target); padding follows an end token."""
        most, first, last = (self.decoding[name] for name in ("max_target", "forced_first", "forced_last"))
        inputs = self._encode(texts)
        ids, past = np.full((len(texts), 1), self.decoding["start"]), None
        written = np.full((len(texts), most), self.settings["pad_id"])
        unfinished = np.ones(len(texts), bool)
        for step in range(most):
            logits, past = self._decode(ids, *inputs, past)
            forced = last if step == most - 1 else first if step == 0 else None
            ids = logits.argmax(axis=2) if forced is None else np.full_like(ids, forced)
            written[unfinished, step] = ids[unfinished, 0]
            unfinished &= ~np.isin(ids[:, 0], self.decoding["end"])
            if not unfinished.any():
                break
        return written

    def _encode(self, texts: Sequence[str]) -> tuple[Any, Any]:
        """Return the cross-attention's keys and values, and the mask of the texts' tokens."""
        tokens = self.tokenizer.encode_batch(list(texts))
        return self._run(tokens), np.array([one.attention_mask for one in tokens], np.int64)

    def _decode(self, ids: Any, cross: Any, mask: Any, past: Any = None) -> Any:
        """Return the logits of the tokens after `ids`, and the self-attention's keys and values; `past` has
        those of the tokens before `ids`. Both have shape (2 x layers, texts, heads, tokens, width).
        """
        if past is None:
            past = np.zeros((*cross.shape[:3], 0, cross.shape[4]), np.float32)
        inputs = {"decoder_input_ids": ids, "attention_mask": mask, "cross": cross, "past": past}
        return self.sessions[1].run(None, inputs)


def batches(texts: Sequence[Any], size: int = BATCH) -> list[list[int]]:
    """Return the indices of texts, sorted by length and cut into batches."""
    order = sorted(range(len(texts)), key=lambda i: len("".join(texts[i])))
    return [order[start : start + size] for start in range(0, len(order), size)]


def open_model(
    folder: Path | str = Path(__file__).parent, *, int8: bool = False, threads: int = 0
) -> Model | Writer:
    """Open the model of a folder; `threads` of 0 takes all cores."""
    settings = json.loads((Path(folder) / "predict.json").read_text(encoding="utf-8"))
    kind = Writer if settings.get("decoding") else Tagger if settings.get("entities") else Model
    return kind(folder, int8=int8, threads=threads)


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
    if empty := [number for number, text in enumerate(texts, 1) if not text.strip()]:
        sys.exit(f"text {empty[0]} is empty, {len(empty)} of {len(texts)} in all; leave empty texts out")
    if model.settings["pairs"]:
        texts = [tuple(text.split("\t", 1)) for text in texts]
        if single := [text[0] for text in texts if len(text) == 1]:
            sys.exit(f"a pair is two texts, divided by a tab; got {single[0]!r}")
    if isinstance(model, Tagger):
        for text, entities in zip(texts, model.predict(texts), strict=True):
            print(json.dumps({"text": text, "entities": entities}, ensure_ascii=False))
        return
    if isinstance(model, Writer):
        targets = model.predict(texts)
        for text, target, p in zip(texts, targets, model.confidence(texts, targets), strict=True):
            line = {"text": text, "target": target, "confidence": round(float(p), 4)}
            print(json.dumps(line, ensure_ascii=False))
        return
    for text, label, p in zip(texts, model.predict(texts), model.predict_proba(texts), strict=True):
        line = {"text": text, "label": label, "confidence": round(float(p.max()), 4)}
        print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    main()
