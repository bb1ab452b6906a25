"""How often a student gives the label that the teacher would give, by the student's confidence."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError
from tutelage.student.evaluation.confidence import lowest_threshold
from tutelage.student.models.base import Predictor
from tutelage.student.tasks.registry import TASK_TYPES

FILE = "agreement.json"  # in a student's folder
_Z = 1.645  # of a one-sided 95 % bound


@dataclass(frozen=True)
class Agreement:
    """The agreement of a student with the teacher on texts that it was not trained on.

    Attributes:
        confidence: of the student in its answer to each text, from low to high.
        agrees: whether the teacher gives the same answer.
        labels: how often the student's answers contain each label.
        missing: share of the random texts that could not be compared, because a run had chosen them to be
            learnt. They are harder than others.
    """

    confidence: list[float]
    agrees: list[bool]
    labels: dict[str, int]
    missing: float = 0.0

    def threshold(self, wanted: float) -> float:
        """Return the lowest confidence from which on the share of equal answers is at least `wanted`, by the
        lower bound of its one-sided 95 % interval (Wilson), which holds for each confidence on its own.
        The rule is ours.

        Raises:
            InputError: no confidence reaches it.
        """
        found = lowest_threshold(self.confidence, self.agrees, wanted, _lower_bound)
        if found.threshold is None:
            raise InputError(
                f"an agreement of {wanted:g} cannot be promised: on {len(self.agrees)} texts the highest"
                f" lower bound is {found.best:.3f}; ask for less, or give more texts as `calibration`"
            )
        return found.threshold

    def on_scale_of(self, confidence: NDArray[np.float64]) -> "Agreement":
        """Return the agreement with the confidences of another student in the places of this one's: of the
        least confident tenth in the place of the least confident tenth, and so on.

        A threshold then passes the same share of texts of that student. One with more labels is more
        confident: with the first student's threshold it would answer more texts, and less often be right.
        """
        places = (np.arange(len(self.agrees)) + 0.5) / len(self.agrees)
        return replace(self, confidence=[float(one) for one in np.quantile(confidence, places)])

    def share_below(self, threshold: float) -> tuple[float, float]:
        """Return the lowest and the highest share of all texts whose confidence may be below a threshold.
        They differ by the share that was not compared.
        """
        below = float((np.array(self.confidence) < threshold).mean())
        return below * (1 - self.missing), below * (1 - self.missing) + self.missing

    def save(self, folder: Path) -> None:
        """Write it to a student's folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")


def load_agreement(folder: Path) -> Agreement | None:
    """Read the file that `Agreement.save` wrote; None if the student has none."""
    if not (folder / FILE).exists():
        return None
    return Agreement(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def measure_agreement(student: Predictor, texts: Sequence[str], labels: Sequence[str]) -> Agreement:
    """Compare a student with the teacher.

    Args:
        student: the student.
        texts: texts that it was not trained on, drawn at random from those that it will be used on.
        labels: the teacher's label of each.
    """
    found = student.predict(texts, best=True)
    order = np.argsort(found.confidence, kind="stable")
    return Agreement(
        confidence=[float(found.confidence[i]) for i in order],
        agrees=[found.answers[i] == labels[i] for i in order],
        labels=label_counts(student, found.answers),
    )


def label_counts(student: Predictor, answers: Iterable[str]) -> dict[str, int]:
    """Return how often answers contain each label."""
    task_type = TASK_TYPES[student.kind]
    return dict(Counter(label for answer in answers for label in task_type.labels_in(answer)))


def _lower_bound(share: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Wilson's lower bound of shares that were seen on `count` texts each."""
    centre = share + _Z**2 / (2 * count)
    spread = _Z * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return np.asarray((centre - spread) / (1 + _Z**2 / count))
