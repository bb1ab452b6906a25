"""The training configuration: how a student is trained."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from tutelage.student.errors import InputError
from tutelage.student.models.windows import Long
from tutelage.student.pretrained import EMBEDDED
from tutelage.student.tasks.fields import ONE, Fields
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.class_weights import ClassWeights
from tutelage.student.training.losses import PLAIN, Objective

Pooling = Literal["cls", "mean"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a student is trained. The defaults were chosen by benchmarks/few_rows.py (ours).

    Attributes:
        mode: `full` trains all weights; `head` a linear classifier on frozen, cached embeddings, in seconds.
        base: the pretrained model: `minilm`, a local folder, or a hub name.
        epochs: passes over the rows. 0 with `probe_first` trains only the linear probe.
        min_steps: minimum number of steps of a fresh student, against under-training on a small training set;
            None uses the default of the task type (`TaskType.min_steps`).
        batch: rows per step.
        learning_rate: None is 3e-4 at MiniLM's width of 384, and falls with the square of larger widths
            (7.5e-5 at 768).
        head_decay: `head_decay / √labels · ‖W‖²` is added to the sum of losses of a head or a probe. The
            default was best on five data sets: 100, 300 and 1,000 rows, 0 and 10 % wrong labels (ours).
        max_tokens: maximum length of a text in tokens; see `long` for longer texts.
        long: `cut` reads only the beginning of a text with more than `max_tokens` tokens. `window` reads all
            of it in overlapping windows and averages their logits, in training too, where a step reads at
            most eight windows of a text (student/models/windows.py, ours). Not for heads and pairs.
        device: `auto`, `cpu`, `cuda`, `mps`.
        kind: the task type (student/tasks/).
        fields: names of the parts of a text (student/tasks/fields.py).
        max_target: maximum number of tokens to generate, for a student that writes.
        beams: beams at evaluation and use, for a student that writes; training statistics are greedy.
        lora: rank of the LoRA adapters of a causal base.
        class_weights: see student/training/class_weights.py; unused by a student that writes.
        pooling: `cls` uses the base's own classification head; `mean` uses a linear layer on the mean of the
            last hidden states (student/training/adapters/mean_pooling.py). Both encode a pair jointly.
        probe_first: fit a linear probe on the frozen, mean-pooled embeddings by L-BFGS, then train all
            weights from there (LP-FT: Kumar et al., ICLR 2022, arXiv 2202.10054). Implies mean pooling. Not
            for pairs: the frozen, joint embedding of a pair says little about the relation of its texts.
        contrastive_steps: supervised-contrastive steps before the probe (adapters/contrastive.py). Only for
            tasks with one label per text, and only with `probe_first`.
        smoothing: share of a hard label's target that is spread over all labels (Szegedy et al., CVPR 2016,
            arXiv 1512.00567).
        average: share of the steps, at the end, over which the weights are averaged (SWA: Izmailov et al.,
            UAI 2018, arXiv 1803.05407; with a falling learning rate: ours). 0 keeps the last weights.
        frozen_layers: the number of lower layers that are not trained, nor are the embeddings then. It does
            not concern contrastive steps.
        layer_decay: the factor by which the learning rate falls from a layer to the one below
            (student/training/layers.py).
        recompute: whether the states of the layers are computed again for the gradient instead of kept, which
            needs less memory (student/training/layers.py).
        early_stopping: whether a fifth of the rows is held out, and the weights with the lowest loss on it
            are kept (student/training/kept_weights.py). Not together with `average`.
        objective: the loss and the selection of samples. student/distillation/loop.py distils `knowledge`.

    Raises:
        InputError: a value is out of range, or not available for this mode or task type.
    """

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    epochs: int = 4
    min_steps: int | None = None
    batch: int = 16
    learning_rate: float | None = None
    head_decay: float = 0.67
    max_tokens: int = 128
    long: Long = "cut"
    device: str = "auto"
    kind: str = "classification"
    fields: Fields = ONE
    max_target: int = 64
    beams: int = 1
    lora: int = 16
    class_weights: ClassWeights = "root"
    pooling: Pooling = "cls"
    probe_first: bool = False
    contrastive_steps: int = 0
    smoothing: float = 0.0
    average: float = 0.0
    frozen_layers: int = 0
    layer_decay: float = 1.0
    recompute: bool = False
    early_stopping: bool = False
    objective: Objective = PLAIN

    def __post_init__(self) -> None:
        if self.probe_first:
            object.__setattr__(self, "pooling", "mean")
        limits = {"smoothing": 1.0, "average": 1.0, "contrastive_steps": inf, "frozen_layers": inf}
        for name, below in limits.items():
            if not 0 <= getattr(self, name) < below:
                limit = "" if below == inf else ", below 1"
                raise InputError(f"`{name}` is {getattr(self, name)}; it must be a number, at least 0{limit}")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"`layer_decay` is {self.layer_decay}; it must be above 0 and at most 1")
        for name, types in _TASK_TYPES.items():
            if getattr(self, name) == getattr(TrainingConfig, name):
                continue
            if self.mode == "head" and name != "smoothing":
                raise InputError(f"`{name}` is not for a student of mode `head`; leave it out")
            if self._type not in types:
                raise InputError(f"`{name}` is not for tasks of type {self._type}; leave it out")
        if self.early_stopping and self.average:
            raise InputError("`early_stopping` and `average` keep other weights; leave one of them out")
        if self.contrastive_steps and not self.probe_first:
            raise InputError("`contrastive_steps` needs a linear probe: set `probe_first: true` too")

    @property
    def _type(self) -> str:
        """The task type. Tests train classifiers on pairs with the default `kind`; `fields` shows that."""
        return "pairs" if self.kind == "classification" and len(self.fields) > 1 else self.kind

    @property
    def steps(self) -> int:
        """Minimum number of training steps of a fresh student."""
        if self.probe_first and not self.epochs:
            return 0
        return TASK_TYPES[self.kind].min_steps if self.min_steps is None else self.min_steps


_TASK_TYPES = {
    "long": ("classification", "multilabel"),
    "pooling": ("classification", "multilabel", "pairs"),
    "probe_first": ("classification", "multilabel"),
    "contrastive_steps": ("classification",),
    "smoothing": ("classification", "multilabel", "pairs", "ner"),
    "average": ("classification", "multilabel", "pairs", "ner", "seq2seq"),
    "early_stopping": ("classification", "multilabel", "pairs", "ner", "seq2seq"),
    **dict.fromkeys(
        ("frozen_layers", "layer_decay", "recompute"), ("classification", "multilabel", "pairs", "ner")
    ),
}
