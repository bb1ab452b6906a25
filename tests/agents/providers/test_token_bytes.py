"""Test that the bytes of tokens add up to their text."""

import pytest
from tutelage.agents.providers.token_bytes import token_bytes


def byte_level():
    """Return a byte-level tokenizer trained on ASCII text: all other characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["Geld zur", "money back, please"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def byte_fallback():
    """Return a tokenizer like those of SentencePiece, which writes unknown characters as bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"Geldzurück:"]
    numbers = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(numbers, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
@pytest.mark.parametrize("text", ["Geld zurück: 💸 返金", "", "é", "💸💸", "a\ufffdb", "zurück \ufffd"])
def test_token_bytes_add_up_to_the_text(make, text: str) -> None:
    tokenizer = make()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = token_bytes(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert b"".join(pieces) == text.encode()
    assert all(pieces)


def test_invalid_utf8_bytes_are_counted_once_as_the_replacement_character() -> None:
    tokenizer = byte_level()
    a, first, _, _, last, b = tokenizer("a💸b")["input_ids"]
    ids = [a, first, last, b]
    text = tokenizer.decode(ids)
    assert "\ufffd" in text
    assert token_bytes(tokenizer, ids) == [b"a", text[1:].encode(), b"", b""]
