"""Build the requests that a run would send, with the agents' own functions and the task's own texts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from math import ceil, sqrt
from typing import Any, Literal, cast

from tutelage.agents import analyst, critic, generator, labeler
from tutelage.agents.analyst import Weakness
from tutelage.agents.generator import Evidence
from tutelage.agents.request import Request
from tutelage.graph.planning.imagined import MADE_UP, with_first_labels
from tutelage.graph.requests.evidence import AVOIDED, labelled_prediction
from tutelage.graph.requests.gaps import WRITTEN_SHARE
from tutelage.graph.requests.generation_requests import apportion, gap_requests, plan_requests, requests_for
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import FIRST_LABELS, Splits, compares_at_random
from tutelage.student.corpus import Sample
from tutelage.student.data.folds import stratified_sample
from tutelage.student.data.rows import Row

_REPORTED = 20  # most classes and most weaknesses in a report to the analyst
_EXAMPLES = 4  # texts that show a weakness


@dataclass(frozen=True)
class PlannedRun:
    """One possible course of a run: the `low` or `high` estimate, or an `example` whose prompts are shown.

    `low`: the first attempt of a round brings enough texts, for one weakness; nothing is labelled twice; if
    labels must agree, half of the written texts are refused before the critic; no label is disputed; the pool
    has no gaps; the run stops after `Strategy.stall` rounds; texts are as long as the shorter half of the
    labelled ones. `high`: all attempts are used, for as many weaknesses as the strategy allows; every text is
    labelled and judged twice; texts are as long as the longer half.
    """

    task: Task
    splits: Splits
    end: Literal["low", "high", "example"]

    @property
    def strategy(self) -> Strategy:
        """The task's strategy."""
        return self.task.resolved_strategy()

    @cached_property
    def known(self) -> Splits:
        """The splits; if the user has labelled no rows, with a made-up first labelled set."""
        return with_first_labels(self.task, self.splits)

    def first_labels(self) -> list[Request[Any]]:
        """Return the requests that label (without a pool also write) a first set; [] if rows are labelled."""
        if self.splits.labelled:
            return []
        rows = self.known.labelled
        writing = []
        if not self.splits.unlabelled:
            counts = apportion(dict.fromkeys(self._requested_labels(), 1.0), FIRST_LABELS)
            wanted = requests_for("any", counts)
            writing = list(generator.draft_requests(self.task.brief(), wanted, Evidence(), 0))
        count = ceil(self.strategy.min_kept_share * len(rows)) if self.end == "low" else len(rows)
        return writing + self._labelling(list(islice(cycle(self._half(rows)), count)), [])

    def calibration(self) -> list[Request[Any]]:
        """Return the requests that measure the labeler on the user's rows, with the texts a run sends."""
        rows = stratified_sample(
            self.splits.diagnose, self.task.type, self.task.teacher.calibrate, self.task.seed
        )
        return self._labelling(rows, self._shots(self.known.seed))

    def round(self, written: int) -> list[Request[Any]]:
        """Return the requests of a round; `written` is how many texts each attempt writes."""
        strategy, high = self.strategy, self.end == "high"
        texts = self.texts(strategy.samples if high else ceil(strategy.min_kept_share * strategy.samples))
        requests = self._analysis()
        for attempt in range(1 + strategy.attempts * high):
            requests += self._writing(written, AVOIDED if attempt else 0)
            requests += self._label_and_judge(texts) * (1 + (high and strategy.critic != "none"))
        return requests

    def control(self) -> list[Request[Any]]:
        """Return the final requests, which label as many random texts of the pool as were chosen before."""
        strategy, pool = self.strategy, self.known.unlabelled
        if not compares_at_random(strategy, self.known):
            return []
        low, rounds = self.end == "low", self.last_round()
        count = min(
            rounds * (ceil(strategy.min_kept_share * strategy.samples) if low else strategy.samples),
            len(pool),
        )
        if low:  # minus those already chosen: the expected number plus two standard deviations
            used = min(strategy.from_pool(rounds * strategy.samples), len(pool)) / len(pool)
            count = max(0, int(count * (1 - used) - 2 * sqrt(count * used * (1 - used))))
        return self._labelling(list(islice(cycle(self._half(pool)), count)), [])

    def last_round(self) -> int:
        """Return the last round that has texts: a strategy that only draws from the pool can exhaust it, and
        the low estimate assumes that the run stops for lack of a gain as early as possible.
        """
        strategy, rounds, size = self.strategy, self.task.budget.rounds, len(self.known.unlabelled)
        if self.end == "low" and strategy.stall and self.known.gate and not self.task.teacher.force:
            rounds = min(rounds, strategy.stall)
        if strategy.writes:
            return rounds
        if self.end != "high":
            return min(rounds, max(1, size // strategy.samples))
        return min(rounds, ceil(size / max(1, strategy.min_kept_share * strategy.samples)))

    def written(self, number: int) -> int:
        """Return how many texts each attempt of a round writes; in a cold round no more than are wanted."""
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
        """Whether the pool may run out of texts by this round; the rest is then written."""
        strategy = self.strategy
        most = number * (1 + strategy.attempts) * strategy.candidates(number)
        return len(self.known.unlabelled) < most * strategy.from_pool(strategy.samples)

    def _label_and_judge(self, texts: Sequence[Row]) -> list[Request[Any]]:
        """Return the requests to labeler and critic, as far as the strategy uses them."""
        strategy = self.strategy
        drawn = strategy.from_pool(len(texts))
        requests = []
        for fold in self._folds() if self.task.type.needs_examples else [None]:
            part = texts if strategy.blind_labels else texts[:drawn]
            part = part if fold is None else part[fold :: self.task.fold_count]
            requests += self._labelling(part, self._shots(self.known.rows_of("seed", fold)))
        if strategy.critic == "all" or (strategy.critic == "disputed" and self.end != "low"):
            refused = self.end == "low" and strategy.agree  # half of the written texts
            judged = [*texts[:drawn], *texts[drawn::2]] if refused else texts
            verdicts = critic.verdict_requests(self.task.brief(), _samples(judged), 0)
            requests += [request for _, request in verdicts]
        return requests

    def texts(self, count: int, label: str = "") -> list[Row]:
        """Return `count` texts: first the pool's share, with labels of seeds, then seeds (of this label, if
        there are any) in place of texts to be written. Both lists repeat if they are too short.
        """
        fit_to_text = self.task.type.fit_to_text
        drawn = self.strategy.from_pool(count) if self.known.unlabelled else 0
        seeds = self._of(self.known.seed, label) if label else []
        rows = islice(cycle(self._half(self.known.unlabelled)), drawn)
        pool = [
            Row(**{**row, "label": fit_to_text(seed["label"], row["text"])})
            for row, seed in zip(rows, cycle(self.known.seed))
        ]
        return [*pool, *islice(cycle(self._half(seeds or self.known.seed)), count - drawn)]

    def _analysis(self) -> list[Request[Any]]:
        """Return the analyst's requests, one for each fold. The low estimate has none if the student may make
        no errors (on rows it was trained on or the teacher labelled), or if the pool may cover them all.
        """
        strategy, low = self.strategy, self.end == "low"
        teacher_labels = self.splits.folded and not self.task.data.labelled
        learnt = (not self.splits.folded and self.task.data.diagnose is None) or strategy.probe == "batch"
        if strategy.feedback != "analysis" or not strategy.writes:
            return []
        if low and (learnt or strategy.fill_gaps or teacher_labels):
            return []
        return [self._diagnosis(fold) for fold in self._folds()]

    def _diagnosis(self, fold: Fold) -> Request[Any]:
        """Return the request to diagnose the predictions on one fold."""
        low, shown = self.end == "low", self.strategy.analyst_examples
        rows = self._half(self.known.rows_of("diagnose", fold), 2 * shown)[: shown if low else 2 * shown]
        task_type, labels = self.task.type, list(self.task.labels)
        answers = [labelled_prediction(row, task_type.corrupted(row["label"], labels, 0.0)) for row in rows]
        errors = 1 if low else -(-len(rows) // 2)
        graded = analyst.GradedPredictions(answers[errors:], answers[:errors], self._report())
        return analyst.diagnosis_request(self.task.brief(), graded, 0)

    def _report(self) -> dict[str, object]:
        """Return a report in the format of graph/requests/evidence.py; its figures are made up."""
        labels = list(self.task.labels)
        card = {"label": "", "confused_with": "", "status": "returned"}
        if labels:
            card |= {"label": labels[0], "confused_with": self._other(labels[0])}
        return {
            "round": 1,
            "metric": 0.5,
            "accepted": True,
            "note": MADE_UP,
            "classes": [{"label": label, "f1": 0.5, "support": 0} for label in labels[:_REPORTED]],
            "weaknesses": [card] * (_REPORTED if self.end == "high" else 0),
        }

    def _writing(self, count: int, avoided: int) -> list[Request[Any]]:
        """Return the generator's requests for `count` texts, divided equally among the folds."""
        folds = self._folds()
        shares = apportion({str(fold): 1.0 for fold in folds}, count)
        parts = (self._writing_for(fold, shares[str(fold)], avoided) for fold in folds)
        return [request for part in parts for request in part]

    def _writing_for(self, fold: Fold, count: int, avoided: int) -> list[Request[Any]]:
        labels, weaknesses, strategy = self._requested_labels(), self._weaknesses(fold), self.strategy
        has_feedback = strategy.feedback == "band" and self.end != "low"
        if strategy.fill_gaps:
            requests = gap_requests(count, weaknesses, labels)
        else:
            # Fewest requests: out-of-domain texts would get requests of their own, for random labels.
            kinds = replace(strategy, ood_share=0.0) if self.end == "low" else strategy
            f1 = dict.fromkeys(labels, 0.5)
            requests = plan_requests(
                kinds, count, weaknesses, f1, random.Random(0), has_feedback=has_feedback
            )
        shown = Evidence(
            weaknesses=weaknesses,
            shots=self._shots(self.known.rows_of("seed", fold)),
            avoid=[{"text": row["text"], "reason": MADE_UP} for row in self.texts(avoided)],
            resemble=self.texts(ceil(0.5 * strategy.samples)) if has_feedback else [],
        )
        with_labels = not strategy.blind_labels
        return list(generator.draft_requests(self.task.brief(), requests, shown, 0, with_labels=with_labels))

    def _shots(self, rows: Sequence[Row]) -> list[Row]:
        """Return a few of these rows for each label, as many as the strategy shows to agents."""
        most = self.strategy.shots
        parts = (self._half(self._of(rows, label), most)[:most] for label in self._requested_labels())
        return list({row["id"]: row for part in parts for row in part}.values())

    def _folds(self) -> list[Fold]:
        """Return the folds as in graph/students/committee.py: their numbers, or [None] with separate sets."""
        return [*range(self.task.fold_count)] if self.known.folded else [None]

    def _requested_labels(self) -> list[str]:
        """Return what texts can be requested for: each label and, if the task type has it, no label."""
        return [*self.task.labels, *self.task.type.no_label]

    def _weaknesses(self, fold: Fold) -> list[Weakness]:
        """Return made-up weaknesses: one, or the fold's share of the strategy's maximum."""
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

    def _labelling(self, rows: Sequence[Row], shots: Sequence[Row]) -> list[Request[Any]]:
        requests = labeler.label_requests(self.task.brief(), _samples(rows), 0, shots=shots)
        return [request for _, request in requests]

    def _other(self, label: str) -> str:
        labels = [*self.task.labels, *self.task.type.error_kinds]
        return labels[(labels.index(label) + 1) % len(labels)] if label else ""

    def _half(self, rows: Sequence[Row], least: int = 0) -> list[Row]:
        """Return the shorter or longer half of the rows (for an example all), at least `least`, shuffled."""
        if self.end == "example":
            return stratified_sample(rows, self.task.type, len(rows), self.task.seed)
        ranked = sorted(rows, key=lambda row: len(row["text"]), reverse=self.end == "high")
        half = ranked[: max(least, -(-len(rows) // 2))]
        return stratified_sample(half, self.task.type, len(half), self.task.seed)

    def _of(self, rows: Sequence[Row], label: str) -> list[Row]:
        return [row for row in rows if label in self.task.type.labels_in(row["label"])]


def _samples(rows: Sequence[Row]) -> Sequence[Sample]:
    """Return rows typed as samples, since labeler and critic read only text and label of these."""
    return cast(Sequence[Sample], rows)
