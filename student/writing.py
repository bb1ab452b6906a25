"""Writers: students that write a target, encoder-decoders."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import device, load_pretrained
from tutelage.student.fields import ONE, Fields
from tutelage.student.learners import default_rate, half_on_cuda
from tutelage.student.lessons import Lessons
from tutelage.student.objectives import Objective, sample_losses, token_energy
from tutelage.student.reading import Floats, Reading, entropy, softmax
from tutelage.student.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # the target of padding
_SIGNS = (  # which a model begins and ends with
    *("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id"),
)
_BATCH = 32
_ANSWER, _REASON = "[label] ", "[rationale] "  # as in distilling step by step (arXiv 2305.02301)
Ids = list[int]


class Writer:
    """An encoder-decoder with every weight trained. It writes greedily; where it is examined or used, with
    `beams`. `max_target` tokens are written at most. One that learnt to write reasons too reads what it is to
    write as the text's first word.
    """

    kind = "seq2seq"
    fields: Fields = ONE

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, max_target: int, beams: int):
        # Of what a base's authors recommend (lengths, penalties) nothing: a target has the length it has.
        from transformers import GenerationConfig

        signs = {name: getattr(model.generation_config, name, None) for name in _SIGNS}
        known = {name: sign for name, sign in signs.items() if sign is not None}
        model.generation_config = GenerationConfig(**known)
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.max_target, self.beams = max_tokens, max_target, beams
        self.labels: list[str] = []
        self.prefix = str(tokenizer.init_kwargs.get("text_prefix", ""))

    @property
    def rate(self) -> float:
        """The learning rate unless a recipe names one."""
        return default_rate(self.model)

    def read(self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False) -> Reading:
        """See `Student`, the best by `beams`; figures are means over the tokens of what it writes (the
        confidence of their log-probabilities, as MNLP; the margin the least of them), the energy those of the
        gold target, if there is one (GOLD, arXiv 2403.19754, reads the written sample's).
        """
        answers = self._written(texts, beams=self.beams if best else 1)
        own = self._figures(texts, answers)
        taught = own if gold is None else self._figures(texts, gold)
        sure, unsure, margin = own[:3]
        return Reading(answers, sure, unsure, margin, taught[3], None if gold is None else taught[4])

    def answer(self, texts: Sequence[str]) -> list[str]:
        """See `Student`; by beam search, if the recipe says so."""
        return self._written(texts, beams=self.beams)

    def unlearnt(self, label: str) -> str:
        """See `Student`: a target that it could not write to its end."""
        size = len(self.tokenizer(text_target=label)["input_ids"])
        return f"the target has {size} tokens, more than {self.max_target}" if size > self.max_target else ""

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of texts, cut to `max_tokens`, with the prefix of what is to be written."""
        if not texts:  # which tokenizers trip over
            return []
        texts = [self.prefix + text for text in texts]
        found: list[Ids] = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)[
            "input_ids"
        ]
        return found

    def targets(self, targets: Sequence[str]) -> list[Ids]:
        """Token ids of targets, each with its end, cut to `max_target`."""
        if not targets:
            return []
        made = self.tokenizer(text_target=list(targets), truncation=True, max_length=self.max_target)
        found: list[Ids] = made["input_ids"]
        return found

    def forced(self, texts: list[Ids], targets: list[Ids]) -> "tuple[Tensor, Tensor]":
        """Logits (n, t, vocabulary) of each token of the targets, given those before it, and the padded
        targets.
        """
        import torch

        inputs = self.tokenizer.pad({"input_ids": texts}, return_tensors="pt").to(self.model.device)
        rows = [torch.tensor(ids) for ids in targets]
        goals = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        goals = goals.to(self.model.device)
        with half_on_cuda(self.model.device):
            logits: Tensor = self.model(**inputs, labels=goals).logits
        return logits.float(), goals

    def save(self, folder: Path) -> None:
        """`save_pretrained` of model and tokenizer, for `AutoModelForSeq2SeqLM`."""
        self.settle(self.model)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save

    def settle(self, model: Any) -> None:
        """Have a model keep how it is to write, which `generate` goes by, and the tokenizer how it reads."""
        model.generation_config.update(max_length=None, max_new_tokens=self.max_target, num_beams=self.beams)
        self.tokenizer.model_max_length = self.max_tokens
        self.tokenizer.init_kwargs["text_prefix"] = self.prefix

    def _written(self, texts: Sequence[str], *, beams: int) -> list[str]:
        """What it writes; in length order, returned in the given one."""
        import torch

        self.model.eval()
        ids = self.ids(texts)
        result = [""] * len(texts)
        for part in batches(ids):
            inputs = self.tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
            with torch.inference_mode():
                found = self.model.generate(
                    **inputs.to(self.model.device),
                    max_new_tokens=self.max_target,
                    num_beams=beams,
                    do_sample=False,
                )
            for i, text in zip(
                part, self.tokenizer.batch_decode(found, skip_special_tokens=True), strict=True
            ):
                result[i] = text.strip()
        return result

    def _figures(self, texts: Sequence[str], targets: Sequence[str]) -> NDArray[np.float64]:
        """Confidence, entropy, margin, energy and loss of targets, shape (5, n)."""
        import torch

        self.model.eval()
        ids, goals = self.ids(texts), self.targets(targets)
        result = np.zeros((5, len(texts)))
        for part in batches(ids, 8):
            with torch.inference_mode():
                logits, padded = self.forced([ids[i] for i in part], [goals[i] for i in part])
            found, wanted = logits.cpu().numpy(), padded.cpu().numpy()
            for row, i in enumerate(part):  # one at a time: a vocabulary is wide
                result[:, [i]] = _of_tokens(found[row : row + 1], wanted[row : row + 1])
        return result


