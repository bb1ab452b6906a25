"""Tagger students, which predict a BIO tag for every word of a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError
from tutelage.student.models.predictions import Floats, Predictions, energy, entropy, softmax
from tutelage.student.pretrained import longer
from tutelage.student.tasks.fields import ONE, Fields
from tutelage.student.tasks.spans import Span, spans, units, written


class Words(NamedTuple):
    """The input of a tagger for one text: its token ids, and the head (first token) of each word, or None.

    A word without a head is `joined` if an earlier word's token covers it too (`C++` has three words and two
    tokens). It then gets the tag of that word. `units` are the start and end offsets of the words.
    """

    inputs: dict[str, list[int]]
    units: list[tuple[int, int]]
    heads: list[int | None]
    joined: list[bool]

    @property
    def read(self) -> int:
        """The offset at which the last word that a token covers ends."""
        seen = zip(self.units, self.heads, self.joined, strict=True)
        return max((end for (_, end), head, joined in seen if head is not None or joined), default=0)


class Tagger:
    """A token classifier whose weights are all trained; a word's tag is that of its first token."""

    kind = "ner"
    fields: Fields = ONE

    def __init__(self, model: Any, tokenizer: Any, tags: Sequence[str], max_tokens: int):
        if not tokenizer.is_fast:
            raise InputError(
                f"{tokenizer.name_or_path} has no fast tokenizer, which a tagger needs; use another base"
            )
        if odd := [tag for tag in tags if tag != "O" and tag[:2] not in ("B-", "I-")]:
            raise InputError(f"the model's tag {odd[0]!r} is not a BIO tag; expected O, B-TYPE or I-TYPE")
        tokenizer.padding_side = "right"  # indices of tokens count from the left
        self.model, self.tokenizer, self.tags, self.max_tokens = model, tokenizer, list(tags), max_tokens
        self.labels = list(dict.fromkeys(tag[2:] for tag in tags if tag != "O"))

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Tokenize texts, cut to `max_tokens`. Words after the cut have no head."""
        if not texts:  # tokenizers fail on an empty list
            return []
        encoding = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_offsets_mapping=True
        )
        offsets = encoding.pop("offset_mapping")
        result = []
        for i, text in enumerate(texts):
            inputs = {name: ids[i] for name, ids in encoding.items()}
            words = units(text)
            result.append(Words(inputs, words, *_heads(words, offsets[i])))
        return result

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions (see `Student.predict`); `best` changes nothing. Statistics of a text are means
        over its words, but the margin is their minimum. The confidence is the exponential of the mean
        log-probability (MNLP: Shen et al., ICLR 2018, arXiv 1707.05928, section 4).
        """
        words = self.words(texts)
        answers, statistics = list[str](), list[Floats]()
        for i, logits in enumerate(self._logits(words)):
            goal = None if gold is None else np.array(self.goals(words[i], spans(gold[i])))
            answers.append(self._answer(words[i], logits))
            statistics.append(_statistics(logits, words[i].heads, goal))
        confidence, entropies, margin, energies, loss = np.array(statistics).reshape(-1, 5).T
        return Predictions(answers, confidence, entropies, margin, energies, None if gold is None else loss)

    def predict_best(self, texts: Sequence[str]) -> list[str]:
        """Return only the predicted labels."""
        return self.predict(texts).answers

    def why_unlearnable(self, label: str) -> str:
        """Return "": a tagger can learn every label."""
        return ""

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more than `max_tokens` tokens."""
        return sum(longer(self.tokenizer, self.max_tokens, texts))

    def goals(self, words: Words, entities: Sequence[Span]) -> list[int]:
        """Return the tag index of each word: B- for the first word of an entity, I- for its other words."""
        index = {tag: i for i, tag in enumerate(self.tags)}
        goals = [index["O"]] * len(words.units)
        for entity in entities:
            inside = [
                i for i, (start, end) in enumerate(words.units) if start < entity.end and entity.start < end
            ]
            for position, i in enumerate(inside):
                goals[i] = index[f"{'I' if position else 'B'}-{entity.type}"]
        return goals

    def save(self, folder: Path) -> None:
        """Save model and tokenizer with `save_pretrained`, for `pipeline("token-classification")`."""
        self.tokenizer.model_max_length = self.max_tokens
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save

    def _logits(self, words: Sequence[Words]) -> list[NDArray[np.float32]]:
        """Return logits of shape (tokens, tags) for each text. Texts are batched by length."""
        import torch

        self.model.eval()
        order = sorted(range(len(words)), key=lambda i: len(words[i].inputs["input_ids"]))
        result: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                part = order[start : start + 64]
                inputs = self.tokenizer.pad([words[i].inputs for i in part], return_tensors="pt")
                logits = self.model(**inputs.to(self.model.device)).logits.float().cpu().numpy()
                result |= {i: logits[row, : len(words[i].inputs["input_ids"])] for row, i in enumerate(part)}
        return [result[i] for i in range(len(words))]

    def _answer(self, words: Words, logits: NDArray[np.float32]) -> str:
        """Return the predicted entities. An I- tag that continues no entity begins one, as in conlleval."""
        best, entities, open_type = logits.argmax(-1), list[Span](), ""
        for (start, end), head, joined in zip(words.units, words.heads, words.joined, strict=True):
            if head is None:  # belongs to an entity only if joined to it or if a later word continues it
                if joined and open_type:
                    entities[-1] = entities[-1]._replace(end=end)
                continue
            tag = self.tags[best[head]]
            if tag[0] == "I" and tag[2:] == open_type:
                entities[-1] = entities[-1]._replace(end=end)
            elif tag != "O":
                entities.append(Span(start, end, tag[2:]))
            open_type = tag[2:]
        return written(entities)


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


def _statistics(
    logits: NDArray[np.float32], heads: Sequence[int | None], goal: NDArray[np.int64] | None
) -> Floats:
    """Return confidence, entropy, margin, energy and loss of a text; a text without words is certain."""
    pairs = [(head, word) for word, head in enumerate(heads) if head is not None]
    if not pairs:
        return np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    word_logits = logits[[head for head, _ in pairs]]
    distributions = softmax(word_logits)
    p = np.sort(distributions, axis=1).astype(float)
    loss = 0.0
    if goal is not None:
        targets = goal[[word for _, word in pairs]]
        loss = float(-np.log(distributions[np.arange(len(pairs)), targets].clip(1e-12)).mean())
    confidence, margin = np.exp(np.log(p[:, -1]).mean()), (p[:, -1] - p[:, -2]).min()
    return np.array([confidence, entropy(distributions).mean(), margin, energy(word_logits).mean(), loss])
