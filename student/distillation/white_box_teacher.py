"""A teacher's outputs for the training texts: hidden states of a white box, or labels of a black box.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks are explained in distillation/knowledge.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.device import device
from tutelage.student.distillation.knowledge import class_states, cosines, fsp, related_states
from tutelage.student.encoder import Encoder, Vectors
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.pretrained import load_model, load_pretrained, longest
from tutelage.student.tasks.fields import ONE, Fields
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.loop import train
from tutelage.student.training.observer import UNOBSERVED, Observer
from tutelage.student.training.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor

_ROOM = 1 << 30  # bytes of cached states; the states of further texts are computed again in every epoch
Order = list[int]


@dataclass(frozen=True)
class Views:
    """A teacher's outputs for n texts (arXiv 2302.00444).

    Attributes:
        logits: shape (n, labels); -inf for a probability of 0.
        features: the representations for FeaK, shape (n, layers, width).
        relations: returns the relation matrices for RelK of a mini-batch of b text indices.
        relation_type: of the relation matrices: `fsp`, shape (b, width, width), or `cosines`, shape (b, b).
    """

    logits: "Tensor"
    features: "Tensor"
    relations: Callable[[Sequence[int]], "Tensor"]
    relation_type: Literal["fsp", "cosines"]


class _Output(NamedTuple):
    """Logits and features of one text, and in half precision the states (2, len, width) of RelK's layers."""

    logits: "Tensor"
    features: "Tensor"
    states: "Tensor | None"


class WhiteBoxTeacher:
    """A teacher whose hidden states can be read. Its outputs are cached: each text is computed once.

    RelK's matrix has width² numbers, and the states of its two layers have 2 · len · width. So the states are
    cached (ours), up to `room` bytes; at width 384 and in half precision a token takes 1.5 kB.
    """

    def __init__(self, student: FullStudent, order: Order | None = None, *, room: int = _ROOM):
        self.student, self.room, self.used = student, room, 0
        self.order = order or list(range(len(student.labels)))
        self.read = 0  # number of texts computed, repetitions included
        self._cache: dict[tuple[object, ...], _Output] = {}

    def views(self, texts: Sequence[str], knowledge: Knowledge) -> Views:
        """Return the outputs for the texts that the losses of `knowledge` need."""
        import torch

        outputs = self._outputs(texts, knowledge)

        def relations(indices: Sequence[int]) -> "Tensor":
            return self._fsp([texts[i] for i in indices], knowledge)

        logits = torch.stack([output.logits for output in outputs])
        return Views(logits, torch.stack([output.features for output in outputs]), relations, "fsp")

    def _fsp(self, texts: Sequence[str], knowledge: Knowledge) -> "Tensor":
        from torch.nn.utils.rnn import pad_sequence

        outputs = self._outputs(texts, knowledge, states=True)
        states = [output.states.transpose(0, 1) for output in outputs if output.states is not None]
        here = self.student.model.device
        first, second = pad_sequence(states, batch_first=True).to(here).float().unbind(2)
        mask = pad_sequence([one.new_ones(len(one)) for one in states], batch_first=True)
        return fsp(first, second, mask.to(here))

    def _outputs(self, texts: Sequence[str], knowledge: Knowledge, *, states: bool = False) -> list[_Output]:
        """Return the outputs; compute only those not cached, or cached without the states that are needed."""
        layers = (knowledge.matched, knowledge.related)
        outputs: dict[str, _Output | None] = {text: self._cache.get((text, *layers)) for text in texts}
        new = [text for text, output in outputs.items() if not output or (states and output.states is None)]
        for text, computed in self._forward(sorted(new, key=len), knowledge):
            outputs[text] = computed
            self._cache[text, *layers] = self._to_cache(computed, "rel" in knowledge.kinds)
        return [output for text in texts if (output := outputs[text])]

    def _to_cache(self, output: _Output, states: bool) -> _Output:
        assert output.states is not None
        if not states or self.used + output.states.nbytes > self.room:
            return output._replace(states=None)
        self.used += output.states.nbytes
        return output

    def _forward(self, texts: list[str], knowledge: Knowledge) -> Iterator[tuple[str, _Output]]:
        import torch

        model = self.student.model.eval()
        for start in range(0, len(texts), 64):
            part = texts[start : start + 64]
            self.read += len(part)
            inputs = self.student.tokens(part, padding=True, return_tensors="pt")
            with torch.no_grad():
                out = model(**inputs.to(model.device), output_hidden_states=True)
            logits = out.logits.float()[:, self.order].cpu()
            features = class_states(out.hidden_states, knowledge).float().cpu()
            pairs = torch.stack(related_states(out.hidden_states, knowledge), 1).half().cpu()
            lengths = inputs["attention_mask"].sum(1).tolist()
            for i, text in enumerate(part):
                yield text, _Output(logits[i], features[i], pairs[i, :, : lengths[i]].clone())


