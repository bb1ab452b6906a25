"""Selection: methods that choose the unlabelled texts for the teacher to label next.

The methods:

- `random`: a random sample.
- `entropy`, `least_confidence`, `margin`, `energy`, `disagreement`: the texts with the highest `uncertainty`.
  Ties are broken by the smaller margin, then at random.
- `typical`: the densest texts of the largest clusters without a known text, for a first round (TypiClust,
  Hacohen et al. 2022, arXiv 2202.02794).
- `uncertain_and_diverse`: k-means++ picks on the embeddings, weighted by one minus the margin, among the
  texts with the smallest margins: eight for each text to choose, at most half of all. It is in the spirit of
  BADGE (Ash et al. 2020, arXiv 1906.03671), which picks by gradients; the rest is ours.
- `balanced`: the same, but with equal numbers of texts per predicted label, as far as there are enough, and
  rarely predicted labels first (ours). For students without probabilities all texts are one group.
- `typical_and_uncertain`: half of the texts by `typical`, the other half by `margin` among the rest (ours).
  Few labels are best spent on typical texts, many on uncertain ones (Hacohen et al. 2022), and a run passes
  from few to many without a sign of the point at which to switch.
- `randomised`: texts are visited in random order in repeated passes, and accepted with a probability
  proportional to their entropy; the text with the highest entropy is accepted in the first pass (M-RARU,
  arXiv 2511.11574: reconstruction from its abstract).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tutelage.student.clustering import Embeddings, Integers, densest, kmeans, spread_out
from tutelage.student.models.predictions import Floats, Predictions, Probabilities, entropy

Selection = Literal[
    "random",
    "entropy",
    "least_confidence",
    "margin",
    "energy",
    "disagreement",
    "typical",
    "uncertain_and_diverse",
    "balanced",
    "typical_and_uncertain",
    "randomised",
]
NEEDS_VECTORS: frozenset[Selection] = frozenset(
    {"typical", "uncertain_and_diverse", "balanced", "typical_and_uncertain"}
)
NEEDS_NO_STUDENT: frozenset[Selection] = frozenset({"random", "typical"})

# Candidates with the smallest margins per text to choose (ours). 4, 8 and half of all texts did not differ
# beyond noise on three data sets (head students, six seeds).
_CANDIDATES = 8
_CLUSTERS = 500  # maximum of TypiClust (its max_num_clusters)


class Pool(NamedTuple):
    """The n unlabelled texts to choose from.

    Attributes:
        predictions: predictions of each member of the committee on the texts, with the same order of labels.
            May be empty for the methods in `NEEDS_NO_STUDENT`.
        vectors: embeddings of the texts, shape (n, d), each of length 1. Only the methods in `NEEDS_VECTORS`
            require them.
        known: embeddings of the texts that are labelled already, shape (m, d). The methods in `NEEDS_VECTORS`
            choose texts that differ from them.
    """

    predictions: Sequence[Predictions] = ()
    vectors: Embeddings | None = None
    known: Embeddings | None = None


def select(how: Selection, count: int, pool: Pool, *, seed: int) -> list[int]:
    """Choose texts to be labelled.

    Args:
        how: the method, see above.
        count: number of texts to choose; if there are fewer, all are returned.
        pool: the texts.
        seed: the same seed and inputs give the same choice.

    Returns:
        Distinct indices of the chosen texts, in the order of preference.

    Raises:
        ValueError: predictions or vectors are missing, or do not fit each other.
    """
    _require(bool(pool.predictions) or how in NEEDS_NO_STUDENT, how, "the predictions of a student")
    _require(pool.vectors is not None or how not in NEEDS_VECTORS, how, "the embeddings of the texts")
    size, random = _size(pool.predictions, pool.vectors), np.random.default_rng(seed)
    count = min(count, size)
    if how == "random":
        chosen = random.permutation(size)
    elif how == "randomised":
        chosen = _accepted(uncertainty(how, pool.predictions), random)
    elif how == "typical":
        return _typical(count, pool, random)
    elif how == "uncertain_and_diverse" or how == "balanced":
        groups = _predicted(pool.predictions) if how == "balanced" else np.zeros(size, np.int64)
        return _diverse(count, pool, groups, random)
    elif how == "typical_and_uncertain":
        return _half_typical(count, pool, random)
    else:
        ties = random.random(size), _margin(pool.predictions)
        chosen = np.lexsort((*ties, -uncertainty(how, pool.predictions)))
    return [int(index) for index in chosen[:count]]


def uncertainty(how: Selection, predictions: Sequence[Predictions]) -> Floats:
    """Return the score of each text under a method, shape (n,); texts with higher scores are chosen first.

    The scores come from p, the mean of the members' probabilities. For students without probabilities they
    are the mean of the members' scores.

    - `entropy`, `randomised`: entropy of p, 0 to 1; for a multi-label student the mean over labels.
    - `least_confidence`: 1 - max p (Settles 2009).
    - `energy`: mean energy of the members.
    - `disagreement`: mutual information between answer and member, in units of the maximum entropy: entropy
      of p minus the members' mean entropy (BALD, Houlsby et al. 2011, arXiv 1112.5745; Gal et al. 2017,
      arXiv 1703.02910). Without probabilities: entropy of the votes for distinct answers, divided by the log
      of the number of members (Engelson and Dagan 1996).
    - all other methods: minus the margin between the two most probable labels.

    Multi-label students have a margin to their thresholds and a confidence in a whole set; for these two the
    score is the members' mean. With one member the first four equal `Predictions.uncertainty`, and the
    disagreement is 0.

    Raises:
        ValueError: there are no predictions, or they are not of the same texts.
    """
    _require(bool(predictions), how, "the predictions of a student")
    _size(predictions, None)
    if how == "least_confidence":
        p = _mean_of_classes(predictions)
        return _mean([1 - one.confidence for one in predictions]) if p is None else 1 - p.max(1).astype(float)
    if how == "entropy" or how == "randomised":
        return _entropy(predictions)
    if how == "energy":
        return _mean([one.energy for one in predictions])
    if how == "disagreement":
        if _mean_probabilities(predictions) is None:
            return _vote_entropy(predictions)
        return np.asarray((_entropy(predictions) - _mean([one.entropy for one in predictions])).clip(0))
    return -_margin(predictions)


def _diverse(count: int, pool: Pool, groups: Integers, random: np.random.Generator) -> list[int]:
    """Choose texts evenly from the groups: distant ones among those with the smallest margins."""
    assert pool.vectors is not None
    weights = (1 - _margin(pool.predictions)).clip(0)
    turns = _turns(groups, count)
    wanted = Counter(turns)
    ranked = np.lexsort((random.random(len(weights)), -weights))
    parts = []
    for group, quota in sorted(wanted.items()):
        own = ranked[groups[ranked] == group]
        parts.append(own[: max(quota, min(_CANDIDATES * quota, len(own) // 2))])
    rows = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    picked = spread_out(
        pool.vectors[rows], weights[rows], turns, random=random, groups=groups[rows], known=pool.known
    )
    return [int(index) for index in rows[picked]]


def _turns(groups: Integers, count: int) -> list[int]:
    """Return the group of each pick: groups take turns until they are used up, the smallest first."""
    sizes = np.bincount(groups)
    turn = np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else sizes
    group = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((group, sizes[group], turn))
    return [int(one) for one in group[order][:count]]


def _typical(count: int, pool: Pool, random: np.random.Generator) -> list[int]:
    """Choose the densest text of the cluster with the fewest labelled or chosen texts, and among these of the
    largest one, until `count` are chosen (TypiClust, algorithm 1).
    """
    vectors = pool.vectors
    assert vectors is not None
    known = vectors[:0] if pool.known is None else pool.known
    if not count:
        return []
    every = np.concatenate([vectors, known])
    members, centres = kmeans(every, min(count + len(known), _CLUSTERS, len(every)), random)
    own, covered = members[: len(vectors)], np.bincount(members[len(vectors) :], minlength=len(centres))
    sizes = np.bincount(own, minlength=len(centres))
    waiting: dict[int, list[int]] = {}
    chosen: list[int] = []
    while len(chosen) < count:
        cluster = int(np.lexsort((-sizes, covered, sizes == 0))[0])
        if cluster not in waiting:
            indices = np.flatnonzero(own == cluster)
            waiting[cluster] = indices[densest(vectors[indices], centres[cluster])][::-1].tolist()
        chosen.append(waiting[cluster].pop())
        covered[cluster] += 1
        sizes[cluster] -= 1
    return chosen


def _half_typical(count: int, pool: Pool, random: np.random.Generator) -> list[int]:
    """Choose typical texts, and those with the smallest margins among the rest, in turn."""
    ranked = np.lexsort((random.random(_size(pool.predictions, pool.vectors)), _margin(pool.predictions)))
    typical = _typical(count // 2, pool, random)
    taken = set(typical)
    uncertain = [int(index) for index in ranked if index not in taken][: count - len(typical)]
    pairs = zip_longest(uncertain, typical)
    return [index for pair in pairs for index in pair if index is not None]


def _accepted(wanted: Floats, random: np.random.Generator) -> Integers:
    """Return indices in the order in which repeated passes accept the texts.

    The number of the pass that accepts a text has a geometric distribution, so it is drawn directly.
    """
    top = wanted.max(initial=0.0)
    chance = wanted / top if top > 0 else np.ones(len(wanted))
    passes = np.where(chance > 0, random.geometric(chance.clip(1e-9, 1)), np.inf)
    return np.lexsort((random.random(len(wanted)), passes))


def _size(predictions: Sequence[Predictions], vectors: Embeddings | None) -> int:
    """Return the number of texts, after checking that all inputs agree on it."""
    sizes = {len(one.answers) for one in predictions} | (set() if vectors is None else {len(vectors)})
    if len(sizes) != 1:
        found = ", ".join(map(str, sorted(sizes))) or "none"
        raise ValueError(f"predictions and embeddings must be of the same texts; found sizes: {found}")
    return sizes.pop()


def _require(present: bool, how: Selection, what: str) -> None:
    if not present:
        raise ValueError(f"the selection {how!r} needs {what}, and none were given")


def _mean_probabilities(predictions: Sequence[Predictions]) -> Probabilities | None:
    parts = [one.probabilities for one in predictions if one.probabilities is not None]
    if len(parts) < len(predictions):
        return None
    if len({part.shape for part in parts}) > 1:
        raise ValueError("the members of a committee must have the same labels in the same order")
    return np.asarray(sum(parts[1:], parts[0].astype(float)) / len(parts))


def _mean_of_classes(predictions: Sequence[Predictions]) -> Probabilities | None:
    """Return mean probabilities if exactly one label is right, else None."""
    return None if predictions[0].multilabel else _mean_probabilities(predictions)


def _margin(predictions: Sequence[Predictions]) -> Floats:
    p = _mean_of_classes(predictions)
    if p is None:
        return _mean([one.margin for one in predictions])
    top = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def _entropy(predictions: Sequence[Predictions]) -> Floats:
    p = _mean_probabilities(predictions)
    if p is None:
        return _mean([one.entropy for one in predictions])
    return entropy(np.stack([p, 1 - p], -1)).mean(1) if predictions[0].multilabel else entropy(p)


def _vote_entropy(predictions: Sequence[Predictions]) -> Floats:
    votes = [Counter(answers) for answers in zip(*(one.answers for one in predictions), strict=True)]
    highest = np.log(max(len(predictions), 2))
    shares = [np.array(list(of.values())) / len(predictions) for of in votes]
    return np.array([float((share * -np.log(share)).sum()) / highest for share in shares])


def _predicted(predictions: Sequence[Predictions]) -> Integers:
    """Return the index of each text's most probable label, shape (n,)."""
    p = _mean_probabilities(predictions)
    return np.zeros(len(predictions[0].answers), np.int64) if p is None else p.argmax(1)


def _mean(scores: Sequence[NDArray[np.float64]]) -> Floats:
    return np.asarray(np.mean(scores, axis=0), np.float64)
