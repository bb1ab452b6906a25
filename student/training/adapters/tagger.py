"""How a tagger is begun, checked and trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.encoder import device, half_on_cuda, load_pretrained, longest
from tutelage.student.models.predictions import Floats
from tutelage.student.models.tagger import Tagger, Words
from tutelage.student.tasks.spans import spans
from tutelage.student.training.adapters.base import Goals, default_rate, even, quicken
from tutelage.student.training.class_weights import ClassWeights, type_weights
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.losses import Objective, sample_losses
from tutelage.student.training.training_set import Lessons

if TYPE_CHECKING:
    from torch import Tensor

_UNLEARNT = -100  # the tag of a token that begins no word


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
