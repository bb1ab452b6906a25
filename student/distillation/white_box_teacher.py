"""What a teacher knows of the training texts: a white box shows its layers, a black box its labels.

KSM: Wang et al., Findings of EMNLP 2022, arXiv 2302.00444; marks as in student/distillation/knowledge.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from tutelage.student.data.rows import Row
from tutelage.student.distillation.knowledge import class_states, cosines, fsp, related_states
from tutelage.student.encoder import Encoder, Vectors, device, load_pretrained, longest
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent
from tutelage.student.tasks.fields import ONE, Fields
from tutelage.student.training.configuration import Recipe
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.loop import train
from tutelage.student.training.training_set import Lessons

if TYPE_CHECKING:
    from torch import Tensor

_ROOM = 1 << 30  # bytes of states kept; texts beyond are read anew in every epoch
Order = list[int]


@dataclass(frozen=True)
class Views:
    """A teacher's answers to n texts (arXiv 2302.00444).

    Attributes:
        logits: shape (n, labels); -inf where it sees no chance.
        features: what FeaK compares, shape (n, layers, width).
        relations: what RelK compares, of a mini-batch of places.
        form: of the relations: `fsp` matrices (b, width, width), or `cosines` (b, b).
    """

    logits: "Tensor"
    features: "Tensor"
    relations: Callable[[Sequence[int]], "Tensor"]
    form: Literal["fsp", "cosines"]


class _Answer(NamedTuple):
    """Of one text: logits, features, and in half precision the states (2, len, width) of RelK's layers."""

    logits: "Tensor"
    features: "Tensor"
    states: "Tensor | None"


class Expert:
    """A white-box teacher; every text is read once and its answer remembered.

    RelK's matrix has width² numbers, its two layers' states 2 · len · width: the states are what is kept
    (ours), and only up to `room` bytes; at 384 wide and in half precision, 1.5 kB a token.
    """

    def __init__(self, student: FullStudent, order: Order | None = None, *, room: int = _ROOM):
        self.student, self.room, self.used = student, room, 0
        self.order = order or list(range(len(student.labels)))
        self.read = 0  # texts, those read anew included
        self._answers: dict[tuple[object, ...], _Answer] = {}

    def views(self, texts: Sequence[str], knowledge: Knowledge) -> Views:
        """What it knows of the texts, as far as `knowledge` compares it."""
        import torch

        answers = self._ask(texts, knowledge)

        def relations(places: Sequence[int]) -> "Tensor":
            return self._fsp([texts[i] for i in places], knowledge)

        logits = torch.stack([answer.logits for answer in answers])
        return Views(logits, torch.stack([answer.features for answer in answers]), relations, "fsp")

    def _fsp(self, texts: Sequence[str], knowledge: Knowledge) -> "Tensor":
        from torch.nn.utils.rnn import pad_sequence

        asked = self._ask(texts, knowledge, states=True)
        states = [answer.states.transpose(0, 1) for answer in asked if answer.states is not None]
        here = self.student.model.device
        first, second = pad_sequence(states, batch_first=True).to(here).float().unbind(2)
        mask = pad_sequence([one.new_ones(len(one)) for one in states], batch_first=True)
        return fsp(first, second, mask.to(here))

    def _ask(self, texts: Sequence[str], knowledge: Knowledge, *, states: bool = False) -> list[_Answer]:
        """The answers, of which only new ones, or those whose states are wanted and not kept, are made."""
        about = (knowledge.matched, knowledge.related)
        found: dict[str, _Answer | None] = {text: self._answers.get((text, *about)) for text in texts}
        new = [text for text, answer in found.items() if not answer or (states and answer.states is None)]
        for text, made in self._forward(sorted(new, key=len), knowledge):
            found[text] = made
            self._answers[text, *about] = self._kept(made, "rel" in knowledge.kinds)
        return [answer for text in texts if (answer := found[text])]

    def _kept(self, answer: _Answer, states: bool) -> _Answer:
        assert answer.states is not None
        if not states or self.used + answer.states.nbytes > self.room:
            return answer._replace(states=None)
        self.used += answer.states.nbytes
        return answer

    def _forward(self, texts: list[str], knowledge: Knowledge) -> Iterator[tuple[str, _Answer]]:
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
                yield text, _Answer(logits[i], features[i], pairs[i, :, : lengths[i]].clone())


