"""Which bytes of a text each of its tokens stands for."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

_BYTE = re.compile("<0x[0-9A-F]{2}>")  # how a SentencePiece vocabulary writes a byte
_BROKEN = "\ufffd"  # how a character is decoded of which bytes are missing


def token_bytes(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
    """What each token adds to the text that they are together, in UTF-8; special tokens add nothing.

    Args:
        tokenizer: of Hugging Face.
        ids: the tokens of a reply.

    Returns:
        As many as `ids`. A character may be split over several tokens.
    """
    pieces: list[bytes] = []
    text = ""
    for count in range(1, len(ids) + 1):
        now = tokenizer.decode(ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if now.endswith(_BROKEN) and count < len(ids):
            continue  # only its last token makes a split character readable
        group = tokenizer.convert_ids_to_tokens(ids[len(pieces) : count])
        pieces += _shared_out(now[len(text) :].encode(), group)
        text = now
    return pieces


def _shared_out(data: bytes, tokens: Sequence[str]) -> list[bytes]:
    """The bytes of each of the tokens that are `data` together."""
    # A byte-level vocabulary writes each byte as one character.
    sizes = [1 if _BYTE.fullmatch(token) else len(token) for token in tokens]
    if len(tokens) == 1 or sum(sizes) != len(data):  # the latter where bytes are no text: none is told apart
        return [data] + [b""] * (len(tokens) - 1)
    return [data[end - size : end] for end, size in zip(accumulate(sizes), sizes, strict=True)]
