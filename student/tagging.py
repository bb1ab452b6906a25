"""Taggers: students that give every word of a text a BIO tag."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.class_weights import ClassWeights, type_weights
from tutelage.student.classifying import quicken
from tutelage.student.encoder import device, load_pretrained, longer, longest
from tutelage.student.errors import InputError
from tutelage.student.fields import ONE, Fields
from tutelage.student.learners import Goals, default_rate, even, half_on_cuda
from tutelage.student.lessons import Lessons
from tutelage.student.objectives import Objective, sample_losses
from tutelage.student.reading import Floats, Reading, energy, entropy, softmax
from tutelage.student.recipe import Recipe
from tutelage.student.rows import Row
from tutelage.student.spans import Span, spans, units, written

if TYPE_CHECKING:
    from torch import Tensor

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


class TaggingLearner:
    """Every weight of a token classifier."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self, student: Tagger, read: list[Words], goals: list[list[int]], recipe: Recipe, weights: Floats
    ):
        import torch

        self.student, self.read, self.goals = student, read, goals
        self.rate, self.smoothing = recipe.learning_rate or default_rate(student.model), recipe.smoothing
        self.lengths = [len(one.inputs["input_ids"]) for one in read]
        self.parameters = list(student.model.parameters())
        self.device = student.model.device
        self.weights = even(read, weights).to(self.device)
        of_tags = _tag_weights(student.tags, self.counts, recipe.class_weights)
        self.tag_weights = torch.from_numpy(of_tags).float().to(self.device)

    @property
    def counts(self) -> Floats:
        """Words of each tag, in the texts' weights, shape (tags,)."""
        weights = self.weights.cpu().numpy()
        result = np.zeros(len(self.student.tags))
        for one, goals, weight in zip(self.read, self.goals, weights, strict=True):
            learnt = [goal for head, goal in zip(one.heads, goals, strict=True) if head is not None]
            result += np.bincount(learnt, minlength=len(result)) * weight
        return result

    def bounds(self, objective: Objective) -> tuple[float, float]:
        """See `Learner`, over words."""
        import torch

        counts = torch.from_numpy(self.counts).float()
        goals = Goals(self._targets(torch.arange(len(counts))), counts * self.tag_weights.cpu())
        size = float(counts.sum()) or 1.0
        scale = float(goals.weights.sum()) / size  # the loss of a text is a mean by its words, not weights
        chance, least = goals.bounds(objective, several=False)
        return chance * scale, least * scale

    def _targets(self, goals: "Tensor") -> "Tensor":
        import torch

        tags = len(self.student.tags)
        return torch.nn.functional.one_hot(goals, tags).float() * (1 - self.smoothing) + self.smoothing / tags

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), tokens, tags), with gradient."""
        inputs = self.student.tokenizer.pad([self.read[i].inputs for i in batch], return_tensors="pt")
        with half_on_cuda(self.device):
            logits: Tensor = self.student.model(**inputs.to(self.device)).logits
        return logits.float()

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """Of each text the sum over its words, by the mean number of words: their mean is of all words."""
        import torch

        goals = torch.full(logits.shape[:2], _UNLEARNT)
        for row, i in enumerate(batch):
            for head, goal in zip(self.read[i].heads, self.goals[i], strict=True):
                if head is not None:
                    goals[row, head] = goal
        goals = goals.to(self.device)
        mask = goals != _UNLEARNT
        places = goals.clamp(min=0)
        weights = self.tag_weights[places] * mask
        losses = sample_losses(logits, self._targets(places), objective) * weights
        return losses.sum(1) * len(batch) / mask.sum().clamp(min=1)

    def penalty(self) -> float:
        """Nothing."""
        return 0.0


def fresh(labels: Sequence[str], recipe: Recipe, seed: int) -> Tagger:
    """A student of the recipe's base with a random tagger."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

    torch.manual_seed(seed)
    tags = ["O", *(f"{part}-{label}" for label in labels for part in "BI")]
    names = dict(enumerate(tags))
    numbers = {tag: i for i, tag in names.items()}
    config = load_pretrained(AutoConfig, recipe.base, id2label=names, label2id=numbers)
    quicken(config)
    model = load_pretrained(
        AutoModelForTokenClassification, recipe.base, config=config, ignore_mismatched_sizes=True
    )
    tokenizer = load_pretrained(AutoTokenizer, recipe.base)
    tokens = longest(tokenizer, config, recipe.max_tokens)
    return Tagger(model.to(device(recipe.device)), tokenizer, tags, tokens)


def check(rows: Sequence[Row], recipe: Recipe) -> list[str]:
    """See how far texts are read.

    Returns:
        A note, if entities stand beyond.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, recipe.base)
    tokens = longest(tokenizer, load_pretrained(AutoConfig, recipe.base), recipe.max_tokens)
    read = Tagger(None, tokenizer, ["O"], tokens).words([row["text"] for row in rows])
    beyond = sum(
        any(span.end > one.read for span in spans(row["label"])) for row, one in zip(rows, read, strict=True)
    )
    if not beyond:
        return []
    return [
        f"{beyond} of your {len(rows)} texts have entities beyond the {tokens} tokens that the student reads,"
        " which it can never find: raise `student.max_tokens`, or cut the texts into sentences"
    ]


def learner(lessons: Lessons, student: Tagger, recipe: Recipe, objective: Objective) -> TaggingLearner:
    """A tagger on lessons."""
    student.model.train()
    read = student.words(lessons.texts)
    goals = [student.goals(one, spans(label)) for one, label in zip(read, lessons.labels, strict=True)]
    return TaggingLearner(student, read, goals, recipe, lessons.weights)


def _tag_weights(tags: Sequence[str], counts: Floats, how: ClassWeights) -> Floats:
    """The loss weight of each tag, shape (tags,): that of its entity type, 1 outside entities. A tag outside
    entities is by far the commonest one; by its frequency the tagger would find entities everywhere.
    """
    types = list(dict.fromkeys(tag[2:] for tag in tags if tag != "O"))
    numbers = [[i for i, tag in enumerate(tags) if tag[2:] == one] for one in types]
    of_type = np.array([counts[places].sum() for places in numbers])
    weights = dict(zip(types, type_weights(of_type, how), strict=True))
    return np.array([weights[tag[2:]] if tag != "O" else 1.0 for tag in tags])


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
