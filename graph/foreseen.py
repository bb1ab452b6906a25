"""Foreseen: what a run's agents would ask, built by the agents themselves on the task's own texts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import ceil
from typing import Any, Literal, cast

from tutelage.agents import analyst, critic, generator, labeler
from tutelage.agents.analyst import Weakness
from tutelage.agents.ask import Ask
from tutelage.graph.calibrate import slice_of
from tutelage.graph.evidence import AVOIDED, answer
from tutelage.graph.generation_requests import plan as order
from tutelage.graph.splits import Splits
from tutelage.graph.strategies import Strategy
from tutelage.graph.task import Task
from tutelage.student.corpus import Sample
from tutelage.student.rows import Row

MADE_UP = "made up for this plan: no student is trained yet"
_TOLD = 20  # the most classes, and the most weaknesses, in a report to the analyst
_EXAMPLES = 4  # of a weakness


@dataclass(frozen=True)
class Outlook:
    """One course that a run may take: `low`, `high`, or an `example` to show prompts of.

    `low`: a round's first attempt brings enough, for one weakness, nothing is labelled twice, half is refused
    unjudged where labels must agree, and texts are as long as the shorter half of the seeds. `high`: every
    attempt is used up, for as many weaknesses as may be served, all is labelled and judged twice, and texts
    are as long as the longer half.
    """

    task: Task
    splits: Splits
    end: Literal["low", "high", "example"]

    @property
    def strategy(self) -> Strategy:
        """The task's."""
        return self.task.resolved_strategy()

    def calibration(self) -> list[Ask[Any]]:
        """The requests that try the labeler on diagnose texts: the very texts that will be sent."""
        rows = slice_of(self.task.form, self.splits.diagnose, self.task.teacher.calibrate, self.task.seed)
        return self._labelling(rows)

    def round(self, *, cold: bool) -> list[Ask[Any]]:
        """The requests of a round; in a cold one no more texts are written than are wanted."""
        strategy, high = self.strategy, self.end == "high"
        drawn = min(strategy.from_pool(strategy.samples), len(self.splits.unlabelled))
        if high and self._pool_ends():
            drawn = 0
        written = (strategy.samples - drawn) * (1 if cold else strategy.oversample)
        texts = self.texts(strategy.samples if high else ceil(strategy.enough * strategy.samples))
        asks = self._analysis()
        for attempt in range(1 + strategy.attempts * high):
            if strategy.writes:
                asks += self._writing(written, AVOIDED if attempt else 0)
            asks += self._deciding(texts) * (1 + (high and strategy.critic != "none"))
        return asks

    def last_round(self) -> int:
        """The last round that finds texts: a pool that all is drawn from has an end."""
        strategy, rounds, size = self.strategy, self.task.budget.rounds, len(self.splits.unlabelled)
        if strategy.writes:
            return rounds
        if self.end != "high":
            return min(rounds, max(1, size // strategy.samples))
        return min(rounds, ceil(size / max(1, strategy.enough * strategy.samples)))

    def _pool_ends(self) -> bool:
        """Whether the pool may have too few texts for its share of every round; the rest is written then."""
        strategy = self.strategy
        most = self.task.budget.rounds * (1 + strategy.attempts) * strategy.oversample
        return len(self.splits.unlabelled) < most * strategy.from_pool(strategy.samples)

    def _deciding(self, texts: Sequence[Row]) -> list[Ask[Any]]:
        """The requests that label and judge texts, where the strategy asks for either."""
        strategy = self.strategy
        drawn = strategy.from_pool(len(texts))
        asks = self._labelling(texts if strategy.label_apart else texts[:drawn])
        if strategy.critic != "none":
            refused = self.end == "low" and strategy.agree  # half of those that are written
            judged = [*texts[:drawn], *texts[drawn::2]] if refused else texts
            asks += [ask for _, ask in critic.asks(self.task.brief(), _samples(judged), 0)]
        return asks

    def texts(self, count: int, label: str = "") -> list[Row]:
        """So many texts: first the pool's share, as if labelled as seeds are; for those that are to be
        written stand seeds, of a label if there are any. Both over and over again.
        """
        drawn, fitting = self.strategy.from_pool(count), self.task.form.fitting
        seeds = self._of(self.splits.seed, label) if label else []
        rows = islice(cycle(self._half(self.splits.unlabelled)), drawn)
        pool = [
            Row(**{**row, "label": fitting(seed["label"], row["text"])})
            for row, seed in zip(rows, cycle(self.splits.seed))
        ]
        return [*pool, *islice(cycle(self._half(seeds or self.splits.seed)), count - drawn)]

    def _analysis(self) -> list[Ask[Any]]:
        """The analyst's request; at the low end none, where a student may have learnt all it is shown."""
        strategy, low, shown = self.strategy, self.end == "low", self.strategy.shown
        learnt = self.task.data.diagnose is None or strategy.probe == "batch"
        if strategy.feedback != "analysis" or not strategy.writes or (low and learnt):
            return []
        rows = self._half(self.splits.diagnose, 2 * shown)[: shown if low else 2 * shown]
        kind, labels = self.task.form, list(self.task.labels)
        answers = [answer(row, kind.garbled(row["label"], labels, 0.0)) for row in rows]
        errors = 1 if low else -(-len(rows) // 2)
        brief = self.task.brief()
        return [analyst.ask(brief, answers[errors:], answers[:errors], self._report(), 0)]

    def _report(self) -> dict[str, object]:
        """In the form of graph/showing.py, with figures of no student."""
        labels = list(self.task.labels)
        card = {"label": "", "confused_with": "", "status": "returned"}
        if labels:
            card |= {"label": labels[0], "confused_with": self._other(labels[0])}
        return {
            "round": 1,
            "metric": 0.5,
            "accepted": True,
            "note": MADE_UP,
            "classes": [{"label": label, "f1": 0.5, "support": 0} for label in labels[:_TOLD]],
            "weaknesses": [card] * (_TOLD if self.end == "high" else 0),
        }

    def _writing(self, count: int, avoided: int) -> list[Ask[Any]]:
        labels, weaknesses, most = self._ordered(), self._weaknesses(), self.strategy.shots
        fed = self.strategy.feedback == "band" and self.end != "low"
        # Fewest requests where no kind is set apart: how kinds fall on labels is chance.
        kinds = replace(self.strategy, ood_share=0.0) if self.end == "low" else self.strategy
        requests = order(kinds, count, weaknesses, dict.fromkeys(labels, 0.5), random.Random(0), fed=fed)
        avoid = [{"text": row["text"], "reason": MADE_UP} for row in self.texts(avoided)]
        examples = self.texts(ceil(0.5 * self.strategy.samples)) if fed else []
        brief, answered = self.task.brief(), not self.strategy.label_apart
        shots = self._shots(most)
        return list(generator.asks(brief, requests, weaknesses, shots, avoid, 0, examples, answered))

    def _shots(self, most: int) -> list[Row]:
        """At most so many seeds of each label."""
        parts = (self._half(self._of(self.splits.seed, label), most)[:most] for label in self._ordered())
        return list({row["id"]: row for part in parts for row in part}.values())

    def _ordered(self) -> list[str]:
        """What texts are ordered for."""
        return [*self.task.labels, *self.task.form.bare]

    def _weaknesses(self) -> list[Weakness]:
        if self.strategy.feedback not in ("analysis", "errors"):
            return []
        low = self.end == "low"
        served = islice(cycle(self.task.labels or [""]), 1 if low else self.strategy.weaknesses)
        return [
            Weakness(
                id=f"w01-{number}",
                round=1,
                name=f"{label or 'a pattern'} ({MADE_UP})",
                hypothesis=f"Which texts{f' of {label}' if label else ''} fail, and what misleads the student"
                f" ({MADE_UP}).",
                label=label,
                confused_with=self._other(label),
                evidence=[],
                examples=[row["text"] for row in self.texts(1 if low else _EXAMPLES, label)],
                found_by="",
            )
            for number, label in enumerate(served, 1)
        ]

    def _labelling(self, rows: Sequence[Row]) -> list[Ask[Any]]:
        shots = self._shots(self.strategy.shots)
        return [ask for _, ask in labeler.asks(self.task.brief(), _samples(rows), 0, shots=shots)]

    def _other(self, label: str) -> str:
        labels = [*self.task.labels, *self.task.form.outcomes]
        return labels[(labels.index(label) + 1) % len(labels)] if label else ""

    def _half(self, rows: Sequence[Row], least: int = 0) -> list[Row]:
        """The shorter or the longer half, or all for an example, shuffled; not fewer than `least`."""
        if self.end == "example":
            return slice_of(self.task.form, rows, len(rows), self.task.seed)
        ranked = sorted(rows, key=lambda row: len(row["text"]), reverse=self.end == "high")
        half = ranked[: max(least, -(-len(rows) // 2))]
        return slice_of(self.task.form, half, len(half), self.task.seed)

    def _of(self, rows: Sequence[Row], label: str) -> list[Row]:
        return [row for row in rows if label in self.task.form.groups(row["label"])]


def _samples(rows: Sequence[Row]) -> Sequence[Sample]:
    """Rows as labeler and critic read samples: text and label alone."""
    return cast(Sequence[Sample], rows)
