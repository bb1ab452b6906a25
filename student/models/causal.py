"""Causal models that learn to write a target after a text, by low-rank adapters alone (LoRA)."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.student.encoder import device, half_on_cuda, load_pretrained
from tutelage.student.errors import InputError
from tutelage.student.models.seq2seq import (
    IGNORED,
    MAX_TARGET,
    MOST_TOKENS,
    Ids,
    Writer,
    batches,
    plain,
    tokenizer_of,
)

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter_config.json"
_BETWEEN = "\n"  # text and target


class CausalWriter(Writer):
    """A causal model with adapters on all its linear layers (Hu et al., ICLR 2022, arXiv 2106.09685); the
    other weights stay as they are.
    """

    @property
    def room(self) -> int | None:
        """As of `Writer`: after the text."""
        found = super().room
        return found and found - self.max_tokens

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of texts, each with a line's end after it, cut to `max_tokens`; they begin as the model's
        own do.
        """
        before, after = opening(self.tokenizer), plain(self.tokenizer, [_BETWEEN])[0]
        most = self.max_tokens - len(before)
        found = plain(self.tokenizer, [text + _BETWEEN for text in texts])
        return [before + (ids if len(ids) <= most else ids[: most - len(after)] + after) for ids in found]

    def targets(self, targets: Sequence[str]) -> list[Ids]:
        """Token ids of targets, each with its end."""
        return target_ids(self.tokenizer, targets)

    def forced(self, texts: list[Ids], targets: list[Ids]) -> "tuple[Tensor, Tensor]":
        """As `Writer.forced`: of each target the logits that foretell its tokens."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        here = self.model.device
        rows = [torch.tensor(text + target) for text, target in zip(texts, targets, strict=True)]
        ids = pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(here)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(here)
        with half_on_cuda(here):
            logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        # The token before a target's first foretells it.
        parts = [
            logits[i, len(text) - 1 : len(text) + len(target) - 1].float()
            for i, (text, target) in enumerate(zip(texts, targets, strict=True))
        ]
        goals = [torch.tensor(target) for target in targets]
        wanted = pad_sequence(goals, batch_first=True, padding_value=IGNORED).to(here)
        return pad_sequence(parts, batch_first=True), wanted

    def save(self, folder: Path) -> None:
        """The adapters alone: the base is named, not copied."""
        self.settle(self.model)
        self.model.save_pretrained(folder)
        self._rest(folder)

    def export(self, folder: Path) -> None:
        """The whole model, adapters worked in, for `AutoModelForCausalLM`."""
        whole = deepcopy(self.model).merge_and_unload()
        self.settle(whole)
        whole.save_pretrained(folder)
        self._rest(folder)

    def _written(self, texts: Sequence[str], *, beams: int) -> list[str]:
        """What it writes after each text."""
        import torch

        self.model.eval()
        ids, result = self.ids(texts), [""] * len(texts)
        for part in batches(ids):
            inputs = self.tokenizer.pad(
                {"input_ids": [ids[i] for i in part]}, return_tensors="pt", padding_side="left"
            ).to(self.model.device)
            with torch.inference_mode():
                found = self.model.generate(
                    **inputs,
                    max_new_tokens=self.max_target,
                    num_beams=beams,
                    do_sample=False,
                    pad_token_id=self.tokenizer.pad_token_id,
                )
            new = found[:, inputs["input_ids"].shape[1] :]
            written = self.tokenizer.batch_decode(new, skip_special_tokens=True)
            for i, text in zip(part, written, strict=True):
                result[i] = text.strip()
        return result

    def _rest(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.model.generation_config.save_pretrained(folder)


def target_ids(tokenizer: Any, targets: Sequence[str]) -> list[Ids]:
    """As of `writing`: a causal model's tokenizer puts no end."""
    return [[*ids, tokenizer.eos_token_id] for ids in plain(tokenizer, targets)]


def opening(tokenizer: Any) -> Ids:
    """What a causal model was taught to begin every text with: one sign, or nothing."""
    begun = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return [tokenizer.bos_token_id] if begun else []


def load(folder: Path, device_name: str) -> CausalWriter:
    """Saved adapters on their base, or a whole model."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    if (folder / ADAPTER).exists():
        model = load_pretrained(require_peft().AutoPeftModelForCausalLM, str(folder), is_trainable=True)
    else:
        model = load_pretrained(AutoModelForCausalLM, str(folder))
    model = model.to(device(device_name))
    model.generation_config = kept = GenerationConfig.from_pretrained(folder)
    words = tokenizer_of(str(folder))
    tokens = min(int(words.model_max_length), MOST_TOKENS)
    return CausalWriter(model, words, tokens, kept.max_new_tokens or MAX_TARGET, kept.num_beams or 1)


def require_peft() -> Any:
    """Return the package of the adapters.

    Raises:
        InputError: it is not installed.
    """
    try:
        import peft
    except ImportError:
        raise InputError("a causal student needs another package: pip install 'tutelage[lora]'") from None
    return peft
