"""The recipe: how a student is trained."""

from dataclasses import dataclass
from typing import Literal

from tutelage.student.encoder import EMBEDDED
from tutelage.student.fields import ONE, Fields
from tutelage.student.kinds import KINDS


@dataclass(frozen=True)
class Recipe:
    """How a student is trained. Defaults were chosen on the shop task's diagnose set (ours).

    `full` trains every weight; `head` a linear classifier on frozen, cached embeddings: seconds a
    round. `epochs` passes are made over the rows, but at least `min_steps` steps, so that a handful
    of seeds is not left untrained; None is 30, of a tagger 200 (after 84 steps on 330 posts of wnut17 it tags
    nothing yet, after 180 its F1 on the validation split is 0.48). `learning_rate` None is 3e-4 for MiniLM's
    width of 384, falling with the square of the width (7.5e-5 at 768). `head_decay` / √labels · ‖W‖² is added
    to a head's sum of losses: rows of five data sets wanted so much at 100, 300 and 1,000 of them, with 0 and
    10 % wrong labels (ours). `kind` and `fields`: see student/kinds/ and student/fields.py. `max_target`
    tokens are written at most, where the student writes; `beams` are tried at an exam, one everywhere else;
    of a causal base adapters of rank `lora` are trained.
    """

    mode: Literal["full", "head"] = "full"
    base: str = EMBEDDED
    epochs: int = 4
    min_steps: int | None = None
    batch: int = 16
    learning_rate: float | None = None
    head_decay: float = 0.67
    max_tokens: int = 128
    device: str = "auto"
    kind: str = "classification"
    fields: Fields = ONE
    max_target: int = 64
    beams: int = 1
    lora: int = 16

    @property
    def steps(self) -> int:
        """The fewest of a fresh student."""
        return KINDS[self.kind].steps if self.min_steps is None else self.min_steps
