"""Foreseen: what a run's agents would ask, built by the agents themselves on the task's own texts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from math import ceil, sqrt
from typing import Any, Literal, cast

from tutelage.agents import analyst, critic, generator, labeler
from tutelage.agents.analyst import Weakness
from tutelage.agents.request import Ask
from tutelage.graph.nodes.calibrate import slice_of
from tutelage.graph.planning.imagined import MADE_UP, with_first_labels
from tutelage.graph.requests.evidence import AVOIDED, answer
from tutelage.graph.requests.gaps import WRITTEN_SHARE
from tutelage.graph.requests.generation_requests import apportion, gap_requests, requests_for
from tutelage.graph.requests.generation_requests import plan as order
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import FIRST_LABELS, Splits
from tutelage.student.corpus import Sample
from tutelage.student.data.rows import Row

_TOLD = 20  # the most classes, and the most weaknesses, in a report to the analyst
_EXAMPLES = 4  # of a weakness


@dataclass(frozen=True)
class Outlook:
    """One course that a run may take: `low`, `high`, or an `example` to show prompts of.

    `low`: a round's first attempt brings enough, for one weakness, nothing is labelled twice, half is refused
    unjudged where labels must agree, no label is disputed, the pool has no gaps, the run stops after
    `Strategy.stall` rounds, and texts are as long as the shorter half of the labelled ones. `high`: every
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

    @cached_property
    def known(self) -> Splits:
        """The splits, with a first set labelled where the user has labelled none."""
        return with_first_labels(self.task, self.splits)

    def first_labels(self) -> list[Ask[Any]]:
        """The requests that write (without a pool) and label a first set, where no row is labelled."""
        if self.splits.labelled:
            return []
        rows = self.known.labelled
        asks = []
        if not self.splits.unlabelled:
            requests = requests_for("any", apportion(dict.fromkeys(self._ordered(), 1.0), FIRST_LABELS))
            asks += list(generator.asks(self.task.brief(), requests, [], [], [], 0))
        count = ceil(self.strategy.enough * len(rows)) if self.end == "low" else len(rows)
        return asks + self._labelling(list(islice(cycle(self._half(rows)), count)), [])

    def calibration(self) -> list[Ask[Any]]:
        """The requests that try the labeler on labelled texts of the user's: the very texts that will be
        sent.
        """
        rows = slice_of(self.task.form, self.splits.diagnose, self.task.teacher.calibrate, self.task.seed)
        return self._labelling(rows, self._shots(self.known.seed))

    def round(self, written: int) -> list[Ask[Any]]:
        """The requests of a round in each of whose attempts so many texts are written."""
        strategy, high = self.strategy, self.end == "high"
        texts = self.texts(strategy.samples if high else ceil(strategy.enough * strategy.samples))
        asks = self._analysis()
        for attempt in range(1 + strategy.attempts * high):
            asks += self._writing(written, AVOIDED if attempt else 0)
            asks += self._deciding(texts) * (1 + (high and strategy.critic != "none"))
        return asks

    def control(self) -> list[Ask[Any]]:
        """The requests at the end that label as many texts of the pool, drawn at random, as were chosen."""
        strategy, pool = self.strategy, self.known.unlabelled
        refitted = self.splits.folded or strategy.refit
        if not (strategy.control and refitted and self.splits.test and pool):
            return []
        low, rounds = self.end == "low", self.last_round()
        count = min(
            rounds * (ceil(strategy.enough * strategy.samples) if low else strategy.samples), len(pool)
        )
        if low:  # less those that are chosen too, by two standard deviations more than may be expected
            used = min(strategy.from_pool(rounds * strategy.samples), len(pool)) / len(pool)
            count = max(0, int(count * (1 - used) - 2 * sqrt(count * used * (1 - used))))
        return self._labelling(list(islice(cycle(self._half(pool)), count)), [])

    def last_round(self) -> int:
        """The last round that finds texts: a pool that all is drawn from has an end, and at the low end the
        run stops as soon as it may for want of a gain.
        """
        strategy, rounds, size = self.strategy, self.task.budget.rounds, len(self.known.unlabelled)
        if self.end == "low" and strategy.stall and self.known.gate and not self.task.teacher.force:
            rounds = min(rounds, strategy.stall)
        if strategy.writes:
            return rounds
        if self.end != "high":
            return min(rounds, max(1, size // strategy.samples))
        return min(rounds, ceil(size / max(1, strategy.enough * strategy.samples)))

    def written(self, number: int) -> int:
        """How many texts are written in an attempt of a round; in a cold one no more than are wanted."""
        strategy, size = self.strategy, len(self.known.unlabelled)
        if not strategy.writes:
            return 0
        before = 0 if self.end == "example" else (number - 1) * strategy.from_pool(strategy.samples)
        drawn = min(strategy.from_pool(strategy.samples), max(0, size - before))
        if self.end == "high" and self._pool_ends(number):
            drawn = 0
        if strategy.fill_gaps and self.end != "low":
            drawn = min(drawn, strategy.samples - round(WRITTEN_SHARE * strategy.samples))
        return (strategy.samples - drawn) * strategy.candidates(number)

    def _pool_ends(self, number: int) -> bool:
        """Whether the pool may have too few texts for its share of this round; the rest is written then."""
        strategy = self.strategy
        most = number * (1 + strategy.attempts) * strategy.candidates(number)
        return len(self.known.unlabelled) < most * strategy.from_pool(strategy.samples)

    def _deciding(self, texts: Sequence[Row]) -> list[Ask[Any]]:
        """The requests that label and judge texts, where the strategy asks for either."""
        strategy = self.strategy
        drawn = strategy.from_pool(len(texts))
        asks = []
        for fold in self._folds() if self.task.form.shots else [None]:
            part = texts if strategy.label_apart else texts[:drawn]
            part = part if fold is None else part[fold :: self.task.fold_count]
            asks += self._labelling(part, self._shots(self._rows(fold)))
        if strategy.critic == "all" or (strategy.critic == "disputed" and self.end != "low"):
            refused = self.end == "low" and strategy.agree  # half of those that are written
            judged = [*texts[:drawn], *texts[drawn::2]] if refused else texts
            asks += [ask for _, ask in critic.asks(self.task.brief(), _samples(judged), 0)]
        return asks

    def texts(self, count: int, label: str = "") -> list[Row]:
        """So many texts: first the pool's share, as if labelled as seeds are; for those that are to be
        written stand seeds, of a label if there are any. Both over and over again.
        """
        drawn, fitting = self.strategy.from_pool(count), self.task.form.fitting
        drawn = drawn if self.known.unlabelled else 0
        seeds = self._of(self.known.seed, label) if label else []
        rows = islice(cycle(self._half(self.known.unlabelled)), drawn)
        pool = [
            Row(**{**row, "label": fitting(seed["label"], row["text"])})
            for row, seed in zip(rows, cycle(self.known.seed))
        ]
        return [*pool, *islice(cycle(self._half(seeds or self.known.seed)), count - drawn)]

    def _analysis(self) -> list[Ask[Any]]:
        """The analyst's requests, one for each fold; at the low end none, where a student may have learnt all
        it is shown, the pool may cover every error, or the teacher's own first labels may all be found.
        """
        strategy, low = self.strategy, self.end == "low"
        unlabelled = self.splits.folded and not self.task.data.labelled
        learnt = (not self.splits.folded and self.task.data.diagnose is None) or strategy.probe == "batch"
        if strategy.feedback != "analysis" or not strategy.writes:
            return []
        if low and (learnt or strategy.fill_gaps or unlabelled):
            return []
        return [self._diagnosis(fold) for fold in self._folds()]

    def _diagnosis(self, fold: Fold) -> Ask[Any]:
        """The request for a diagnosis of the answers to one fold."""
        low, shown = self.end == "low", self.strategy.shown
        rows = self._half(self._rows(fold, "diagnose"), 2 * shown)[: shown if low else 2 * shown]
        kind, labels = self.task.form, list(self.task.labels)
        answers = [answer(row, kind.garbled(row["label"], labels, 0.0)) for row in rows]
        errors = 1 if low else -(-len(rows) // 2)
        return analyst.ask(self.task.brief(), answers[errors:], answers[:errors], self._report(), 0)

    def _report(self) -> dict[str, object]:
        """In the form of graph/requests/evidence.py, with figures of no student."""
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
        """The generator's requests for so many texts, in equal parts for every fold."""
        folds = self._folds()
        shares = apportion({str(fold): 1.0 for fold in folds}, count)
        parts = (self._writing_of(fold, shares[str(fold)], avoided) for fold in folds)
        return [ask for part in parts for ask in part]

    def _writing_of(self, fold: Fold, count: int, avoided: int) -> list[Ask[Any]]:
        labels, weaknesses, strategy = self._ordered(), self._weaknesses(fold), self.strategy
        fed = strategy.feedback == "band" and self.end != "low"
        if strategy.fill_gaps:
            requests = gap_requests(count, weaknesses, labels)
        else:
            # Fewest requests where no kind is set apart: how kinds fall on labels is chance.
            kinds = replace(strategy, ood_share=0.0) if self.end == "low" else strategy
            requests = order(kinds, count, weaknesses, dict.fromkeys(labels, 0.5), random.Random(0), fed=fed)
        avoid = [{"text": row["text"], "reason": MADE_UP} for row in self.texts(avoided)]
        examples = self.texts(ceil(0.5 * strategy.samples)) if fed else []
        brief, answered = self.task.brief(), not strategy.label_apart
        shots = self._shots(self._rows(fold))
        return list(generator.asks(brief, requests, weaknesses, shots, avoid, 0, examples, answered))

    def _shots(self, rows: Sequence[Row]) -> list[Row]:
        """A few of these rows of each label, as many as the strategy shows."""
        most = self.strategy.shots
        parts = (self._half(self._of(rows, label), most)[:most] for label in self._ordered())
        return list({row["id"]: row for part in parts for row in part}.values())

    def _folds(self) -> list[Fold]:
        """As graph/students/committee.py has them."""
        return [*range(self.task.fold_count)] if self.known.folded else [None]

    def _rows(self, fold: Fold, name: Literal["seed", "diagnose"] = "seed") -> list[Row]:
        """The rows of a set, or those of one fold."""
        rows: list[Row] = getattr(self.known, name)
        return rows if fold is None else [row for row in rows if self.known.folds[row["id"]] == fold]

    def _ordered(self) -> list[str]:
        """What texts are ordered for."""
        return [*self.task.labels, *self.task.form.bare]

    def _weaknesses(self, fold: Fold) -> list[Weakness]:
        """Made-up weaknesses: one, or a fold's share of as many as may be served."""
        if self.strategy.feedback not in ("analysis", "errors"):
            return []
        low, first = self.end == "low", fold or 0
        most = -(-self.strategy.weaknesses // len(self._folds()))
        served = islice(cycle(self.task.labels or [""]), first, first + (1 if low else most))
        return [
            Weakness(
                id=f"w01-{first * most + number}",
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

    def _labelling(self, rows: Sequence[Row], shots: Sequence[Row]) -> list[Ask[Any]]:
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
