"""Generation requests: how many texts of which kind and label a round asks the generator for."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.agents.analyst import LabelledPrediction, Weakness
from tutelage.agents.generator import GenerationRequest
from tutelage.agents.schemas import RequestKind
from tutelage.graph.strategies import Strategy
from tutelage.student.data.rows import Row
from tutelage.student.tasks.task_type import INVENTED, TaskType


@dataclass(frozen=True)
class Gaps:
    """What the pool lacks according to the students' predictions: `labels` that are the first or second guess
    for hardly any text, and `covered`, the pairs of labels between which enough texts are undecided; None if
    only the labels are known.
    """

    labels: list[str]
    covered: set[frozenset[str]] | None

    def lacks(self, task_type: TaskType, answer: LabelledPrediction) -> bool:
        """Return whether the pool has hardly any text like a wrong answer: one with its gold label, or one
        undecided between gold and predicted label.
        """
        pairs = task_type.error_pairs(answer["label"], answer["predicted"])
        if any(pair[0] in self.labels for pair in pairs):
            return True
        return self.covered is not None and any(frozenset(pair) not in self.covered for pair in pairs)


def plan_requests(
    strategy: Strategy,
    count: int,
    weaknesses: Sequence[Weakness],
    f1: Mapping[str, float],
    chance: random.Random,
    *,
    has_feedback: bool = False,
) -> list[GenerationRequest]:
    """Return requests for `count` texts in total.

    Without an analysis, every label gets the same number. Then `ood_share` of the texts are to differ from
    all earlier ones, and `similar_share` of the others are to resemble the texts fed back, if there are any.

    With an analysis, `hard_share` of the texts are hard: two thirds for the label of each weakness and one
    third for the label it is confused with, so that both sides of the decision boundary are covered. Without
    a weakness they are divided evenly among the labels (EvoKD asks for boundary cases then). The rest is
    easy. Labels with low F1 get more (EvoKD), at most about twice the share of a perfect label. Hard texts
    count towards a label's share: requests concentrated on two labels made the others worse (ours).

    Args:
        strategy: sets the shares and the kind of feedback.
        count: number of texts.
        weaknesses: the weaknesses to write for, all with the same share.
        f1: label -> F1 of the student.
        chance: random generator that decides which labels get one more if a count does not divide evenly.
        has_feedback: whether texts of the last round are fed back.
    """
    if strategy.feedback in ("none", "band"):
        return _equal_shares(strategy, count, list(f1), chance, has_feedback)
    hard = round(count * strategy.hard_share)
    requests = [] if weaknesses else requests_for("hard", apportion(dict.fromkeys(f1, 1.0), hard))
    shares = apportion(dict.fromkeys((w["id"] for w in weaknesses), 1.0), hard)
    for weakness in weaknesses:
        parts = {label: share for label, share in label_shares(weakness) if label in f1}
        requests += requests_for("hard", apportion(parts, shares[weakness["id"]]), weakness["id"])
    shares = apportion({label: 2.0 - score for label, score in f1.items()}, count)
    for request in requests:
        shares[request["label"]] = max(0, shares[request["label"]] - request["count"])
    return requests + requests_for("easy", apportion(shares, count - hard))


def label_shares(weakness: Weakness) -> list[tuple[str, float]]:
    """Return the labels to write texts for, with their relative shares: both labels of the weakness. If the
    student invents a label, texts without that label (`""`) stand for the other side.
    """
    label, other = weakness["label"], weakness["confused_with"]
    return [(label, 1.0), ("", 2.0)] if other == INVENTED else [(label, 2.0), (other, 1.0)]


def gap_requests(
    count: int, weaknesses: Sequence[Weakness], labels: Sequence[str]
) -> list[GenerationRequest]:
    """Return requests for `count` texts, divided evenly among the weaknesses (as hard texts of both their
    labels) and the labels that the pool lacks.
    """
    keys = [*(weakness["id"] for weakness in weaknesses), *labels]
    shares = apportion(dict.fromkeys(keys, 1.0), count) if keys else {}
    requests: list[GenerationRequest] = []
    for weakness in weaknesses:
        parts = apportion(dict(label_shares(weakness)), shares[weakness["id"]])
        requests += requests_for("hard", parts, weakness["id"])
    return requests + requests_for("any", {label: shares[label] for label in labels})


def paraphrases(
    task_type: TaskType, seeds: Sequence[Row], count: int, chance: random.Random
) -> list[GenerationRequest]:
    """Return requests for `count` paraphrases of the seeds in total (AugGPT, arXiv 2302.13007)."""
    shuffled = chance.sample(list(seeds), len(seeds))
    shares = apportion({row["id"]: 1.0 for row in shuffled}, count)
    return [
        GenerationRequest(
            label=task_type.labels_in(row["label"])[0],
            kind="paraphrase",
            count=shares[row["id"]],
            weakness="",
            of=row["text"],
        )
        for row in shuffled
        if shares[row["id"]]
    ]


def apportion(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """Split `count` in proportion to the weights, by the largest-remainder method."""
    assert count >= 0, f"cannot split {count}"
    total = sum(weights.values()) or 1.0
    exact = {key: count * weight / total for key, weight in weights.items()}
    result = {key: int(value) for key, value in exact.items()}
    left = count - sum(result.values())
    for key in sorted(exact, key=lambda key: result[key] - exact[key])[:left]:
        result[key] += 1
    return result


def _equal_shares(
    strategy: Strategy, count: int, labels: Sequence[str], chance: random.Random, has_feedback: bool
) -> list[GenerationRequest]:
    """Return requests with an equal share for every label; the kinds are spread over the labels at random."""
    shuffled = chance.sample(list(labels), len(labels))
    shares = apportion(dict.fromkeys(shuffled, 1.0), count)
    units = [label for label in labels for _ in range(shares[label])]
    chance.shuffle(units)
    apart = round(count * strategy.ood_share)
    like = round((count - apart) * strategy.similar_share) if has_feedback else 0
    parts: list[tuple[RequestKind, list[str]]] = [
        ("any", units[apart + like :]),
        ("like", units[apart : apart + like]),
        ("ood", units[:apart]),
    ]
    return [
        request
        for kind, part in parts
        for request in requests_for(kind, {label: part.count(label) for label in labels})
    ]


def requests_for(kind: RequestKind, shares: Mapping[str, int], weakness: str = "") -> list[GenerationRequest]:
    """Return a request of the given kind for each label whose share is not 0."""
    return [
        GenerationRequest(label=label, kind=kind, count=share, weakness=weakness)
        for label, share in shares.items()
        if share
    ]
