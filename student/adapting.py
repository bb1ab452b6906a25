"""Causal models that learn to write a target after a text, by low-rank adapters alone (LoRA)."""

from collections.abc import Sequence, Set
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.student import writing
from tutelage.student.encoder import device, load_pretrained
from tutelage.student.errors import InputError
from tutelage.student.learners import half_on_cuda
from tutelage.student.recipe import Recipe
from tutelage.student.rows import Row
from tutelage.student.writing import IGNORED, Ids, Writer, batches, plain, positions, tokenizer_of

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter_config.json"
_BETWEEN = "\n"  # text and target


class CausalWriter(Writer):
    """A causal model with adapters on all its linear layers (Hu et al., ICLR 2022, arXiv 2106.09685); the
    other weights stay as they are.
    """

    @property
    def rate(self) -> float:
        """Of adapters, whatever the model's width (ours; that of QLoRA, arXiv 2305.14314, up to 13 billion
        weights).
        """
        return 2e-4

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


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> Writer:
    """A student of the recipe's base as it is: an encoder-decoder, or a causal model with adapters that
    change nothing yet.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if load_pretrained(AutoConfig, recipe.base).is_encoder_decoder:
        return writing.fresh(recipe, seed)
    peft = _peft()
    torch.manual_seed(seed)
    base = load_pretrained(AutoModelForCausalLM, recipe.base)
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=recipe.lora, lora_alpha=2 * recipe.lora, target_modules="all-linear"
    )
    model = peft.get_peft_model(base, adapters).to(device(recipe.device))
    return CausalWriter(model, tokenizer_of(recipe.base), recipe.max_tokens, recipe.max_target, recipe.beams)


def target_ids(tokenizer: Any, targets: Sequence[str]) -> list[Ids]:
    """As of `writing`: a causal model's tokenizer puts no end."""
    return [[*ids, tokenizer.eos_token_id] for ids in plain(tokenizer, targets)]


def opening(tokenizer: Any) -> Ids:
    """What a causal model was taught to begin every text with: one sign, or nothing."""
    begun = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return [tokenizer.bos_token_id] if begun else []


def check(rows: Sequence[Row], recipe: Recipe) -> list[str]:
    """See that a student that writes can be made, and has room for every target.

    Returns:
        A note, if its vocabulary lacks signs of some.

    Raises:
        InputError: the base writes nothing, its adapters need a package, or a target is too long.
    """
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig, recipe.base)
    causal = not config.is_encoder_decoder
    if causal:
        # An encoder can be loaded as a causal model too, and then writes nothing worth reading.
        if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ()):
            raise InputError(
                f"`student.base` {recipe.base} cannot write; take an encoder-decoder, such as"
                " google-t5/t5-small, or a causal model"
            )
        _peft()
    tokenizer = tokenizer_of(recipe.base)
    _check_room(positions(config, "decoder"), recipe, causal=causal)
    labels, unk = [row["label"] for row in rows], tokenizer.unk_token_id
    found = target_ids(tokenizer, labels) if causal else writing.target_ids(tokenizer, labels)
    for label, ids in zip(labels, found, strict=True):
        if len(ids) > recipe.max_target:
            raise InputError(
                f"the target {label[:60]!r} has {len(ids)} tokens, and the student writes at most"
                f" {recipe.max_target}: raise `student.max_target`, or shorten it"
            )
    lacking = {label for label, ids in zip(labels, plain(tokenizer, labels), strict=True) if unk in ids}
    return [_lacks(recipe.base, tokenizer, labels, lacking)] if lacking else []


def _check_room(room: int | None, recipe: Recipe, *, causal: bool) -> None:
    needed = recipe.max_target + (recipe.max_tokens if causal else 0)
    if room and needed > room:
        fields = "`student.max_tokens` and `max_target` are together" if causal else "`student.max_target` is"
        raise InputError(f"{fields} {needed}, and {recipe.base} has {room} positions: lower them")


def _lacks(base: str, tokenizer: Any, targets: Sequence[str], lacking: Set[str]) -> str:
    written = {sign for target in targets if target not in lacking for sign in target}
    signs = sorted({sign for target in lacking for sign in target} - written)
    unknown = [sign for sign in signs if tokenizer.unk_token_id in plain(tokenizer, [sign])[0]]
    named = f" ({' '.join(unknown[:12])})" if unknown else ""
    many = sum(target in lacking for target in targets)
    return (
        f"{many} of your {len(targets)} targets have signs{named} that the vocabulary of {base} lacks: the"
        " student can never write them, and samples with them are refused; another base may have them"
    )


def load(folder: Path, device_name: str) -> CausalWriter:
    """Saved adapters on their base, or a whole model."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    if (folder / ADAPTER).exists():
        model = load_pretrained(_peft().AutoPeftModelForCausalLM, str(folder), is_trainable=True)
    else:
        model = load_pretrained(AutoModelForCausalLM, str(folder))
    model = model.to(device(device_name))
    model.generation_config = kept = GenerationConfig.from_pretrained(folder)
    words = tokenizer_of(str(folder))
    tokens = min(int(words.model_max_length), Recipe.max_tokens * 4)
    return CausalWriter(model, words, tokens, kept.max_new_tokens or Recipe.max_target, kept.num_beams or 1)


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise InputError("a causal student needs another package: pip install 'tutelage[lora]'") from None
    return peft
