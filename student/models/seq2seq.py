"""Encoder-decoder students, which write a target text."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tutelage.student.device import device, half_on_cuda
from tutelage.student.models.predictions import Floats, Predictions, entropy, softmax, token_energy
from tutelage.student.pretrained import load_pretrained, longer
from tutelage.student.tasks.fields import ONE, Fields

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # the label of padding, which the loss skips
_SPECIAL_TOKENS = (  # of the base's generation settings, the only ones that are kept
    *("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id"),
)
MAX_TARGET = 64  # tokens to generate at most, unless the saved folder sets a limit
MOST_TOKENS = 512  # upper limit of `max_tokens` of a loaded student
_BATCH = 32
Ids = list[int]


class TargetPredictor(ABC):
    """Write a target after each text, and measure the probabilities of its tokens."""

    kind = "seq2seq"
    fields: Fields = ONE

    def __init__(self) -> None:
        self.labels: list[str] = []

    @abstractmethod
    def write(self, texts: Sequence[str], *, best: bool = False) -> list[str]:
        """Return the target of each text, decoded greedily; `best` allows slower, more accurate decoding."""

    @abstractmethod
    def target_logits(
        self, texts: Sequence[str], targets: Sequence[str]
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.int64]]]:
        """Yield the index of each text, the logits of its target's tokens, shape (tokens, vocabulary), each
        computed from the tokens before it, and the ids of these tokens, shape (tokens,).
        """

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions (see `Student.predict`). Statistics are means over the predicted tokens, but the
        margin is their minimum, and the confidence exp of the mean log-probability (as in MNLP). With `gold`,
        the energy is that of the gold targets (GOLD, arXiv 2403.19754, uses the written sample's).
        """
        answers = self.write(texts, best=best)
        own = self._statistics(texts, answers)
        of_gold = own if gold is None else self._statistics(texts, gold)
        confidence, entropies, margin = own[:3]
        energies, loss = of_gold[3:]
        return Predictions(answers, confidence, entropies, margin, energies, None if gold is None else loss)

    def _statistics(self, texts: Sequence[str], targets: Sequence[str]) -> Floats:
        """Return confidence, entropy, margin, energy and loss of each target, shape (5, n)."""
        result = np.zeros((5, len(texts)))
        for i, logits, ids in self.target_logits(texts, targets):
            result[:, i] = _token_statistics(logits, ids)
        return result


