"""Orders: how many texts of which kind and label a round asks for."""

from collections.abc import Mapping, Sequence

from tutelage.agents.analyst import Weakness
from tutelage.agents.generator import Request
from tutelage.graph.strategies import Strategy


def plan(
    strategy: Strategy, count: int, weaknesses: Sequence[Weakness], f1: Mapping[str, float]
) -> list[Request]:
    """Requests for `count` texts in all.

    Without feedback every label gets the same. With it, `hard_share` of the order is hard texts: two
    thirds for the label of each weakness, one third for the label it is confused with, so that both
    sides of the border are shown; the rest is easy texts. Labels with low F1 get more (EvoKD), at most
    about twice the share of a perfect one, and what they get as hard they do not get again as easy: an
    order piled on two labels made the others worse (ours).

    Args:
        strategy: see there.
        count: texts wanted.
        weaknesses: to be served, all alike.
        f1: label -> F1 on diagnose.
    """
    if strategy.feedback == "none":
        return _requests("any", dict.fromkeys(f1, 1.0), count)
    hard = round(count * strategy.hard_share) if weaknesses else 0
    requests = []
    shares = apportion(dict.fromkeys((w["id"] for w in weaknesses), 1.0), hard)
    for weakness in weaknesses:
        sides = {weakness["label"]: 2.0, weakness["confused_with"]: 1.0}
        requests += _requests("hard", sides, shares[weakness["id"]], weakness["id"])
    shares = apportion({label: 2.0 - score for label, score in f1.items()}, count)
    for request in requests:
        shares[request["label"]] = max(0, shares[request["label"]] - request["count"])
    return requests + _requests("easy", shares, count - hard)


def apportion(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """Split `count` in proportion to the weights, by largest remainder; none where all weights are 0."""
    total = sum(weights.values()) or 1.0
    exact = {key: count * weight / total for key, weight in weights.items()}
    result = {key: int(value) for key, value in exact.items()}
    left = count - sum(result.values())
    for key in sorted(exact, key=lambda key: result[key] - exact[key])[:left]:
        result[key] += 1
    return result


def _requests(kind: str, weights: Mapping[str, float], count: int, weakness: str = "") -> list[Request]:
    shares = apportion(weights, count) if weights else {}
    return [
        Request(label=label, kind=kind, count=share, weakness=weakness)  # type: ignore[typeddict-item]
        for label, share in shares.items()
        if share
    ]