def black_box(rows: Sequence[Row], labels: Sequence[str], encoder: Vectors) -> Views:
    """Return views of a teacher that gives only labels [O] (the teacher of arXiv 2302.00444 is a white box).

    ResK: the teacher's confidence in its label, the rest spread evenly; the user's own labels are certain.
    FeaK: the encoder's vector, scaled to a mean square of 1 like the normalised states of a layer (with
    vectors of length 1, a tiny student shrank and learnt no labels). RelK: the cosines in the mini-batch.
    """
    import torch

    targets = TrainingSet.of(rows).distributions(labels, soft=True)
    vectors = torch.from_numpy(encoder.encode([row["text"] for row in rows]))
    with np.errstate(divide="ignore"):
        logits = torch.from_numpy(np.log(targets))
    features = vectors[:, None] * vectors.shape[1] ** 0.5
    return Views(logits, features, lambda indices: cosines(vectors[list(indices)]), "cosines")


def check_white_box_teacher(
    training_config: TrainingConfig, labels: Sequence[str], rows: Sequence[Row]
) -> bool:
    """Return whether a base has the task's labels; if not, train it on rows first. Loads no weights.

    Raises:
        InputError: the base cannot be loaded, is a head, or has other labels and there are no rows.
    """
    from transformers import AutoConfig

    if _is_head(training_config.base):
        raise InputError(
            f"white-box teacher {training_config.base!r} is a linear layer on mean-pooled embeddings, which"
            " gives no hidden states to distil from; take a student of mode `full` with `pooling: cls`, or"
            " another classifier"
        )
    names = load_pretrained(AutoConfig, training_config.base).id2label
    fits = _order(names, labels) is not None
    if not fits and not rows:
        raise InputError(_other_labels(training_config.base, names, labels))
    return fits


def find_white_box_teacher(
    training_config: TrainingConfig,
    labels: Sequence[str],
    rows: Sequence[Row],
    *,
    seed: int,
    observer: Observer = UNOBSERVED,
) -> WhiteBoxTeacher:
    """Load the configuration's base as teacher if it predicts the task's labels; else train it on rows, which
    `observer` follows.

    Raises:
        InputError: as `check_white_box_teacher`.
    """
    if check_white_box_teacher(training_config, labels, rows):
        return load_white_box_teacher(
            training_config.base,
            labels,
            max_tokens=training_config.max_tokens,
            device_name=training_config.device,
            fields=training_config.fields,
        )
    encoder = Encoder(training_config.base, device=training_config.device)
    student = train(rows, labels, training_config, seed=seed, encoder=encoder, observer=observer)
    if not isinstance(student, FullStudent):
        raise InputError("a head has no layers to distil from; set the white-box teacher's mode to `full`")
    return WhiteBoxTeacher(student)


def _is_head(base: str) -> bool:
    """Return whether a folder holds a head or a mean-pooled student. It reads the file itself, because
    transformers would run code of the folder to load its configuration.
    """
    about = Path(base) / "config.json"
    return about.exists() and "tutelage-head" in about.read_text(encoding="utf-8")


def _other_labels(name: str, names: Mapping[int, str], labels: Sequence[str]) -> str:
    return (
        f"white-box teacher {name!r} has the labels {_listed(names.values())}, and the task has"
        f" {_listed(labels)}; rename the task's labels, or give labelled rows to train the teacher on first"
    )


def load_white_box_teacher(
    name: str,
    labels: Sequence[str],
    *,
    max_tokens: int = 128,
    device_name: str = "auto",
    fields: Fields = ONE,
) -> WhiteBoxTeacher:
    """Load any Hugging Face sequence classifier, by folder or hub name; its labels may be in another order.

    Raises:
        InputError: it cannot be loaded, has no trained classifier, or has other labels than the task.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = load_pretrained(AutoConfig, name)
    order = _order(config.id2label, labels)
    if order is None:
        raise InputError(_other_labels(name, config.id2label, labels))
    model, info = load_model(AutoModelForSequenceClassification, name, output_loading_info=True)
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"white-box teacher {name!r} has no trained classifier ({missing[0]} is missing); take a model"
            " with one, or a base with other label names and labelled rows to train it on first"
        )
    tokenizer = load_pretrained(AutoTokenizer, name)
    tokens = longest(tokenizer, config, max_tokens)
    student = FullStudent(model.to(device(device_name)), tokenizer, labels, tokens, fields)
    return WhiteBoxTeacher(student, order)


def _order(names: Mapping[int, str], labels: Sequence[str]) -> Order | None:
    """Return the teacher's column of each task label, ignoring case; None if the label sets differ."""
    columns = {name.casefold(): int(column) for column, name in names.items()}
    folded = [label.casefold() for label in labels]
    if not len(names) == len(labels) == len(columns) or set(folded) != set(columns):
        return None
    return [columns[label] for label in folded]


def _listed(names: object) -> str:
    shown = list(names)  # type: ignore[call-overload]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
