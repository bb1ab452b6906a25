"""Create an encoder-decoder, and train any student that generates text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tutelage.student.device import device
from tutelage.student.models.causal import CausalStudent
from tutelage.student.models.predictions import Floats
from tutelage.student.models.seq2seq import IGNORED, Ids, Seq2seqStudent, positions, tokenizer_of
from tutelage.student.pretrained import load_model
from tutelage.student.training.adapters.base import default_rate, uniform_weights
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.losses import Objective, sample_losses
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

# The rate of LoRA adapters at any width (ours; QLoRA's, arXiv 2305.14314, up to 13 billion weights).
_LORA_RATE = 2e-4
REASON = 256  # tokens of a rationale to train on, at most (ours)
_RATIONALE_PREFIX = "[rationale] "  # asks for the rationale of the text that follows (arXiv 2305.02301)


class Seq2seqAdapter:
    """Train an encoder-decoder, or the LoRA adapters of a causal model. `reasons` maps the indices of some
    texts to two lists of token ids: the text with the rationale prefix, and its rationale.
    """

    decay = 0.01  # AdamW's own default

    def __init__(
        self,
        student: Seq2seqStudent,
        texts: list[Ids],
        targets: list[Ids],
        reasons: Mapping[int, tuple[Ids, Ids]],
        rate: float,
        weights: Floats | None = None,
    ):
        import torch

        self.student, self.texts, self.targets, self.rate = student, texts, targets, rate
        self.reasons = reasons
        # Both sides are padded, so texts are bucketed by the sum of their lengths.
        self.lengths = [
            len(text) + len(target) + sum(map(len, reasons.get(i, ())))
            for i, (text, target) in enumerate(zip(texts, targets, strict=True))
        ]
        self.model, self.token_ids = student.model, set[int]()  # the output layer may share the embedding
        self.parameters = [weight for weight in student.model.parameters() if weight.requires_grad]
        self.device = student.model.device
        self.weights = uniform_weights(texts, weights).to(self.device)
        self.sizes = torch.tensor([float(len(target)) for target in targets], device=self.device)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Return float logits of the targets, shape (len(batch), tokens, vocabulary), with gradient."""
        return self.student.teacher_forced([self.texts[i] for i in batch], [self.targets[i] for i in batch])[
            0
        ]

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """Return the loss of each target. The weighted mean token loss of the batch's rationales is added to
        each, so that their mean is `L_label + λ L_rationale` (arXiv 2305.02301, eq. 4).
        """
        losses = self._target_losses(logits, [self.targets[i] for i in batch], objective)
        pairs = [self.reasons[i] for i in batch if i in self.reasons]
        if not pairs:
            return losses
        texts, reasons = [text for text, _ in pairs], [reason for _, reason in pairs]
        reason_losses = self._target_losses(
            self.student.teacher_forced(texts, reasons)[0], reasons, objective
        )
        return losses + objective.rationale * reason_losses.mean()

    def _target_losses(self, logits: "Tensor", targets: Sequence[Ids], objective: Objective) -> "Tensor":
        """Return summed token losses over the mean target length: their mean is the mean over all tokens."""
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
        """Return None: there are no labels."""
        return

    def penalty(self) -> float:
        """Return 0: there is no penalty."""
        return 0.0


def fresh(training_config: TrainingConfig, seed: int) -> Seq2seqStudent:
    """Return a student with the configuration's pretrained base."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(seed)
    model = load_model(AutoModelForSeq2SeqLM, training_config.base).to(device(training_config.device))
    tokenizer = tokenizer_of(training_config.base)
    tokens = training_config.max_tokens
    if available := positions(model.config, "encoder"):
        tokens = min(tokens, available, tokenizer.model_max_length)
    return Seq2seqStudent(model, tokenizer, tokens, training_config.max_target, training_config.beams)


def adapter(
    training_set: TrainingSet, student: Seq2seqStudent, training_config: TrainingConfig
) -> Seq2seqAdapter:
    """Return an adapter for a training set, and for its rationales if the objective weighs them."""
    student.model.train()
    rate = training_config.learning_rate or _rate(student)
    weight = training_config.objective.rationale
    with_reason = [i for i, reason in enumerate(training_set.rationales) if reason and weight]
    prompts = student.ids([_RATIONALE_PREFIX + training_set.texts[i] for i in with_reason])
    room = min(REASON, student.room or REASON)
    reasons = [ids[:room] for ids in student.targets([training_set.rationales[i] for i in with_reason])]
    goals = [ids[: student.max_target] for ids in student.targets(training_set.labels)]
    by_index = dict(zip(with_reason, zip(prompts, reasons, strict=True), strict=True))
    return Seq2seqAdapter(
        student, student.ids(training_set.texts), goals, by_index, rate, training_set.weights
    )


def _rate(student: Seq2seqStudent) -> float:
    return _LORA_RATE if isinstance(student, CausalStudent) else default_rate(student.model)
