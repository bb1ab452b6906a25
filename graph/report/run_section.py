"""A run as its report reads it: what stands in the folder, and figures that several sections show."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tutelage.agents.teacher.journal import Spent
from tutelage.graph.run_folder.folder import RoundLine, RunFolder
from tutelage.graph.run_folder.trace import Event, Trace
from tutelage.graph.weaknesses import Card, read_cards
from tutelage.student.corpus import Sample
from tutelage.student.evaluation.evaluate import Report, wilson
from tutelage.student.tasks import KINDS, Kind
from tutelage.student.tasks.user_functions import title

EXAMS = ("test", "gate", "diagnose")


@dataclass(frozen=True)
class Run:
    """What stands in a run folder; `samples` is None until the run ends, `trained` is what the node that
    trains told of each round.
    """

    folder: RunFolder
    about: dict[str, Any]
    rounds: list[RoundLine]
    cards: list[Card]
    samples: list[Sample] | None
    trained: dict[int, Event]

    @property
    def kind(self) -> Kind:
        """What a label of the task is."""
        return KINDS[self.about["task"]["kind"]]

    @property
    def best(self) -> int:
        """The round of the best student, so far if the run is unfinished."""
        last = max((line["round"] for line in self.rounds if line["accepted"]), default=0)
        return int(self.about.get("best", last))

    @property
    def spent(self) -> Spent:
        """Of the whole run or, while it is unfinished, of the rounds that are over."""
        found: Spent | None = self.about.get("spent")
        return found or total(self.rounds)

    @property
    def fates(self) -> Counter[str]:
        """Samples by status."""
        if self.samples is not None:
            return Counter(sample["status"] for sample in self.samples)
        parts = [Counter({"kept": line["samples_kept"], **line["refused"]}) for line in self.rounds]
        return sum(parts, Counter())

    def scores(self, exam: str) -> dict[int, float]:
        """Round -> score of its student; empty where there is no such exam or it is not opened yet."""
        values: list[float | None] = [x["metric"] if exam == "diagnose" else x["gate"] for x in self.rounds]
        if exam == "test":
            values = self.about.get("test_by_round") or []
        rounds = [line["round"] for line in self.rounds]
        return {round: score for round, score in zip(rounds, values, strict=False) if score is not None}

    @property
    def folded(self) -> bool:
        """Whether the user's labelled rows were divided into folds."""
        return "labelled" in self.about["data"]

    @property
    def exams(self) -> tuple[str, ...]:
        """The sets that its rounds are measured on, the one that counts most first; labelled rows in folds
        are one set.
        """
        return ("gate",) if self.folded else EXAMS

    def called(self, exam: str) -> str:
        """What people call a set."""
        return "out of fold" if self.folded and exam != "test" else exam

    @property
    def first(self) -> str:
        """What people call the student of round 0."""
        return "your labels alone" if self.folded else "seeds only"

    def size(self, exam: str) -> int:
        """How many rows an exam has."""
        name = "labelled" if self.folded and exam != "test" else exam
        return int(self.about["data"].get(name, 0))


def read_run(folder: RunFolder) -> Run:
    """The run in a folder, finished or not.

    Raises:
        InputError: this is not a run folder.
    """
    samples = None
    if folder.samples.exists():
        with folder.samples.open(encoding="utf-8") as file:  # splitlines would cut a text at U+2028
            samples = [json.loads(line) for line in file]
    events = Trace(folder.trace).events()
    trained = {e["round"]: e for e in events if e["event"] == "leave" and e["node"] in ("train", "final")}
    return Run(folder, folder.about(), folder.read_rounds(), read_cards(folder), samples, trained)


def total(rounds: Sequence[RoundLine]) -> Spent:
    """What these rounds took together; one of unknown cost makes the sum unknown."""
    costs = [line["cost"] for line in rounds]
    return Spent(
        calls=sum(line["teacher_calls"] for line in rounds),
        prompt_tokens=sum(line["prompt_tokens"] for line in rounds),
        completion_tokens=sum(line["completion_tokens"] for line in rounds),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def paid(spent: Spent) -> tuple[object, ...]:
    """Three cells: calls, tokens, cost."""
    tokens = f"{spent['prompt_tokens']:,} + {spent['completion_tokens']:,}"
    return spent["calls"], tokens, _money(spent["cost"])


def _money(cost: float | None) -> str:
    # A round's cost is a difference of sums: 1e-17 where nothing was paid.
    return "unknown" if cost is None else f"{Decimal(f'{abs(round(cost, 9)):.4g}'):,f}"


def metric_name(run: Run) -> str:
    """The task's metric, as people write it."""
    return named(run.about["task"]["metric"])


def named(figure: str) -> str:
    """A figure of an exam, as people write it."""
    return NAMES.get(figure, title(figure))


NAMES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "exact_match": "exact match",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}
_SHARES = ("accuracy", "exact_match")  # of texts: these have an interval


def share(value: float, size: int) -> str:
    """A share of texts with its 95 % interval."""
    low, high = wilson(round(value * size), size)
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def figures(report: Report) -> str:
    """All figures of an exam, shares of texts with their 95 % interval."""
    told = []
    for name, value in report["figures"].items():
        told.append(f"{named(name)} {share(value, report['size']) if name in _SHARES else f'{value:.3f}'}")
    gold, answered = report["items"]
    several = f"; {gold:.2f} a text in gold, {answered:.2f} answered" if (gold, answered) != (1, 1) else ""
    return ", ".join(told) + several


def differences(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """What keeps a run's control from being one, of the run.json of both, in words."""
    expected = ("strategy", "data")
    changed = [key for key in one["task"] if key not in expected and one["task"][key] != two["task"].get(key)]
    if one["data"]["digest"] != two["data"]["digest"]:
        return ["The control was run on other data: the two cannot be compared."]
    if changed:
        return [f"The control differs in more than its strategy: {', '.join(changed)}."]
    if one["strategy"] == two["strategy"]:
        return ["The control has the same strategy: the two differ by chance alone."]
    return []