class WritingLearner:
    """Every weight of an encoder-decoder."""

    decay = 0.01  # AdamW's own default

    def __init__(
        self, student: Writer, texts: list[Ids], targets: list[Ids], weights: Sequence[float], rate: float
    ):
        import torch

        self.student, self.texts, self.targets, self.rate = student, texts, targets, rate
        # Padding of both sides is the cost: batches of like length by their sum.
        self.lengths = [len(text) + len(target) for text, target in zip(texts, targets, strict=True)]
        self.parameters = [weight for weight in student.model.parameters() if weight.requires_grad]
        self.device = student.model.device
        self.weights = torch.tensor(weights, device=self.device)

    def logits(self, batch: Sequence[int]) -> "Tensor":
        """Float logits of shape (len(batch), tokens, vocabulary), with gradient."""
        return self.student.forced([self.texts[i] for i in batch], [self.targets[i] for i in batch])[0]

    def losses(self, logits: "Tensor", batch: Sequence[int], objective: Objective) -> "Tensor":
        """Of each target the sum over its tokens, by their mean number: the mean is that of all tokens."""
        import torch

        rows = [torch.tensor(self.targets[i]) for i in batch]
        goals = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED).to(self.device)
        mask = goals != IGNORED
        if objective.loss == "ce":
            flat, wanted = logits.flatten(0, 1), goals.flatten()
            losses = torch.nn.functional.cross_entropy(flat, wanted, ignore_index=IGNORED, reduction="none")
            losses = losses.view(goals.shape)
        else:
            target = torch.nn.functional.one_hot(goals.clamp(min=0), logits.shape[2]).float()
            losses = sample_losses(logits, target, objective) * mask
        return losses.sum(1) * len(batch) / mask.sum().clamp(min=1)

    def penalty(self) -> float:
        """Nothing."""
        return 0.0


def fresh(recipe: Recipe, seed: int) -> Writer:
    """A student of the recipe's base as it is."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(seed)
    model = load_pretrained(AutoModelForSeq2SeqLM, recipe.base).to(device(recipe.device))
    return Writer(model, tokenizer_of(recipe.base), recipe.max_tokens, recipe.max_target, recipe.beams)


def load(folder: Path, device_name: str) -> Writer:
    """A saved writer."""
    from transformers import AutoModelForSeq2SeqLM

    model = load_pretrained(AutoModelForSeq2SeqLM, str(folder)).to(device(device_name))
    tokenizer, kept = tokenizer_of(str(folder)), model.generation_config
    tokens = min(int(tokenizer.model_max_length), Recipe.max_tokens * 4)
    return Writer(model, tokenizer, tokens, kept.max_new_tokens or Recipe.max_target, kept.num_beams or 1)


def learner(lessons: Lessons, student: Writer, recipe: Recipe, objective: Objective) -> WritingLearner:
    """A writer on lessons; where reasons are learnt, each is a lesson more, of that weight."""
    student.model.train()
    rate = recipe.learning_rate or student.rate
    reasons: list[str] = []
    texts: list[Ids] = []
    if objective.rationale:
        told = [(t, r) for t, r in zip(lessons.texts, lessons.rationales, strict=True) if r]
        student.prefix = _REASON
        texts, reasons = student.ids([text for text, _ in told]), [reason for _, reason in told]
        student.prefix = _ANSWER
    ids = [*student.ids(lessons.texts), *texts]
    goals = student.targets([*lessons.labels, *reasons])
    weights = [1.0] * len(lessons.texts) + [objective.rationale] * len(reasons)
    return WritingLearner(student, ids, goals, weights, rate)


def tokenizer_of(base: str) -> Any:
    """A tokenizer that can pad: one without a sign for it ends texts in its place."""
    from transformers import AutoTokenizer

    found = load_pretrained(AutoTokenizer, base)
    if found.pad_token_id is None:
        found.pad_token = found.eos_token
    return found


def batches(ids: Sequence[Ids], size: int = _BATCH) -> list[list[int]]:
    """Places in length order, in parts."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _of_tokens(logits: NDArray[np.float32], goals: NDArray[np.int64]) -> Floats:
    mask = goals != IGNORED
    counts = np.maximum(mask.sum(1), 1)
    p = softmax(logits)
    of_goal = np.take_along_axis(p, np.where(mask, goals, 0)[..., None], -1)[..., 0].clip(1e-12)
    top = np.sort(p, -1)[..., -2:].astype(float)
    margin = np.where(mask, top[..., 1] - top[..., 0], 1.0).min(1)
    unsure = (entropy(p) * mask).sum(1) / counts
    loss = -(np.log(of_goal) * mask).sum(1) / counts
    return np.array([np.exp(-loss), unsure, margin, token_energy(logits, mask), loss])
