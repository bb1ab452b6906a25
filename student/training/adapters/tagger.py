"""Create, check and train a tagger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.device import device, half_on_cuda
from tutelage.student.models.predictions import Floats
from tutelage.student.models.tagger import Tagger
from tutelage.student.pretrained import load_model, load_pretrained, longest
from tutelage.student.tasks.spans import spans
from tutelage.student.tasks.words import Words
from tutelage.student.training.adapters.base import (
    Targets,
    default_rate,
    disable_attention_dropout,
    uniform_weights,
)
from tutelage.student.training.class_weights import ClassWeights, type_weights
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.losses import Objective, sample_losses
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

_IGNORED = -100  # the tag of a token that does not begin a word


class TaggerAdapter:
    """Train every weight of a token classifier."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        student: Tagger,
        read: list[Words],
        goals: list[list[int]],
        training_config: TrainingConfig,
        weights: Floats,
    ):
        import torch

        self.student, self.read, self.goals = student, read, goals
        self.rate = training_config.learning_rate or default_rate(student.model)
        self.smoothing = training_config.smoothing
        self.lengths = [len(one.inputs["input_ids"]) for one in read]
        self.model, self.parameters = student.model, list(student.model.parameters())
        tokens = (one.inputs["input_ids"] for one in read)
        self.token_ids: set[int] = {student.tokenizer.pad_token_id}.union(*tokens)
        self.device = student.model.device
        self.weights = uniform_weights(read, weights).to(self.device)
        words = [sum(head is not None for head in one.heads) for one in read]
        self.sizes = torch.tensor(words, dtype=torch.float32, device=self.device)
        tag_weights = _tag_weights(student.tags, self.counts, training_config.class_weights)
        self.tag_weights = torch.from_numpy(tag_weights).float().to(self.device)

    @property
    def counts(self) -> Floats:
        """Return the number of words with each tag, weighted by text, shape (tags,)."""
        weights = self.weights.cpu().numpy()
        result = np.zeros(len(self.student.tags))
        for one, goals, weight in zip(self.read, self.goals, weights, strict=True):
            tags = [goal for head, goal in zip(one.heads, goals, strict=True) if head is not None]
            result += np.bincount(tags, minlength=len(result)) * weight
        return result

    def bounds(self, objective: Objective) -> tuple[float, float]:
        """Return the bounds of the mean loss over words, see `TrainerAdapter.bounds`."""
        import torch

        counts = torch.from_numpy(self.counts).float()
        goals = Targets(self._targets(torch.arange(len(counts))), counts * self.tag_weights.cpu())
        size = float(counts.sum()) or 1.0
        scale = float(goals.weights.sum()) / size  # `losses` divides by words, not by weights
        chance, least = goals.bounds(objective, several=False)
        return chance * scale, least * scale

    def _targets(self, goals: "Tensor") -> "Tensor":
        import torch

        tags = len(self.student.tags)
        return torch.nn.functional.one_hot(goals, tags).float() * (1 - self.smoothing) + self.smoothing / tags

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Return float logits of shape (len(batch), tokens, tags), with gradient."""
        inputs = self.student.tokenizer.pad([self.read[i].inputs for i in batch], return_tensors="pt")
        with half_on_cuda(self.device):
            logits: Tensor = self.student.model(**inputs.to(self.device)).logits
        return logits.float()

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """Return summed word losses over the mean number of words: their mean is the mean over all words."""
        import torch

        goals = torch.full(logits.shape[:2], _IGNORED)
        for row, i in enumerate(batch):
            for head, goal in zip(self.read[i].heads, self.goals[i], strict=True):
                if head is not None:
                    goals[row, head] = goal
        goals = goals.to(self.device)
        mask = goals != _IGNORED
        indices = goals.clamp(min=0)
        weights = self.tag_weights[indices] * mask
        losses = sample_losses(logits, self._targets(indices), objective) * weights
        return losses.sum(1) * len(batch) / mask.sum().clamp(min=1)

    def penalty(self) -> float:
        """Return 0: there is no penalty."""
        return 0.0


def fresh(labels: Sequence[str], training_config: TrainingConfig, seed: int) -> Tagger:
    """Return a student with the configuration's pretrained base and a random tag layer."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

    torch.manual_seed(seed)
    tags = ["O", *(f"{part}-{label}" for label in labels for part in "BI")]
    names = dict(enumerate(tags))
    numbers = {tag: i for i, tag in names.items()}
    config = load_pretrained(AutoConfig, training_config.base, id2label=names, label2id=numbers)
    disable_attention_dropout(config)
    model = load_model(
        AutoModelForTokenClassification, training_config.base, config=config, ignore_mismatched_sizes=True
    )
    tokenizer = load_pretrained(AutoTokenizer, training_config.base)
    tokens = longest(tokenizer, config, training_config.max_tokens)
    return Tagger(model.to(device(training_config.device)), tokenizer, tags, tokens)


def check(rows: Sequence[Row], training_config: TrainingConfig) -> list[str]:
    """Check whether all entities lie within the tokens that the student reads.

    Returns:
        A note if some do not, else nothing.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, training_config.base)
    tokens = longest(tokenizer, load_pretrained(AutoConfig, training_config.base), training_config.max_tokens)
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


def adapter(training_set: TrainingSet, student: Tagger, training_config: TrainingConfig) -> TaggerAdapter:
    """Return an adapter for a training set."""
    student.model.train()
    read = student.words(training_set.texts)
    goals = [student.goals(one, spans(label)) for one, label in zip(read, training_set.labels, strict=True)]
    return TaggerAdapter(student, read, goals, training_config, training_set.weights)


def _tag_weights(tags: Sequence[str], counts: Floats, how: ClassWeights) -> Floats:
    """Return the loss weight of each tag, shape (tags,): the weight of its entity type, and 1 for `O`. `O` is
    by far the most frequent tag; weighted by frequency, the tagger would find entities everywhere.
    """
    types = list(dict.fromkeys(tag[2:] for tag in tags if tag != "O"))
    indices = [[i for i, tag in enumerate(tags) if tag[2:] == one] for one in types]
    totals = np.array([counts[members].sum() for members in indices])
    weights = dict(zip(types, type_weights(totals, how), strict=True))
    return np.array([weights[tag[2:]] if tag != "O" else 1.0 for tag in tags])
