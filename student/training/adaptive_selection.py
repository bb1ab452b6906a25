"""Adaptive selection (LLKD): at every step, train where the teacher is confident and the student uncertain.

LLKD: Li et al., Findings of NAACL 2025, arXiv 2411.08028. The paper has two thresholds that move with step
and class, and a loss weighted by both signals. Its equations are not published: every formula here is a
reconstruction after FreeMatch (arXiv 2205.07246), and every default is ours.
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
class AdaptiveSelection:
    """Settings of the adaptive selection: which samples of a mini-batch are trained on, and their weights.

    Attributes:
        gates: which thresholds a sample must pass: that of the `teacher`'s confidence, of the `student`'s
            uncertainty, or `both`.
        rule: `adaptive` uses moving averages as thresholds; `fixed` uses the numbers of `fixed`; `top` keeps
            the share `top` of the batch with the highest signal (for both gates, the product); `random`, the
            control, keeps a random share `top`.
        weight: weight of a sample in the loss, 1 on average: `none` (equal), `confidence`, `uncertainty`, or
            their product (`both`).
        class_rule: how the threshold of a class is adjusted, relative to the highest class: by its `mean`
            signal, by its `mass` in the batch (as in FreeMatch), or not at all (`none`).
        statistic: statistic of the batch that the threshold follows: its `mean` or its `quantile`.
        quantile: the quantile of `statistic`, from 0 to 1.
        decay: λ of the moving averages. 0.999 with a `uniform` start barely moves on small data.
        start: initial averages: the first `batch`, or `uniform`, 1/C for confidence and 1 for uncertainty.
        fixed: thresholds of confidence and of uncertainty for the rule `fixed`.
        top: share of the batch for the rules `top` and `random`.
        warm_up: steps at the beginning that train on all samples.
        passes: passes over the rows for each configured epoch of a full student. When a step trains on a
            tenth of its batch, the usual number of steps teaches little (benchmarks/README.md). A head always
            makes eight.
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
                raise InputError(f"`{name}` is {share}; it must be at least 0 and at most 1")
        if self.warm_up < 0:
            raise InputError(f"`warm_up` is {self.warm_up}; it must be at least 0")
        if self.passes < 1:
            raise InputError(f"`passes` is {self.passes}; it must be at least 1")


class StepSelector:
    """The moving thresholds of one training run, and counts of the samples that pass them."""

    def __init__(self, settings: AdaptiveSelection, classes: int, seed: int):
        self.settings = settings
        self._random = np.random.default_rng(seed)
        uniform = settings.start == "uniform"
        self.sure = _MovingThreshold(settings, classes, 1 / classes if uniform else None)
        self.unsure = _MovingThreshold(settings, classes, 1.0 if uniform else None)
        self.steps = self.seen = self.kept = self.empty = 0

    def weights(self, confidence: Numbers, labels: NDArray[np.int64], uncertainty: Numbers) -> Numbers:
        """Return the weight of each sample of a mini-batch, shape (b,): 0 excludes it, the others average 1.

        `keep = c ≥ τT(ŷ) and u ≥ τS(ŷ)`, `w ∝ c · u`: reconstruction. Averages are updated before the mask.

        Args:
            confidence: the teacher's confidence in its label, in [0, 1], shape (b,).
            labels: the class indices of the teacher's labels, shape (b,).
            uncertainty: the student's uncertainty: its entropy divided by log C, in [0, 1], shape (b,).
        """
        self.sure.follow(confidence, labels)
        self.unsure.follow(uncertainty, labels)
        keep = self._passing(confidence, labels, uncertainty)
        self.steps, self.seen, self.kept = self.steps + 1, self.seen + len(keep), self.kept + int(keep.sum())
        if not keep.any():
            self.empty += 1
            return np.zeros(len(keep))
        raw = {
            "none": np.ones(len(keep)),
            "confidence": confidence,
            "uncertainty": uncertainty,
            "both": confidence * uncertainty,
        }[self.settings.weight]
        weight = np.where(keep, np.maximum(raw, 1e-6), 0.0)
        return weight * keep.sum() / weight.sum()  # type: ignore[no-any-return]

    def _passing(self, confidence: Numbers, labels: NDArray[np.int64], uncertainty: Numbers) -> Mask:
        t = self.settings
        if self.steps < t.warm_up:
            return np.ones(len(labels), bool)
        if t.rule in ("top", "random"):
            signal = {"both": confidence * uncertainty, "teacher": confidence, "student": uncertainty}[
                t.gates
            ]
            score = self._random.random(len(labels)) if t.rule == "random" else signal
            keep = np.zeros(len(labels), bool)
            keep[(-score).argsort(kind="stable")[: max(1, round(t.top * len(labels)))]] = True
            return keep
        fixed = t.rule == "fixed"
        # If all signals are equal, rounding can make their average greater than each of them.
        confident = confidence >= (t.fixed[0] if fixed else self.sure.of(labels)) - _ROUNDING
        uncertain = uncertainty >= (t.fixed[1] if fixed else self.unsure.of(labels)) - _ROUNDING
        return {"both": confident & uncertain, "teacher": confident, "student": uncertain}[t.gates]


class _MovingThreshold:
    """A threshold τ and its class adjustment a(y), both moving averages of one signal."""

    def __init__(self, settings: AdaptiveSelection, classes: int, start: float | None):
        self.settings = settings
        self.level = start
        self.classes = np.full(classes, np.nan if start is None else start)

    def follow(self, signal: Numbers, labels: NDArray[np.int64]) -> None:
        """Update τ ← λ τ + (1-λ) mean(signal), and likewise each class that occurs in the batch."""
        t = self.settings
        current = float(signal.mean() if t.statistic == "mean" else np.quantile(signal, t.quantile))
        self.level = current if self.level is None else t.decay * self.level + (1 - t.decay) * current
        for label in range(len(self.classes)) if t.class_rule == "mass" else np.unique(labels):
            members = labels == label
            value = float(members.mean() if t.class_rule == "mass" else signal[members].mean())
            before = self.classes[label]
            self.classes[label] = value if np.isnan(before) else t.decay * before + (1 - t.decay) * value

    def of(self, labels: NDArray[np.int64]) -> Numbers:
        """Return τ(y) = τ · a(y) / max a for each label."""
        assert self.level is not None
        if self.settings.class_rule == "none":
            return np.full(len(labels), self.level)
        return self.level * self.classes[labels] / max(float(np.nanmax(self.classes)), 1e-12)
