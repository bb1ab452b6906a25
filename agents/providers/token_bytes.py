"""Map each token of a text to its bytes."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

_BYTE = re.compile("<0x[0-9A-F]{2}>")  # a byte token in a SentencePiece vocabulary
_BROKEN = "\ufffd"  # the replacement character, decoded from an incomplete character


def token_bytes(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
    """Return the UTF-8 bytes that each token adds to the decoded text; special tokens add none.

    Args:
        tokenizer: a Hugging Face tokenizer.
        ids: the token ids of a reply.

    Returns:
        One entry per id; joined, they are the text. A character may be split over several tokens.
    """
    pieces: list[bytes] = []
    text = ""
    for count in range(1, len(ids) + 1):
        now = tokenizer.decode(ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if now.endswith(_BROKEN) and count < len(ids):
            continue  # a split character is readable only with its last token
        group = tokenizer.convert_ids_to_tokens(ids[len(pieces) : count])
        pieces += _split(now[len(text) :].encode(), group)
        text = now
    return pieces


def _split(data: bytes, tokens: Sequence[str]) -> list[bytes]:
    """Split `data` into the bytes of each of its tokens."""
    # A byte-level vocabulary writes each byte as one character.
    sizes = [1 if _BYTE.fullmatch(token) else len(token) for token in tokens]
    # Bytes that are no valid text change in size when decoded; then the first token gets all of them.
    if len(tokens) == 1 or sum(sizes) != len(data):
        return [data] + [b""] * (len(tokens) - 1)
    return [data[end - size : end] for end, size in zip(accumulate(sizes), sizes, strict=True)]