class Seq2seqStudent(TargetPredictor):
    """An encoder-decoder whose weights are all trained. It decodes greedily, but with `beams` for evaluation
    and use. It generates at most `max_target` tokens.
    """

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, max_target: int, beams: int):
        # Length limits and penalties that the base's authors recommend are dropped; they distort targets.
        from transformers import GenerationConfig

        super().__init__()
        tokens = {name: getattr(model.generation_config, name, None) for name in _SPECIAL_TOKENS}
        known = {name: token for name, token in tokens.items() if token is not None}
        model.generation_config = GenerationConfig(**known)
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.max_target, self.beams = max_tokens, max_target, beams

    @property
    def room(self) -> int | None:
        """Most tokens a target can have, by the decoder's positions; None if unlimited."""
        return positions(self.model.config, "decoder")

    def predict_best(self, texts: Sequence[str]) -> list[str]:
        """Return only the predicted targets, by beam search if `beams` is above 1."""
        return self.write(texts, best=True)

    def why_unlearnable(self, label: str) -> str:
        """Explain why a target is too long, or has characters outside the vocabulary; return "" otherwise."""
        [ids] = self.targets([label])
        if len(ids) > self.max_target:
            return f"the target has {len(ids)} tokens, more than {self.max_target}"
        # GPT-2 uses its end token as the unknown token, so special tokens are left out.
        if self.tokenizer.unk_token_id in plain(self.tokenizer, [label])[0]:
            return f"the student's vocabulary lacks characters of the target {label[:60]!r}"
        return ""

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more than `max_tokens` tokens."""
        return sum(longer(self.tokenizer, self.max_tokens, texts))

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Return the token ids of texts, cut to `max_tokens`."""
        if not texts:  # tokenizers fail on an empty list
            return []
        encoding = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        ids: list[Ids] = encoding["input_ids"]
        return ids

    def targets(self, targets: Sequence[str]) -> list[Ids]:
        """Return the token ids of targets, each with an end-of-sequence token."""
        return target_ids(self.tokenizer, targets)

    def teacher_forced(self, texts: list[Ids], targets: list[Ids]) -> "tuple[Tensor, Tensor]":
        """Return teacher-forced logits, shape (n, t, vocabulary), and the padded target ids, shape (n, t).
        The logits of each token are computed from the target's tokens before it.
        """
        import torch

        inputs = self.tokenizer.pad({"input_ids": texts}, return_tensors="pt").to(self.model.device)
        rows = [torch.tensor(ids) for ids in targets]
        goals = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        goals = goals.to(self.model.device)
        with half_on_cuda(self.model.device):
            logits: Tensor = self.model(**inputs, labels=goals).logits
        return logits.float(), goals

    def save(self, folder: Path) -> None:
        """Save model and tokenizer with `save_pretrained`, for `AutoModelForSeq2SeqLM`."""
        self.store_generation_settings(self.model)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save

    def store_generation_settings(self, model: Any) -> None:
        """Store limits and beams in the generation settings of `model` and in the tokenizer, to be saved."""
        model.generation_config.update(max_length=None, max_new_tokens=self.max_target, num_beams=self.beams)
        self.tokenizer.model_max_length = self.max_tokens

    def write(self, texts: Sequence[str], *, best: bool = False) -> list[str]:
        """Return the target of each text, by beam search if `best`. Texts are batched by length."""
        import torch

        self.model.eval()
        ids = self.ids(texts)
        result = [""] * len(texts)
        for part in batches(ids):
            inputs = self.tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
            with torch.inference_mode():
                generated = self.model.generate(
                    **inputs.to(self.model.device),
                    max_new_tokens=self.max_target,
                    num_beams=self.beams if best else 1,
                    do_sample=False,
                )
            for i, text in zip(
                part, self.tokenizer.batch_decode(generated, skip_special_tokens=True), strict=True
            ):
                result[i] = text.strip()
        return result

    def target_logits(
        self, texts: Sequence[str], targets: Sequence[str]
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.int64]]]:
        """Yield logits and ids of targets (see `TargetPredictor.target_logits`)."""
        import torch

        self.model.eval()
        ids, goals = self.ids(texts), [goal[: self.max_target] for goal in self.targets(targets)]
        for part in batches(ids, 8):  # the logits of many texts need much memory
            with torch.inference_mode():
                logits, _ = self.teacher_forced([ids[i] for i in part], [goals[i] for i in part])
            for i, one in zip(part, logits.cpu().numpy(), strict=True):
                yield i, one[: len(goals[i])], np.array(goals[i], np.int64)


def load(folder: Path, device_name: str) -> Seq2seqStudent:
    """Load a saved encoder-decoder student."""
    from transformers import AutoModelForSeq2SeqLM

    model = load_pretrained(AutoModelForSeq2SeqLM, str(folder)).to(device(device_name))
    tokenizer, kept = tokenizer_of(str(folder)), model.generation_config
    tokens = min(int(tokenizer.model_max_length), MOST_TOKENS)
    return Seq2seqStudent(model, tokenizer, tokens, kept.max_new_tokens or MAX_TARGET, kept.num_beams or 1)


def tokenizer_of(base: str) -> Any:
    """Load a tokenizer that can pad: without a padding token, it pads with the end-of-sequence token."""
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, base)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def target_ids(tokenizer: Any, targets: Sequence[str]) -> list[Ids]:
    """Return the token ids of targets, with the end-of-sequence token that the tokenizer adds."""
    if not targets:
        return []
    ids: list[Ids] = tokenizer(text_target=list(targets))["input_ids"]
    return ids


def plain(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Return the token ids of texts without special tokens."""
    if not texts:
        return []
    ids: list[Ids] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def positions(config: Any, side: Literal["encoder", "decoder"]) -> int | None:
    """Return the maximum length of encoder or decoder in tokens; None if unlimited, as for T5."""
    part = getattr(config, side, config)
    names = (f"max_{side}_position_embeddings", "max_position_embeddings")
    return next((known for name in names if (known := getattr(part, name, None))), None)


def batches(ids: Sequence[Ids], size: int = _BATCH) -> list[list[int]]:
    """Return the indices of `ids`, sorted by length and cut into batches of `size`."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _token_statistics(logits: NDArray[np.float32], ids: NDArray[np.int64]) -> Floats:
    """Return confidence, entropy, margin, energy and loss of one target; one without tokens is certain."""
    if not len(ids):
        return np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    p = softmax(logits)
    loss = -np.log(p[np.arange(len(ids)), ids].clip(1e-12)).mean(dtype=float)
    top = np.sort(p, -1)[:, -2:].astype(float)
    margin = (top[:, 1] - top[:, 0]).min()
    energy = token_energy(logits[None], np.ones((1, len(ids)), bool))[0]
    return np.array([np.exp(-loss), entropy(p).mean(), margin, energy, loss])
