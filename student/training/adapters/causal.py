"""Create and check students that generate text: encoder-decoders, and causal models with LoRA adapters."""

from collections.abc import Sequence, Set
from typing import Any

from tutelage.student.data.rows import Row
from tutelage.student.device import device
from tutelage.student.errors import InputError
from tutelage.student.models import causal, seq2seq
from tutelage.student.models.causal import CausalStudent, require_peft
from tutelage.student.models.seq2seq import Seq2seqStudent, plain, positions, tokenizer_of
from tutelage.student.pretrained import load_pretrained
from tutelage.student.training.adapters.seq2seq import fresh as fresh_seq2seq
from tutelage.student.training.configuration import TrainingConfig


def fresh(labels: Sequence[str], training_config: TrainingConfig, seed: int) -> Seq2seqStudent:
    """Return a student with the configuration's pretrained base: an encoder-decoder, or a causal model with
    new LoRA adapters, which at first leave its output unchanged.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if load_pretrained(AutoConfig, training_config.base).is_encoder_decoder:
        return fresh_seq2seq(training_config, seed)
    peft = require_peft()
    torch.manual_seed(seed)
    base = load_pretrained(AutoModelForCausalLM, training_config.base)
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=training_config.lora,
        lora_alpha=2 * training_config.lora,
        target_modules="all-linear",
    )
    model = peft.get_peft_model(base, adapters).to(device(training_config.device))
    return CausalStudent(
        model,
        tokenizer_of(training_config.base),
        training_config.max_tokens,
        training_config.max_target,
        training_config.beams,
    )


def check(rows: Sequence[Row], training_config: TrainingConfig) -> list[str]:
    """Check that the student can be created and is able to generate every target.

    Returns:
        A note if the vocabulary lacks characters of some targets, else nothing.

    Raises:
        InputError: the base cannot generate text, the package for LoRA is missing, or a target is too long.
    """
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig, training_config.base)
    is_causal = not config.is_encoder_decoder
    if is_causal:
        # transformers also loads an encoder as a causal model, which then generates nonsense.
        if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ()):
            raise InputError(
                f"`student.base` {training_config.base} cannot generate text; take an encoder-decoder, such"
                " as google-t5/t5-small, or a causal model"
            )
        require_peft()
    tokenizer = tokenizer_of(training_config.base)
    _check_positions(positions(config, "decoder"), training_config, causal=is_causal)
    labels, unk = [row["label"] for row in rows], tokenizer.unk_token_id
    target_ids = (causal if is_causal else seq2seq).target_ids(tokenizer, labels)
    for label, ids in zip(labels, target_ids, strict=True):
        if len(ids) > training_config.max_target:
            raise InputError(
                f"the target {label[:60]!r} has {len(ids)} tokens, and the student writes at most"
                f" {training_config.max_target}: raise `student.max_target`, or shorten it"
            )
    lacking = {label for label, ids in zip(labels, plain(tokenizer, labels), strict=True) if unk in ids}
    return [_vocabulary_note(training_config.base, tokenizer, labels, lacking)] if lacking else []


def _check_positions(limit: int | None, training_config: TrainingConfig, *, causal: bool) -> None:
    needed = training_config.max_target + (training_config.max_tokens if causal else 0)
    if limit and needed > limit:
        fields = "`student.max_tokens` and `max_target` are together" if causal else "`student.max_target` is"
        raise InputError(f"{fields} {needed}, and {training_config.base} has {limit} positions: lower them")


def _vocabulary_note(base: str, tokenizer: Any, targets: Sequence[str], lacking: Set[str]) -> str:
    known = {char for target in targets if target not in lacking for char in target}
    candidates = sorted({char for target in lacking for char in target} - known)
    unknown = [char for char in candidates if tokenizer.unk_token_id in plain(tokenizer, [char])[0]]
    listed = f" ({' '.join(unknown[:12])})" if unknown else ""
    count = sum(target in lacking for target in targets)
    return (
        f"{count} of your {len(targets)} targets have characters{listed} that the vocabulary of {base} lacks:"
        " the student can never write them, and samples with them are refused; another base may have them"
    )
