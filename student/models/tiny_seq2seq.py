"""A small encoder-decoder with random weights, for rehearsals or for languages without a pretrained model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

_SPECIAL = ("<pad>", "</s>", "<unk>")


def tiny_seq2seq(folder: Path, texts: Iterable[str], *, width: int = 128, words: int = 600) -> Path:
    """Write a T5 with random weights, two encoder and two decoder layers, and a byte-level vocabulary learnt
    from texts. Every text can be encoded, and is decoded unchanged if it holds no special token.

    Args:
        folder: where to write; must not exist.
        texts: inputs and targets.
        width: hidden size of the model.
        words: size of the vocabulary, at least 260.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _tokenizer(texts, words)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=32,
        d_ff=4 * width,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: Iterable[str], words: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=words,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
