"""The data of a run that the report shows, and figures that several sections share."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tutelage.agents.teacher.journal import Journal, Spent
from tutelage.graph.run_folder.folder import RoundLine, RunFolder, student_name
from tutelage.graph.run_folder.trace import Event, Trace
from tutelage.graph.weaknesses import Card, read_cards
from tutelage.student.corpus import Sample
from tutelage.student.evaluation.evaluate import Report, wilson
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.tasks.user_functions import title

SETS = ("test", "gate", "diagnose")


@dataclass(frozen=True)
class Run:
    """The contents of a run folder.

    `samples` is None until the run ends. `trained` maps each round to the `leave` event of its training node.
    """

    folder: RunFolder
    about: dict[str, Any]
    rounds: list[RoundLine]
    cards: list[Card]
    samples: list[Sample] | None
    trained: dict[int, Event]

    @property
    def task_type(self) -> TaskType:
        """The task type, which defines what a label is."""
        return TASK_TYPES[self.about["task"]["kind"]]

    @property
    def best(self) -> int:
        """The round of the best student (so far, if the run is unfinished)."""
        last = max((line["round"] for line in self.rounds if line["accepted"]), default=0)
        return int(self.about.get("best", last))

    @property
    def spent(self) -> Spent:
        """Calls, tokens and cost of the run, so far if it is unfinished."""
        recorded: Spent | None = self.about.get("spent")
        if recorded or not self.folder.journal.exists():
            return recorded or total(self.rounds)
        with closing(Journal(self.folder.journal)) as journal:
            return journal.spent()

    @property
    def status_counts(self) -> Counter[str]:
        """The number of samples of each status."""
        if self.samples is not None:
            return Counter(sample["status"] for sample in self.samples)
        parts = [Counter({"kept": line["samples_kept"], **line["refused"]}) for line in self.rounds]
        return sum(parts, Counter())

    def scores(self, set_name: str) -> dict[int, float]:
        """Map each round to the score of its student. Empty without such a set or before test is opened."""
        values: list[float | None] = [
            x["metric"] if set_name == "diagnose" else x["gate"] for x in self.rounds
        ]
        if set_name == "test":
            values = self.about.get("test_by_round") or []
        rounds = [line["round"] for line in self.rounds]
        return {round: score for round, score in zip(rounds, values, strict=False) if score is not None}

    @property
    def folded(self) -> bool:
        """Whether the user's labelled rows were divided into folds."""
        return "labelled" in self.about["data"]

    @property
    def set_names(self) -> tuple[str, ...]:
        """The sets that the rounds are evaluated on, the most important one first.

        Labelled rows in folds count as one set, stored under `gate`.
        """
        return ("gate",) if self.folded else SETS

    def set_title(self, set_name: str) -> str:
        """Return the name of a set to show."""
        return "out of fold" if self.folded and set_name != "test" else set_name

    def student(self, round: int) -> str:
        """Return the name of a round's student to show."""
        line = next(line for line in self.rounds if line["round"] == round)
        return student_name(line, folded=self.folded)

    def size(self, set_name: str) -> int:
        """Return the number of rows of an evaluation set."""
        name = "labelled" if self.folded and set_name != "test" else set_name
        return int(self.about["data"].get(name, 0))


def read_run(folder: RunFolder) -> Run:
    """Read a run from its folder. The run may be unfinished.

    Raises:
        InputError: `folder` is not a run folder.
    """
    samples = None
    if folder.samples.exists():
        with folder.samples.open(encoding="utf-8") as file:  # splitlines would split a text at U+2028
            samples = [json.loads(line) for line in file]
    events = Trace(folder.trace).events()
    trained = {e["round"]: e for e in events if e["event"] == "leave" and e["node"] in ("train", "final")}
    return Run(folder, folder.about(), folder.read_rounds(), read_cards(folder), samples, trained)


def total(rounds: Sequence[RoundLine]) -> Spent:
    """Sum up what these rounds used. If the cost of one is unknown (None), the sum is unknown."""
    costs = [line["cost"] for line in rounds]
    return Spent(
        calls=sum(line["teacher_calls"] for line in rounds),
        prompt_tokens=sum(line["prompt_tokens"] for line in rounds),
        completion_tokens=sum(line["completion_tokens"] for line in rounds),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def paid(spent: Spent) -> tuple[object, ...]:
    """Return three table cells: calls, tokens and cost."""
    tokens = f"{spent['prompt_tokens']:,} + {spent['completion_tokens']:,}"
    return spent["calls"], tokens, money(spent["cost"])


def money(cost: float | None) -> str:
    """Return a cost rounded to four digits, or "unknown"."""
    # The cost of a round is a difference of sums, so it can be 1e-17 if nothing was paid.
    return "unknown" if cost is None else f"{Decimal(f'{abs(round(cost, 9)):.4g}'):,f}"


def metric_name(run: Run) -> str:
    """Return the display name of the task's metric."""
    return metric_title(run.about["task"]["metric"])


def metric_title(figure: str) -> str:
    """Return the display name of a metric."""
    return NAMES.get(figure, title(figure))


NAMES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "exact_match": "exact match",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}
_SHARES = ("accuracy", "exact_match")  # shares of texts have a Wilson interval


def share(value: float, size: int) -> str:
    """Return a share of `size` texts with its 95 % interval (Wilson)."""
    low, high = wilson(round(value * size), size)
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def figures(report: Report) -> str:
    """Return all metrics of an evaluation as text, shares of texts with their 95 % interval."""
    scores = []
    for name, value in report["figures"].items():
        scores.append(
            f"{metric_title(name)} {share(value, report['size']) if name in _SHARES else f'{value:.3f}'}"
        )
    gold, predicted = report["items"]
    if (gold, predicted) == (1, 1):
        return ", ".join(scores)
    return f"{', '.join(scores)}; labels per text: {gold:.2f} gold, {predicted:.2f} predicted"


def differences(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """Return sentences that say why run `two` is no valid control of run `one` (given their run.json)."""
    expected = ("strategy", "data")
    changed = [key for key in one["task"] if key not in expected and one["task"][key] != two["task"].get(key)]
    if one["data"]["digest"] != two["data"]["digest"]:
        return ["The control was run on other data: the two runs cannot be compared."]
    if changed:
        return [f"The control differs in more than its strategy: {', '.join(changed)}."]
    if one["strategy"] == two["strategy"]:
        return ["The control has the same strategy: the two runs differ only by chance."]
    return []
