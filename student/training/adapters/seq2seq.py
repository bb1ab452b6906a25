"""How an encoder-decoder is begun and trained."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tutelage.student.encoder import device, load_pretrained
from tutelage.student.models.causal import CausalWriter
from tutelage.student.models.predictions import Floats
from tutelage.student.models.seq2seq import IGNORED, Ids, Writer, positions, tokenizer_of
from tutelage.student.training.adapters.base import default_rate, even
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.losses import Objective, sample_losses
from tutelage.student.training.training_set import Lessons

if TYPE_CHECKING:
    from torch import Tensor

# Of adapters, whatever the model's width (ours; that of QLoRA, arXiv 2305.14314, up to 13 billion weights).
_LORA_RATE = 2e-4
REASON = 256  # tokens of a reason that are learnt (ours)
_ASKED = "[rationale] "  # before a text whose reason is to be written (arXiv 2305.02301)


class WritingLearner:
    """Every weight of an encoder-decoder. `reasons` are of some texts, by their places: the ids of the text
    with which a reason is asked for, and its own.
    """

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        student: Writer,
        texts: list[Ids],
        targets: list[Ids],
        reasons: Mapping[int, tuple[Ids, Ids]],
        rate: float,
        weights: Floats | None = None,
    ):
        self.student, self.texts, self.targets, self.rate = student, texts, targets, rate
        self.reasons = reasons
        # Padding of both sides is the cost: batches of like length by their sum.
        self.lengths = [
            len(text) + len(target) + sum(map(len, reasons.get(i, ())))
            for i, (text, target) in enumerate(zip(texts, targets, strict=True))
        ]
        self.parameters = [weight for weight in student.model.parameters() if weight.requires_grad]
        self.device = student.model.device
        self.weights = even(texts, weights).to(self.device)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of the targets, shape (len(batch), tokens, vocabulary), with gradient."""
        return self.student.forced([self.texts[i] for i in batch], [self.targets[i] for i in batch])[0]

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """The loss of each target; to each is added the mean over the tokens of the batch's reasons, by its
        weight, so that the mean is `L_label + λ L_rationale` (arXiv 2305.02301, eq. 4).
        """
        losses = self._of_each(logits, [self.targets[i] for i in batch], objective)
        told = [self.reasons[i] for i in batch if i in self.reasons]
        if not told:
            return losses
        texts, reasons = [text for text, _ in told], [reason for _, reason in told]
        of_reasons = self._of_each(self.student.forced(texts, reasons)[0], reasons, objective)
        return losses + objective.rationale * of_reasons.mean()

    def _of_each(self, logits: "Tensor", targets: Sequence[Ids], objective: Objective) -> "Tensor":
        """Of each target the sum over its tokens, by their mean number: the mean is that of all tokens."""
        import torch

        rows = [torch.tensor(target) for target in targets]
        goals = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED).to(self.device)
        mask = goals != IGNORED
        if objective.loss == "ce":
            flat, wanted = logits.flatten(0, 1), goals.flatten()
            losses = torch.nn.functional.cross_entropy(flat, wanted, ignore_index=IGNORED, reduction="none")
            losses = losses.view(goals.shape)
        else:
            target = torch.nn.functional.one_hot(goals.clamp(min=0), logits.shape[2]).float()
            losses = sample_losses(logits, target, objective) * mask
        return losses.sum(1) * len(targets) / mask.sum().clamp(min=1)

    def bounds(self, objective: Objective) -> None:
        """See `Learner`: there are no labels."""
        return

    def penalty(self) -> float:
        """Nothing."""
        return 0.0


def fresh(recipe: Recipe, seed: int) -> Writer:
    """A student of the recipe's base as it is."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(seed)
    model = load_pretrained(AutoModelForSeq2SeqLM, recipe.base).to(device(recipe.device))
    tokenizer = tokenizer_of(recipe.base)
    tokens = recipe.max_tokens
    if ends := positions(model.config, "encoder"):
        tokens = min(tokens, ends, tokenizer.model_max_length)
    return Writer(model, tokenizer, tokens, recipe.max_target, recipe.beams)


def learner(lessons: Lessons, student: Writer, recipe: Recipe, objective: Objective) -> WritingLearner:
    """A writer on lessons, and on the reasons that are known, if they are to be learnt."""
    student.model.train()
    rate = recipe.learning_rate or _rate(student)
    told = [i for i, reason in enumerate(lessons.rationales) if reason and objective.rationale]
    asked = student.ids([_ASKED + lessons.texts[i] for i in told])
    room = min(REASON, student.room or REASON)
    reasons = [ids[:room] for ids in student.targets([lessons.rationales[i] for i in told])]
    goals = [ids[: student.max_target] for ids in student.targets(lessons.labels)]
    by_place = dict(zip(told, zip(asked, reasons, strict=True), strict=True))
    return WritingLearner(student, student.ids(lessons.texts), goals, by_place, rate, lessons.weights)


def _rate(student: Writer) -> float:
    return _LORA_RATE if isinstance(student, CausalWriter) else default_rate(student.model)
