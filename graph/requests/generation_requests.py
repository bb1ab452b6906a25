"""Orders: how many texts of which kind and label a round asks for."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.agents.analyst import Answer, Weakness
from tutelage.agents.generator import Request
from tutelage.agents.schemas import Order
from tutelage.graph.strategies import Strategy
from tutelage.student.data.rows import Row
from tutelage.student.tasks import INVENTED, Kind


@dataclass(frozen=True)
class Gaps:
    """What the pool lacks, by the students' answers: `labels` that are the first or second guess for next to
    none of its texts, and `covered`, the pairs of labels that it has undecided texts of; None where only the
    labels are known.
    """

    labels: list[str]
    covered: set[frozenset[str]] | None

    def lacks(self, kind: Kind, answer: Answer) -> bool:
        """Return whether the pool holds next to no text like a wrong answer: of its gold label, or undecided
        between the two.
        """
        pairs = kind.slips(answer["label"], answer["predicted"])
        if any(pair[0] in self.labels for pair in pairs):
            return True
        return self.covered is not None and any(frozenset(pair) not in self.covered for pair in pairs)


def plan(
    strategy: Strategy,
    count: int,
    weaknesses: Sequence[Weakness],
    f1: Mapping[str, float],
    chance: random.Random,
    *,
    fed: bool = False,
) -> list[Request]:
    """Requests for `count` texts in all.

    Without an analysis every label gets the same, and of each label as many as `ood_share` says are to
    differ from all before; of the others `fed_share` are to be like the texts fed back, if there are any.
    With one, `hard_share` of the order is hard texts: two thirds for the label of each weakness, one
    third for the label it is confused with, so that both sides of the border are shown; where no weakness
    was found, for all labels alike (EvoKD asks for boundary cases then). The rest is easy texts. Labels
    with low F1 get more (EvoKD), at most about twice the share of a perfect one, and what they get as hard
    they do not get again as easy: an order piled on two labels made the others worse (ours).

    Args:
        strategy: see there.
        count: texts wanted.
        weaknesses: to be served, all alike.
        f1: label -> F1 of the student.
        chance: decides which labels get one more where a count does not divide.
        fed: whether texts of the last round are fed back.
    """
    if strategy.feedback in ("none", "band"):
        return _alike(strategy, count, list(f1), chance, fed)
    hard = round(count * strategy.hard_share)
    requests = [] if weaknesses else requests_for("hard", apportion(dict.fromkeys(f1, 1.0), hard))
    shares = apportion(dict.fromkeys((w["id"] for w in weaknesses), 1.0), hard)
    for weakness in weaknesses:
        parts = {label: share for label, share in sides(weakness) if label in f1}
        requests += requests_for("hard", apportion(parts, shares[weakness["id"]]), weakness["id"])
    shares = apportion({label: 2.0 - score for label, score in f1.items()}, count)
    for request in requests:
        shares[request["label"]] = max(0, shares[request["label"]] - request["count"])
    return requests + requests_for("easy", apportion(shares, count - hard))


def sides(weakness: Weakness) -> list[tuple[str, float]]:
    """What a weakness needs texts of, in which shares: both sides of the border. Where a label is invented,
    the other side are texts that have none.
    """
    label, other = weakness["label"], weakness["confused_with"]
    return [(label, 1.0), ("", 2.0)] if other == INVENTED else [(label, 2.0), (other, 1.0)]


def gap_requests(count: int, weaknesses: Sequence[Weakness], labels: Sequence[str]) -> list[Request]:
    """Return requests for `count` texts: the same number for each weakness, as hard texts of both its labels,
    and for each label that is a gap.
    """
    keys = [*(weakness["id"] for weakness in weaknesses), *labels]
    shares = apportion(dict.fromkeys(keys, 1.0), count) if keys else {}
    requests: list[Request] = []
    for weakness in weaknesses:
        parts = apportion(dict(sides(weakness)), shares[weakness["id"]])
        requests += requests_for("hard", parts, weakness["id"])
    return requests + requests_for("any", {label: shares[label] for label in labels})


def paraphrases(kind: Kind, seeds: Sequence[Row], count: int, chance: random.Random) -> list[Request]:
    """Requests for paraphrases of the seeds, `count` in all (AugGPT, arXiv 2302.13007)."""
    shuffled = chance.sample(list(seeds), len(seeds))
    shares = apportion({row["id"]: 1.0 for row in shuffled}, count)
    return [
        Request(
            label=kind.groups(row["label"])[0],
            kind="paraphrase",
            count=shares[row["id"]],
            weakness="",
            of=row["text"],
        )
        for row in shuffled
        if shares[row["id"]]
    ]


def apportion(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """Split `count` in proportion to the weights, by largest remainder; none where all weights are 0."""
    assert count >= 0, f"{count} are to be split"
    total = sum(weights.values()) or 1.0
    exact = {key: count * weight / total for key, weight in weights.items()}
    result = {key: int(value) for key, value in exact.items()}
    left = count - sum(result.values())
    for key in sorted(exact, key=lambda key: result[key] - exact[key])[:left]:
        result[key] += 1
    return result


def _alike(
    strategy: Strategy, count: int, labels: Sequence[str], chance: random.Random, fed: bool
) -> list[Request]:
    """Every label alike; the kinds are dealt out over the labels by chance."""
    shuffled = chance.sample(list(labels), len(labels))
    shares = apportion(dict.fromkeys(shuffled, 1.0), count)
    units = [label for label in labels for _ in range(shares[label])]
    chance.shuffle(units)
    apart = round(count * strategy.ood_share)
    like = round((count - apart) * strategy.fed_share) if fed else 0
    parts: list[tuple[Order, list[str]]] = [
        ("any", units[apart + like :]),
        ("like", units[apart : apart + like]),
        ("ood", units[:apart]),
    ]
    return [
        request
        for kind, part in parts
        for request in requests_for(kind, {label: part.count(label) for label in labels})
    ]


def requests_for(kind: Order, shares: Mapping[str, int], weakness: str = "") -> list[Request]:
    """Return a request for each label that has a share."""
    return [
        Request(label=label, kind=kind, count=share, weakness=weakness)
        for label, share in shares.items()
        if share
    ]
