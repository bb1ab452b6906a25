"""Taggers: students that give every word of a text a BIO tag."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import longer
from tutelage.student.errors import InputError
from tutelage.student.models.predictions import Floats, Reading, energy, entropy, softmax
from tutelage.student.tasks.fields import ONE, Fields
from tutelage.student.tasks.spans import Span, spans, units, written

if TYPE_CHECKING:
    pass

_UNLEARNT = -100  # the tag of a token that begins no word


class Words(NamedTuple):
    """A text as a tagger reads it: token ids, words, and the token that stands for each, if one does.

    A word that has none may be `joined`: the token that stands for one before covers it too (`C++` in three
    words and two tokens), and its tag is that word's.
    """

    inputs: dict[str, list[int]]
    units: list[tuple[int, int]]
    heads: list[int | None]
    joined: list[bool]

    @property
    def read(self) -> int:
        """Where the last word ends that a token stands for."""
        seen = zip(self.units, self.heads, self.joined, strict=True)
        return max((end for (_, end), head, joined in seen if head is not None or joined), default=0)


class Tagger:
    """A token classifier with every weight trained; a word's tag is that of its first token."""

    kind = "ner"
    fields: Fields = ONE

    def __init__(self, model: Any, tokenizer: Any, tags: Sequence[str], max_tokens: int):
        if not tokenizer.is_fast:
            raise InputError(
                f"{tokenizer.name_or_path} has no fast tokenizer: places of tokens are not known"
            )
        if odd := [tag for tag in tags if tag != "O" and tag[:2] not in ("B-", "I-")]:
            raise InputError(f"the model's tag {odd[0]!r} is no BIO tag: O, B-TYPE or I-TYPE")
        tokenizer.padding_side = "right"  # places of tokens count from the left
        self.model, self.tokenizer, self.tags, self.max_tokens = model, tokenizer, list(tags), max_tokens
        self.labels = list(dict.fromkeys(tag[2:] for tag in tags if tag != "O"))

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Texts cut to `max_tokens`; words beyond have no token."""
        if not texts:  # which tokenizers trip over
            return []
        made = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_offsets_mapping=True
        )
        offsets = made.pop("offset_mapping")
        result = []
        for i, text in enumerate(texts):
            found = units(text)
            result.append(
                Words({name: ids[i] for name, ids in made.items()}, found, *_heads(found, offsets[i]))
            )
        return result

    def read(self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False) -> Reading:
        """See `Student`; it has one answer alone; a text's figures are means over its words, of
        log-probabilities for the confidence (MNLP: Shen et al., ICLR 2018, arXiv 1707.05928, section 4), its
        margin the least of them.
        """
        read = self.words(texts)
        found: list[tuple[str, Floats]] = []
        for i, logits in enumerate(self._logits(read)):
            goal = None if gold is None else np.array(self.goals(read[i], spans(gold[i])))
            found.append((self._answer(read[i], logits), _figures(logits, read[i].heads, goal)))
        sure, unsure, margin, out, loss = np.array([figures for _, figures in found]).reshape(-1, 5).T
        return Reading([one for one, _ in found], sure, unsure, margin, out, None if gold is None else loss)

    def answer(self, texts: Sequence[str]) -> list[str]:
        """See `Student`."""
        return self.read(texts).answers

    def unlearnt(self, label: str) -> str:
        """See `Student`: nothing."""
        return ""

    def cut(self, texts: Sequence[str]) -> int:
        """See `Student`."""
        return sum(longer(self.tokenizer, self.max_tokens, texts))

    def goals(self, words: Words, entities: Sequence[Span]) -> list[int]:
        """The tag number of each word: B- where it is an entity's first, I- within."""
        number = {tag: i for i, tag in enumerate(self.tags)}
        goals = [number["O"]] * len(words.units)
        for entity in entities:
            inside = [
                i for i, (start, end) in enumerate(words.units) if start < entity.end and entity.start < end
            ]
            for place, i in enumerate(inside):
                goals[i] = number[f"{'I' if place else 'B'}-{entity.type}"]
        return goals

    def save(self, folder: Path) -> None:
        """`save_pretrained` of model and tokenizer, for `pipeline("token-classification")`."""
        self.tokenizer.model_max_length = self.max_tokens
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save

    def _logits(self, read: Sequence[Words]) -> list[NDArray[np.float32]]:
        """Of each text, shape (tokens, tags); evaluated in length order, returned in the given one."""
        import torch

        self.model.eval()
        order = sorted(range(len(read)), key=lambda i: len(read[i].inputs["input_ids"]))
        result: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                part = order[start : start + 64]
                inputs = self.tokenizer.pad([read[i].inputs for i in part], return_tensors="pt")
                logits = self.model(**inputs.to(self.model.device)).logits.float().cpu().numpy()
                result |= {i: logits[row, : len(read[i].inputs["input_ids"])] for row, i in enumerate(part)}
        return [result[i] for i in range(len(read))]

    def _answer(self, words: Words, logits: NDArray[np.float32]) -> str:
        """Entities of the words' tags; an I- that continues nothing begins an entity, as in conlleval."""
        best, found, open_ = logits.argmax(-1), list[Span](), ""
        for (start, end), head, joined in zip(words.units, words.heads, words.joined, strict=True):
            if head is None:  # of an entity only if joined to it, or if a later word goes on with it
                if joined and open_:
                    found[-1] = found[-1]._replace(end=end)
                continue
            tag = self.tags[best[head]]
            if tag[0] == "I" and tag[2:] == open_:
                found[-1] = found[-1]._replace(end=end)
            elif tag != "O":
                found.append(Span(start, end, tag[2:]))
            open_ = tag[2:]
        return written(found)


def _heads(
    found: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]
) -> tuple[list[int | None], list[bool]]:
    """The first token of each word, a token for one word at most; and whether it is joined to one before."""
    tokens = ((number, start, end) for number, (start, end) in enumerate(offsets))
    heads, joined, covered = list[int | None](), list[bool](), 0
    token = next(tokens, None)
    for start, end in found:
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


def _figures(
    logits: NDArray[np.float32], heads: Sequence[int | None], goal: NDArray[np.int64] | None
) -> Floats:
    """Confidence, entropy, margin, energy and loss of a text; of one without words those of no doubt."""
    seen = [(head, word) for word, head in enumerate(heads) if head is not None]
    if not seen:
        return np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    of_words = logits[[head for head, _ in seen]]
    p = np.sort(softmax(of_words), axis=1).astype(float)
    loss = 0.0
    if goal is not None:
        wanted = goal[[word for _, word in seen]]
        loss = float(-np.log(softmax(of_words)[np.arange(len(seen)), wanted].clip(1e-12)).mean())
    sure, margin = np.exp(np.log(p[:, -1]).mean()), (p[:, -1] - p[:, -2]).min()
    return np.array([sure, entropy(softmax(of_words)).mean(), margin, energy(of_words).mean(), loss])
