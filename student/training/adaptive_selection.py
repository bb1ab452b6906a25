"""LLKD's thresholds: at every step, train where the teacher is sure and the student is not.

LLKD: Li et al., Findings of NAACL 2025, arXiv 2411.08028. Two thresholds that move with step and class,
and a loss weighted by both signals, are the paper's; its equations are not published: every formula here
is a reconstruction after FreeMatch (arXiv 2205.07246), every default ours.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Thresholds:
    """Which samples of a mini-batch are trained on, and how much each counts.

    Attributes:
        gates: which thresholds must be passed: the `teacher`'s confidence, the `student`'s
            uncertainty, or `both`.
        rule: `adaptive` moving averages; `fixed` the numbers of `fixed`; `top` the share `top` of the batch
            with the highest product of both signals; `random` a random share `top`: the control.
        weight: of a sample in the loss, 1 on average: `none`, `confidence`, `uncertainty`, or `both`, their
            product.
        class_rule: how a class moves its threshold: by its `mean` signal, by its `mass` in the batch (as
            FreeMatch), or not (`none`); always relative to the highest class.
        statistic: of the batch, that the threshold follows: its `mean` or its `quantile`.
        quantile: which one.
        decay: λ of the moving averages. 0.999 with a `uniform` start barely moves on small data.
        start: of the averages: the first `batch`, or `uniform`: 1/C for confidence, 1 for uncertainty.
        fixed: thresholds of confidence and of uncertainty for the rule `fixed`.
        top: share for the rules `top` and `random`.
        warm_up: steps at the beginning that train on everything.
        passes: over the rows, of a full student, for each epoch of its recipe: where a step trains on a tenth
        of
            its batch, as many steps teach little (benchmarks/README.md). A head makes eight in any case.
    """

    gates: Literal["both", "teacher", "student"] = "both"
    rule: Literal["adaptive", "fixed", "top", "random"] = "adaptive"
    weight: Literal["none", "confidence", "uncertainty", "both"] = "both"
    class_rule: Literal["mean", "mass", "none"] = "mean"
    statistic: Literal["mean", "quantile"] = "mean"
    quantile: float = 0.5
    decay: float = 0.99
    start: Literal["batch", "uniform"] = "batch"
    fixed: tuple[float, float] = (0.8, 0.5)
    top: float = 0.25
    warm_up: int = 0
    passes: int = 4

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("quantile", "decay", "top")}
        for name, share in {**shares, "fixed[0]": self.fixed[0], "fixed[1]": self.fixed[1]}.items():
            if not 0 <= share <= 1:
                raise InputError(f"`{name}` is {share}; it is at least 0 and at most 1")
        if self.warm_up < 0:
            raise InputError(f"`warm_up` is {self.warm_up}; it is at least 0")
        if self.passes < 1:
            raise InputError(f"`passes` is {self.passes}; it is at least 1")


class Selection:
    """The thresholds of one training run as they move; counts what it lets through."""

    def __init__(self, thresholds: Thresholds, classes: int, seed: int):
        self.thresholds = thresholds
        self._chance = np.random.default_rng(seed)
        uniform = thresholds.start == "uniform"
        self.sure = _Moving(thresholds, classes, 1 / classes if uniform else None)
        self.unsure = _Moving(thresholds, classes, 1.0 if uniform else None)
        self.steps = self.seen = self.kept = self.empty = 0

    def weights(self, confidence: Numbers, labels: NDArray[np.int64], doubt: Numbers) -> Numbers:
        """The weight of each sample of a mini-batch, shape (b,): 0 leaves it out, kept ones average 1.

        `keep = c ≥ τT(ŷ) and u ≥ τS(ŷ)`, `w ∝ c · u`: reconstruction. Averages are updated before the mask.

        Args:
            confidence: the teacher's, in [0, 1].
            labels: its labels.
            doubt: the student's entropy over log C, in [0, 1].
        """
        self.sure.follow(confidence, labels)
        self.unsure.follow(doubt, labels)
        keep = self._passing(confidence, labels, doubt)
        self.steps, self.seen, self.kept = self.steps + 1, self.seen + len(keep), self.kept + int(keep.sum())
        if not keep.any():
            self.empty += 1
            return np.zeros(len(keep))
        raw = {
            "none": np.ones(len(keep)),
            "confidence": confidence,
            "uncertainty": doubt,
            "both": confidence * doubt,
        }[self.thresholds.weight]
        weight = np.where(keep, np.maximum(raw, 1e-6), 0.0)
        return weight * keep.sum() / weight.sum()  # type: ignore[no-any-return]

    def _passing(self, confidence: Numbers, labels: NDArray[np.int64], doubt: Numbers) -> Mask:
        t = self.thresholds
        if self.steps < t.warm_up:
            return np.ones(len(labels), bool)
        if t.rule in ("top", "random"):
            signal = {"both": confidence * doubt, "teacher": confidence, "student": doubt}[t.gates]
            score = self._chance.random(len(labels)) if t.rule == "random" else signal
            keep = np.zeros(len(labels), bool)
            keep[(-score).argsort(kind="stable")[: max(1, round(t.top * len(labels)))]] = True
            return keep
        fixed = t.rule == "fixed"
        # Where all signals are equal, rounding can lift the average of them above each.
        sure = confidence >= (t.fixed[0] if fixed else self.sure.of(labels)) - _ROUNDING
        unsure = doubt >= (t.fixed[1] if fixed else self.unsure.of(labels)) - _ROUNDING
        return {"both": sure & unsure, "teacher": sure, "student": unsure}[t.gates]


class _Moving:
    """τ and its class adjustment a(y), as moving averages of one signal."""

    def __init__(self, thresholds: Thresholds, classes: int, start: float | None):
        self.thresholds = thresholds
        self.level = start
        self.classes = np.full(classes, np.nan if start is None else start)

    def follow(self, signal: Numbers, labels: NDArray[np.int64]) -> None:
        """τ ← λ τ + (1-λ) mean(signal); the same for each class that the batch holds."""
        t = self.thresholds
        now = float(signal.mean() if t.statistic == "mean" else np.quantile(signal, t.quantile))
        self.level = now if self.level is None else t.decay * self.level + (1 - t.decay) * now
        for label in range(len(self.classes)) if t.class_rule == "mass" else np.unique(labels):
            own = labels == label
            seen = float(own.mean() if t.class_rule == "mass" else signal[own].mean())
            before = self.classes[label]
            self.classes[label] = seen if np.isnan(before) else t.decay * before + (1 - t.decay) * seen

    def of(self, labels: NDArray[np.int64]) -> Numbers:
        """τ(y) = τ · a(y) / max a, for each label."""
        assert self.level is not None
        if self.thresholds.class_rule == "none":
            return np.full(len(labels), self.level)
        return self.level * self.classes[labels] / max(float(np.nanmax(self.classes)), 1e-12)
