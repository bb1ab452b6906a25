"""Causal models that learn to write a target after a text; only low-rank adapters (LoRA) are trained."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.student.device import device, half_on_cuda
from tutelage.student.errors import InputError
from tutelage.student.models.seq2seq import (
    IGNORED,
    MAX_TARGET,
    MOST_TOKENS,
    Ids,
    Seq2seqStudent,
    batches,
    plain,
    tokenizer_of,
)
from tutelage.student.pretrained import load_pretrained

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter_config.json"
_SEPARATOR = "\n"  # between text and target


class CausalStudent(Seq2seqStudent):
    """A causal model with low-rank adapters on all its linear layers (LoRA: Hu et al., ICLR 2022, arXiv
    2106.09685). The other weights are frozen.
    """

    @property
    def room(self) -> int | None:
        """Most tokens a target can have: the model's positions less `max_tokens`; None if unlimited."""
        limit = super().room
        return limit and limit - self.max_tokens

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Return the token ids of texts, each followed by a line break and cut to `max_tokens`. They begin
        with the model's beginning-of-sequence token, if it has one.
        """
        prefix, suffix = opening(self.tokenizer), plain(self.tokenizer, [_SEPARATOR])[0]
        limit = self.max_tokens - len(prefix)
        rows = plain(self.tokenizer, [text + _SEPARATOR for text in texts])
        return [prefix + (ids if len(ids) <= limit else ids[: limit - len(suffix)] + suffix) for ids in rows]

    def targets(self, targets: Sequence[str]) -> list[Ids]:
        """Return the token ids of targets, each with an end-of-sequence token."""
        return target_ids(self.tokenizer, targets)

    def teacher_forced(self, texts: list[Ids], targets: list[Ids]) -> "tuple[Tensor, Tensor]":
        """Return teacher-forced logits and padded targets (see `Seq2seqStudent.teacher_forced`)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        device = self.model.device
        sequences = [torch.tensor(text + target) for text, target in zip(texts, targets, strict=True)]
        ids = pad_sequence(sequences, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(device)
        mask = pad_sequence([torch.ones_like(one) for one in sequences], batch_first=True).to(device)
        with half_on_cuda(device):
            logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        # The logits at one position predict the next token, so they start one before the target.
        target_logits = [
            logits[i, len(text) - 1 : len(text) + len(target) - 1].float()
            for i, (text, target) in enumerate(zip(texts, targets, strict=True))
        ]
        target_rows = [torch.tensor(target) for target in targets]
        padded = pad_sequence(target_rows, batch_first=True, padding_value=IGNORED).to(device)
        return pad_sequence(target_logits, batch_first=True), padded

    def save(self, folder: Path) -> None:
        """Save only the adapters and the name of their base."""
        self.store_generation_settings(self.model)
        self.model.save_pretrained(folder)
        self._save_tokenizer_and_settings(folder)

    def export(self, folder: Path) -> None:
        """Save the whole model with the adapters merged in, for `AutoModelForCausalLM`."""
        merged = deepcopy(self.model).merge_and_unload()
        self.store_generation_settings(merged)
        merged.save_pretrained(folder)
        self._save_tokenizer_and_settings(folder)

    def write(self, texts: Sequence[str], *, best: bool = False) -> list[str]:
        """Return what the model generates after each text (see `Seq2seqStudent.write`)."""
        import torch

        self.model.eval()
        ids, result = self.ids(texts), [""] * len(texts)
        for part in batches(ids):
            inputs = self.tokenizer.pad(
                {"input_ids": [ids[i] for i in part]}, return_tensors="pt", padding_side="left"
            ).to(self.model.device)
            with torch.inference_mode():
                generated = self.model.generate(
                    **inputs,
                    max_new_tokens=self.max_target,
                    num_beams=self.beams if best else 1,
                    do_sample=False,
                    pad_token_id=self.tokenizer.pad_token_id,
                )
            new = generated[:, inputs["input_ids"].shape[1] :]
            answers = self.tokenizer.batch_decode(new, skip_special_tokens=True)
            for i, text in zip(part, answers, strict=True):
                result[i] = text.strip()
        return result

    def _save_tokenizer_and_settings(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.model.generation_config.save_pretrained(folder)


def target_ids(tokenizer: Any, targets: Sequence[str]) -> list[Ids]:
    """Return the token ids of targets. The tokenizer adds no end-of-sequence token, so it is added here."""
    return [[*ids, tokenizer.eos_token_id] for ids in plain(tokenizer, targets)]


def opening(tokenizer: Any) -> Ids:
    """Return the beginning-of-sequence token that the tokenizer puts before a text, as a list; or []."""
    has_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return [tokenizer.bos_token_id] if has_bos else []


def load(folder: Path, device_name: str) -> CausalStudent:
    """Load saved adapters with their base, or a whole causal model."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    if (folder / ADAPTER).exists():
        model = load_pretrained(require_peft().AutoPeftModelForCausalLM, str(folder), is_trainable=True)
    else:
        model = load_pretrained(AutoModelForCausalLM, str(folder))
    model = model.to(device(device_name))
    model.generation_config = saved = GenerationConfig.from_pretrained(folder)
    tokenizer = tokenizer_of(str(folder))
    tokens = min(int(tokenizer.model_max_length), MOST_TOKENS)
    return CausalStudent(model, tokenizer, tokens, saved.max_new_tokens or MAX_TARGET, saved.num_beams or 1)


def require_peft() -> Any:
    """Import and return `peft`, the package for LoRA adapters.

    Raises:
        InputError: `peft` is not installed.
    """
    try:
        import peft
    except ImportError:
        raise InputError("a causal student needs another package: pip install 'tutelage[lora]'") from None
    return peft
