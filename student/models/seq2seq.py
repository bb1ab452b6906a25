"""Writers: students that write a target, encoder-decoders."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import device, half_on_cuda, load_pretrained, longer
from tutelage.student.models.predictions import Floats, Reading, entropy, softmax, token_energy
from tutelage.student.tasks.fields import ONE, Fields

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # the target of padding
_SIGNS = (  # which a model begins and ends with
    *("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id"),
)
MAX_TARGET = 64  # tokens that are written, unless the saved folder says so
MOST_TOKENS = 512  # of a text that a saved student reads
_BATCH = 32
Ids = list[int]


class Writer:
    """An encoder-decoder with every weight trained. It writes greedily; where it is examined or used, with
    `beams`. `max_target` tokens are written at most.
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

    @property
    def room(self) -> int | None:
        """Tokens it has positions to write in; None if they have no end."""
        return positions(self.model.config, "decoder")

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
        """See `Student`: a target that it could not write to its end, or with all its signs."""
        [ids] = self.targets([label])
        if len(ids) > self.max_target:
            return f"the target has {len(ids)} tokens, more than {self.max_target}"
        if self.tokenizer.unk_token_id in plain(self.tokenizer, [label])[0]:  # GPT-2's is its end as well
            return f"the student's vocabulary lacks signs of the target {label[:60]!r}"
        return ""

    def cut(self, texts: Sequence[str]) -> int:
        """See `Student`."""
        return sum(longer(self.tokenizer, self.max_tokens, texts))

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of texts, cut to `max_tokens`."""
        if not texts:  # which tokenizers trip over
            return []
        made = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        found: list[Ids] = made["input_ids"]
        return found

    def targets(self, targets: Sequence[str]) -> list[Ids]:
        """Token ids of targets, each with its end."""
        return target_ids(self.tokenizer, targets)

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
        ids, goals = self.ids(texts), [goal[: self.max_target] for goal in self.targets(targets)]
        result = np.zeros((5, len(texts)))
        for part in batches(ids, 8):
            with torch.inference_mode():
                logits, padded = self.forced([ids[i] for i in part], [goals[i] for i in part])
            found, wanted = logits.cpu().numpy(), padded.cpu().numpy()
            for row, i in enumerate(part):  # one at a time: a vocabulary is wide
                result[:, [i]] = _of_tokens(found[row : row + 1], wanted[row : row + 1])
        return result


def load(folder: Path, device_name: str) -> Writer:
    """A saved writer."""
    from transformers import AutoModelForSeq2SeqLM

    model = load_pretrained(AutoModelForSeq2SeqLM, str(folder)).to(device(device_name))
    tokenizer, kept = tokenizer_of(str(folder)), model.generation_config
    tokens = min(int(tokenizer.model_max_length), MOST_TOKENS)
    return Writer(model, tokenizer, tokens, kept.max_new_tokens or MAX_TARGET, kept.num_beams or 1)


def tokenizer_of(base: str) -> Any:
    """A tokenizer that can pad: one without a sign for it ends texts in its place."""
    from transformers import AutoTokenizer

    found = load_pretrained(AutoTokenizer, base)
    if found.pad_token_id is None:
        found.pad_token = found.eos_token
    return found


def target_ids(tokenizer: Any, targets: Sequence[str]) -> list[Ids]:
    """Token ids of targets as a tokenizer ends them."""
    if not targets:
        return []
    found: list[Ids] = tokenizer(text_target=list(targets))["input_ids"]
    return found


def plain(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Token ids of texts by themselves, without signs of the model's."""
    if not texts:
        return []
    found: list[Ids] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return found


def positions(config: Any, side: Literal["encoder", "decoder"]) -> int | None:
    """Tokens that a side of a model can take; None if it has no end, as of T5."""
    part = getattr(config, side, config)
    names = (f"max_{side}_position_embeddings", "max_position_embeddings")
    return next((known for name in names if (known := getattr(part, name, None))), None)


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
