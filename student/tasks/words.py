"""The words of a text and the tokens that a tagger reads them by.

It imports only the standard library, because `tutelage export` copies this file to an exported tagger.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

# Thai, Lao, Burmese, Khmer, kana (also half-width) and Chinese: scripts without spaces between words.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0002fa1f"
)
_ALONE = re.compile(f"[{UNSPACED}\uac00-\ud7a3]").match  # Korean names have particles attached


class Words(NamedTuple):
    """A text as a tagger reads it: its words, and the head (first token) of each word, or None.

    A word without a head is `joined` if an earlier word's token covers it too (`C++` has three words and two
    tokens). It then gets the tag of that word.

    Attributes:
        inputs: the token ids and what else the model reads, by name.
        units: the start and end offsets of the words.
        heads: the index of each word's first token; None if the token was cut off or is another word's.
        joined: whether an earlier word's token covers the word.
    """

    inputs: dict[str, list[int]]
    units: list[tuple[int, int]]
    heads: list[int | None]
    joined: list[bool]

    @classmethod
    def of(cls, text: str, inputs: dict[str, list[int]], offsets: Sequence[Any]) -> "Words":
        """Return the words of a text whose tokens have these start and end offsets."""
        found = units(text)
        return cls(inputs, found, *_heads(found, offsets))

    @property
    def read(self) -> int:
        """The offset at which the last word that a token covers ends."""
        seen = zip(self.units, self.heads, self.joined, strict=True)
        return max((end for (_, end), head, joined in seen if head is not None or joined), default=0)

    def entities(self, tags: Sequence[str]) -> list[tuple[int, int, str]]:
        """Return start, end and type of the entities in the BIO tags of the tokens. An I- tag that continues
        no entity begins one, as in conlleval.
        """
        found: list[tuple[int, int, str]] = []
        open_type = ""
        for (start, end), head, joined in zip(self.units, self.heads, self.joined, strict=True):
            if head is None:  # belongs to an entity only if joined to it or if a later word continues it
                if joined and open_type:
                    found[-1] = found[-1][0], end, open_type
                continue
            tag = tags[head]
            if tag[0] == "I" and tag[2:] == open_type:
                found[-1] = found[-1][0], end, open_type
            elif tag != "O":
                found.append((start, end, tag[2:]))
            open_type = tag[2:]
        return found


def units(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of every word and punctuation character; entities consist of whole units. Combining
    marks belong to the character before them. In scripts without spaces and in Korean, letters are units.
    """
    found: list[tuple[int, int]] = []
    within = False  # whether the last unit is a word that may continue
    for place, char in enumerate(text):
        category = unicodedata.category(char)
        if char.isspace():
            within = False
        elif category[0] == "M" and found and found[-1][1] == place:
            found[-1] = found[-1][0], place + 1
        elif (category[0] in "LN" or char == "_") and not _ALONE(char):
            if within:
                found[-1] = found[-1][0], place + 1
            else:
                found.append((place, place + 1))
            within = True
        else:
            found.append((place, place + 1))
            within = False
    return found


def _heads(
    words: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]
) -> tuple[list[int | None], list[bool]]:
    """Return each word's first token (None if cut or another word's) and whether an earlier one covers it."""
    tokens = ((number, start, end) for number, (start, end) in enumerate(offsets))
    heads, joined, covered = list[int | None](), list[bool](), 0
    token = next(tokens, None)
    for start, end in words:
        while token and token[2] <= start:
            token = next(tokens, None)
        joined.append(end <= covered)
        if token and token[1] < end and token[2] > start:
            heads.append(token[0])
            covered = token[2]
            token = next(tokens, None)
        else:
            heads.append(None)
    return heads, joined
