"""Tagger students, which predict a BIO tag for every word of a text."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError
from tutelage.student.models.predictions import Floats, Predictions, energy, entropy, softmax
from tutelage.student.pretrained import longer
from tutelage.student.tasks.fields import ONE, Fields
from tutelage.student.tasks.spans import Span, spans, written
from tutelage.student.tasks.words import Words


class TagPredictor(ABC):
    """Predict the entities of texts from the logits of their tokens' tags; a word's tag is that of its first
    token. `labels` are the types of entities, and column j of the logits belongs to `tags[j]`.

    Raises:
        InputError: a tag is not a BIO tag.
    """

    kind = "ner"
    fields: Fields = ONE

    def __init__(self, tags: Sequence[str]):
        if odd := [tag for tag in tags if tag != "O" and tag[:2] not in ("B-", "I-")]:
            raise InputError(f"the model's tag {odd[0]!r} is not a BIO tag; expected O, B-TYPE or I-TYPE")
        self.tags = list(tags)
        self.labels = list(dict.fromkeys(tag[2:] for tag in tags if tag != "O"))

    @abstractmethod
    def read(self, texts: Sequence[str]) -> list[tuple[Words, NDArray[np.float32]]]:
        """Return the words of each text and the logits of its tokens, shape (tokens, tags)."""

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions (see `Student.predict`); `best` changes nothing. Statistics of a text are means
        over its words, but the margin is their minimum. The confidence is the exponential of the mean
        log-probability (MNLP: Shen et al., ICLR 2018, arXiv 1707.05928, section 4).
        """
        answers, statistics = list[str](), list[Floats]()
        for i, (words, logits) in enumerate(self.read(texts)):
            goal = None if gold is None else np.array(self.goals(words, spans(gold[i])))
            found = words.entities([self.tags[j] for j in logits.argmax(-1)])
            answers.append(written(Span(*one) for one in found))
            statistics.append(_statistics(logits, words.heads, goal))
        confidence, entropies, margin, energies, loss = np.array(statistics).reshape(-1, 5).T
        return Predictions(answers, confidence, entropies, margin, energies, None if gold is None else loss)

    def predict_proba(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the probabilities of each text's tags, shape (tokens, tags)."""
        return [softmax(logits) for _, logits in self.read(texts)]

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


class Tagger(TagPredictor):
    """A token classifier whose weights are all trained."""

    def __init__(self, model: Any, tokenizer: Any, tags: Sequence[str], max_tokens: int):
        super().__init__(tags)
        if not tokenizer.is_fast:
            raise InputError(
                f"{tokenizer.name_or_path} has no fast tokenizer, which a tagger needs; use another base"
            )
        tokenizer.padding_side = "right"  # indices of tokens count from the left
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Tokenize texts, cut to `max_tokens`. Words after the cut have no head."""
        if not texts:  # tokenizers fail on an empty list
            return []
        encoding = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_offsets_mapping=True
        )
        offsets = encoding.pop("offset_mapping")
        return [
            Words.of(text, {name: ids[i] for name, ids in encoding.items()}, offsets[i])
            for i, text in enumerate(texts)
        ]

    def read(self, texts: Sequence[str]) -> list[tuple[Words, NDArray[np.float32]]]:
        """Return words and logits (see `TagPredictor.read`). Texts are batched by length."""
        import torch

        words = self.words(texts)
        self.model.eval()
        order = sorted(range(len(words)), key=lambda i: len(words[i].inputs["input_ids"]))
        result: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                part = order[start : start + 64]
                inputs = self.tokenizer.pad([words[i].inputs for i in part], return_tensors="pt")
                logits = self.model(**inputs.to(self.model.device)).logits.float().cpu().numpy()
                result |= {i: logits[row, : len(words[i].inputs["input_ids"])] for row, i in enumerate(part)}
        return [(one, result[i]) for i, one in enumerate(words)]

    def predict_best(self, texts: Sequence[str]) -> list[str]:
        """Return only the predicted labels."""
        return self.predict(texts).answers

    def why_unlearnable(self, label: str) -> str:
        """Return "": a tagger can learn every label."""
        return ""

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more than `max_tokens` tokens."""
        return sum(longer(self.tokenizer, self.max_tokens, texts))

    def save(self, folder: Path) -> None:
        """Save model and tokenizer with `save_pretrained`, for `pipeline("token-classification")`."""
        self.tokenizer.model_max_length = self.max_tokens
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save


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
