"""How a student that writes is begun and checked: an encoder-decoder, or a causal model with LoRA
adapters.
"""

from collections.abc import Sequence, Set
from typing import Any

from tutelage.student.data.rows import Row
from tutelage.student.encoder import device, load_pretrained
from tutelage.student.errors import InputError
from tutelage.student.models import causal, seq2seq
from tutelage.student.models.causal import CausalWriter, require_peft
from tutelage.student.models.seq2seq import Writer, plain, positions, tokenizer_of
from tutelage.student.training.adapters.seq2seq import fresh as fresh_seq2seq
from tutelage.student.training.configuration import Recipe


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> Writer:
    """A student of the recipe's base as it is: an encoder-decoder, or a causal model with adapters that
    change nothing yet.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if load_pretrained(AutoConfig, recipe.base).is_encoder_decoder:
        return fresh_seq2seq(recipe, seed)
    peft = require_peft()
    torch.manual_seed(seed)
    base = load_pretrained(AutoModelForCausalLM, recipe.base)
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=recipe.lora, lora_alpha=2 * recipe.lora, target_modules="all-linear"
    )
    model = peft.get_peft_model(base, adapters).to(device(recipe.device))
    return CausalWriter(model, tokenizer_of(recipe.base), recipe.max_tokens, recipe.max_target, recipe.beams)


def check(rows: Sequence[Row], recipe: Recipe) -> list[str]:
    """See that a student that writes can be made, and has room for every target.

    Returns:
        A note, if its vocabulary lacks signs of some.

    Raises:
        InputError: the base writes nothing, its adapters need a package, or a target is too long.
    """
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig, recipe.base)
    is_causal = not config.is_encoder_decoder
    if is_causal:
        # An encoder can be loaded as a causal model too, and then writes nothing worth reading.
        if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ()):
            raise InputError(
                f"`student.base` {recipe.base} cannot write; take an encoder-decoder, such as"
                " google-t5/t5-small, or a causal model"
            )
        require_peft()
    tokenizer = tokenizer_of(recipe.base)
    _check_room(positions(config, "decoder"), recipe, causal=is_causal)
    labels, unk = [row["label"] for row in rows], tokenizer.unk_token_id
    found = (causal if is_causal else seq2seq).target_ids(tokenizer, labels)
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