def black_box(rows: Sequence[Row], labels: Sequence[str], encoder: Vectors) -> Views:
    """The four kinds of knowledge of a teacher that only labels [O] (arXiv 2302.00444 has a white box).

    ResK: its confidence on its label, the rest spread evenly; the user's own labels are certain. FeaK: the
    encoder's vector, lengthened to a mean square of 1, that of a layer's normalised states (following one of
    length 1, a tiny student shrank and learnt no labels). RelK: the cosines inside the mini-batch.
    """
    import torch

    targets = Lessons.of(rows).distributions(labels, soft=True)
    vectors = torch.from_numpy(encoder.encode([row["text"] for row in rows]))
    with np.errstate(divide="ignore"):
        logits = torch.from_numpy(np.log(targets))
    features = vectors[:, None] * vectors.shape[1] ** 0.5
    return Views(logits, features, lambda places: cosines(vectors[list(places)]), "cosines")


def check_expert(recipe: Recipe, labels: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether a base gives the task's labels; else it is to be trained on rows. No weights are loaded.

    Raises:
        InputError: it cannot be loaded, is a head, or gives other labels with no rows to train it on.
    """
    from transformers import AutoConfig

    if _is_head(recipe.base):
        raise InputError(
            f"expert {recipe.base!r} is a linear layer on mean-pooled embeddings, which shows no layers to"
            " learn from; take a student of mode `full` with `pooling: cls`, or another classifier"
        )
    names = load_pretrained(AutoConfig, recipe.base).id2label
    fits = _order(names, labels) is not None
    if not fits and not rows:
        raise InputError(_other_labels(recipe.base, names, labels))
    return fits


def find_expert(recipe: Recipe, labels: Sequence[str], rows: Sequence[Row], *, seed: int) -> Expert:
    """A teacher of the recipe's base: loaded if it already gives the task's labels, else trained on rows.

    Raises:
        InputError: as `check_expert`.
    """
    if check_expert(recipe, labels, rows):
        return load_expert(
            recipe.base,
            labels,
            max_tokens=recipe.max_tokens,
            device_name=recipe.device,
            fields=recipe.fields,
        )
    encoder = Encoder(recipe.base, device=recipe.device)
    student = train(rows, labels, recipe, seed=seed, encoder=encoder)
    if not isinstance(student, FullStudent):
        raise InputError("a head shows no layers to learn from; set the expert's mode to `full`")
    return Expert(student)


def _is_head(base: str) -> bool:
    """Whether a folder is a head student's or a mean-pooled one's: to read its configuration, transformers
    would run its code.
    """
    about = Path(base) / "config.json"
    return about.exists() and "tutelage-head" in about.read_text(encoding="utf-8")


def _other_labels(name: str, names: Mapping[int, str], labels: Sequence[str]) -> str:
    return (
        f"expert {name!r} gives the labels {_listed(names.values())}, the task has {_listed(labels)};"
        " rename the task's, or give labelled rows to train the expert on first"
    )


def load_expert(
    name: str,
    labels: Sequence[str],
    *,
    max_tokens: int = 128,
    device_name: str = "auto",
    fields: Fields = ONE,
) -> Expert:
    """Any sequence classifier of Hugging Face, by folder or hub name; its labels may stand in another order.

    Raises:
        InputError: it cannot be loaded, has no trained classifier, or gives other labels than the task's.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = load_pretrained(AutoConfig, name)
    order = _order(config.id2label, labels)
    if order is None:
        raise InputError(_other_labels(name, config.id2label, labels))
    model, info = load_pretrained(AutoModelForSequenceClassification, name, output_loading_info=True)
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"expert {name!r} has no trained classifier ({missing[0]} is missing); take one that has, or a"
            " base with other label names and labelled rows to train it on first"
        )
    tokenizer = load_pretrained(AutoTokenizer, name)
    tokens = longest(tokenizer, config, max_tokens)
    student = FullStudent(model.to(device(device_name)), tokenizer, labels, tokens, fields)
    return Expert(student, order)


def _order(names: Mapping[int, str], labels: Sequence[str]) -> Order | None:
    """The expert's column of each label of the task, case aside; None if they are not the same labels."""
    places = {name.casefold(): int(place) for place, name in names.items()}
    if not len(names) == len(labels) == len(places) or {label.casefold() for label in labels} != set(places):
        return None
    return [places[label.casefold()] for label in labels]


def _listed(names: object) -> str:
    shown = list(names)  # type: ignore[call-overload]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
