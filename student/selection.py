"""Selection: which unlabelled texts the teacher is asked about next.

The methods:

- `random`: any.
- `entropy`, `least_confidence`, `margin`, `energy`, `disagreement`: those with the highest `uncertainty`.
  Ties go to the smaller margin, then to chance.
- `typical`: the densest texts of the largest clusters that hold no known text, for a first round (TypiClust,
  Hacohen et al. 2022, arXiv 2202.02794).
- `uncertain_and_diverse`: k-means++ picks on the embeddings, weighted by one minus the margin, among the
  texts with the smallest margins: eight for each one wanted, but no more than half of all. In the spirit of
  BADGE (Ash et al. 2020, arXiv 1906.03671), which picks by gradients; the rest is ours.
- `balanced`: the same, with as many texts of each predicted label as there are, seldom predicted labels first
  (ours). Students without probabilities predict no label: all texts are one group.
- `randomised`: texts are visited in random order, again and again, and accepted with a probability
  proportional to their entropy; the highest is accepted at once (M-RARU, arXiv 2511.11574: reconstruction
  from its abstract).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tutelage.student.clustering import Embeddings, Places, densest, kmeans, spread_out
from tutelage.student.models.predictions import Floats, Probabilities, Reading, entropy

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
    "randomised",
]
NEEDS_VECTORS: frozenset[Selection] = frozenset({"typical", "uncertain_and_diverse", "balanced"})
NEEDS_NO_STUDENT: frozenset[Selection] = frozenset({"random", "typical"})

# Least sure texts that diversity chooses among, for each one wanted (ours). Of 4, 8 and half of all none was
# better beyond noise on three data sets (head students, six seeds).
_CANDIDATES = 8
_CLUSTERS = 500  # of TypiClust at most (its max_num_clusters)


def select(
    how: Selection,
    count: int,
    readings: Sequence[Reading],
    vectors: Embeddings | None,
    *,
    seed: int,
    known: Embeddings | None = None,
) -> list[int]:
    """Choose texts to be labelled.

    Args:
        how: the method; see above.
        count: of texts wanted; all are returned where there are fewer.
        readings: predictions of each member of the committee on the same n texts, with the same order of
            labels. May be empty for the methods in `NEEDS_NO_STUDENT`.
        vectors: embeddings of the texts, shape (n, d), each of length 1. May be None except for the methods
            in `NEEDS_VECTORS`.
        seed: the same seed and inputs give the same choice.
        known: embeddings of texts that are labelled already, shape (m, d), to be different from. Used by the
            methods in `NEEDS_VECTORS`.

    Returns:
        Places of the chosen texts, the most wanted first, each once.

    Raises:
        ValueError: readings or vectors are missing, or do not fit each other.
    """
    _require(bool(readings) or how in NEEDS_NO_STUDENT, how, "the predictions of a student")
    _require(vectors is not None or how not in NEEDS_VECTORS, how, "the embeddings of the texts")
    size, random = _size(readings, vectors), np.random.default_rng(seed)
    count = min(count, size)
    if how == "random":
        chosen = random.permutation(size)
    elif how == "randomised":
        chosen = _accepted(uncertainty(how, readings), random)
    elif how == "typical":
        assert vectors is not None
        return _typical(count, vectors, random, known)
    elif how == "uncertain_and_diverse" or how == "balanced":
        assert vectors is not None
        groups = _predicted(readings) if how == "balanced" else np.zeros(size, np.int64)
        return _diverse(count, (1 - _margin(readings)).clip(0), vectors, groups, random, known)
    else:
        ties = random.random(size), _margin(readings)
        chosen = np.lexsort((*ties, -uncertainty(how, readings)))
    return [int(place) for place in chosen[:count]]


def uncertainty(how: Selection, readings: Sequence[Reading]) -> Floats:
    """Return how much each text is wanted by a method, shape (n,); higher is more wanted.

    Scores are those of the committee's mean prediction: of the members' mean probabilities p, or, for
    students without probabilities, the mean of the members' scores.

    - `entropy`, `randomised`: entropy of p, 0 to 1; of a multi-label student the mean over labels.
    - `least_confidence`: 1 - max p (Settles 2009).
    - `energy`: mean energy of the members.
    - `disagreement`: mutual information between answer and member, in units of the highest entropy: entropy
      of p minus the members' mean entropy (BALD, Houlsby et al. 2011, arXiv 1112.5745; Gal et al. 2017,
      arXiv 1703.02910). Without probabilities: entropy of the votes for distinct answers, divided by the log
      of the number of members (Engelson and Dagan 1996).
    - all others: minus the margin between the two most probable labels.

    Multi-label students have a margin to their thresholds and a confidence in a whole set: for these two
    the members' mean is taken. With one member the first four are `Reading.doubt`, and the disagreement is 0.

    Raises:
        ValueError: there are no readings, or they are not of the same texts.
    """
    _require(bool(readings), how, "the predictions of a student")
    _size(readings, None)
    if how == "least_confidence":
        p = _mean_of_classes(readings)
        return _mean([1 - one.confidence for one in readings]) if p is None else 1 - p.max(1).astype(float)
    if how == "entropy" or how == "randomised":
        return _entropy(readings)
    if how == "energy":
        return _mean([one.energy for one in readings])
    if how == "disagreement":
        if _mean_probabilities(readings) is None:
            return _vote_entropy(readings)
        return np.asarray((_entropy(readings) - _mean([one.entropy for one in readings])).clip(0))
    return -_margin(readings)


def _diverse(
    count: int,
    unsure: Floats,
    vectors: Embeddings,
    groups: Places,
    random: np.random.Generator,
    known: Embeddings | None,
) -> list[int]:
    """`count` texts, evenly from the groups: least sure first, then far apart."""
    turns = _turns(groups, count)
    wanted = Counter(turns)
    ranked = np.lexsort((random.random(len(unsure)), -unsure))
    parts = []
    for group, quota in sorted(wanted.items()):
        own = ranked[groups[ranked] == group]
        parts.append(own[: max(quota, min(_CANDIDATES * quota, len(own) // 2))])
    places = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    picked = spread_out(
        vectors[places], unsure[places], turns, random=random, groups=groups[places], known=known
    )
    return [int(place) for place in places[picked]]


def _turns(groups: Places, count: int) -> list[int]:
    """The group of each pick: every group in turn as long as it lasts, the smallest first."""
    sizes = np.bincount(groups)
    turn = np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else sizes
    group = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((group, sizes[group], turn))
    return [int(one) for one in group[order][:count]]


def _typical(
    count: int, vectors: Embeddings, random: np.random.Generator, known: Embeddings | None
) -> list[int]:
    """Densest texts of clusters, the clusters with the fewest labelled or chosen texts first, of these the
    largest (TypiClust, algorithm 1).
    """
    known = vectors[:0] if known is None else known
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
            places = np.flatnonzero(own == cluster)
            waiting[cluster] = places[densest(vectors[places], centres[cluster])][::-1].tolist()
        chosen.append(waiting[cluster].pop())
        covered[cluster] += 1
        sizes[cluster] -= 1
    return chosen


def _accepted(wanted: Floats, random: np.random.Generator) -> Places:
    """Places in the order in which repeated passes accept them.

    The pass in which a text is accepted has a geometric distribution: no pass needs to be made.
    """
    top = wanted.max(initial=0.0)
    chance = wanted / top if top > 0 else np.ones(len(wanted))
    passes = np.where(chance > 0, random.geometric(chance.clip(1e-9, 1)), np.inf)
    return np.lexsort((random.random(len(wanted)), passes))


def _size(readings: Sequence[Reading], vectors: Embeddings | None) -> int:
    """How many texts there are to choose from."""
    sizes = {len(one.answers) for one in readings} | (set() if vectors is None else {len(vectors)})
    if len(sizes) != 1:
        found = ", ".join(map(str, sorted(sizes))) or "none"
        raise ValueError(f"predictions and embeddings must be of the same texts; found sizes: {found}")
    return sizes.pop()


def _require(given: bool, how: Selection, what: str) -> None:
    if not given:
        raise ValueError(f"the selection {how!r} needs {what}, and none were given")


def _mean_probabilities(readings: Sequence[Reading]) -> Probabilities | None:
    parts = [one.probabilities for one in readings if one.probabilities is not None]
    if len(parts) < len(readings):
        return None
    if len({part.shape for part in parts}) > 1:
        raise ValueError("the members of a committee must have the same labels in the same order")
    return np.asarray(sum(parts[1:], parts[0].astype(float)) / len(parts))


def _mean_of_classes(readings: Sequence[Reading]) -> Probabilities | None:
    """Mean probabilities where exactly one label is right; else None."""
    return None if readings[0].multilabel else _mean_probabilities(readings)


def _margin(readings: Sequence[Reading]) -> Floats:
    p = _mean_of_classes(readings)
    if p is None:
        return _mean([one.margin for one in readings])
    top = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def _entropy(readings: Sequence[Reading]) -> Floats:
    p = _mean_probabilities(readings)
    if p is None:
        return _mean([one.entropy for one in readings])
    return entropy(np.stack([p, 1 - p], -1)).mean(1) if readings[0].multilabel else entropy(p)


def _vote_entropy(readings: Sequence[Reading]) -> Floats:
    votes = [Counter(answers) for answers in zip(*(one.answers for one in readings), strict=True)]
    highest = np.log(max(len(readings), 2))
    shares = [np.array(list(of.values())) / len(readings) for of in votes]
    return np.array([float((share * -np.log(share)).sum()) / highest for share in shares])


def _predicted(readings: Sequence[Reading]) -> Places:
    """The number of each text's most probable label, shape (n,)."""
    p = _mean_probabilities(readings)
    return np.zeros(len(readings[0].answers), np.int64) if p is None else p.argmax(1)


def _mean(scores: Sequence[NDArray[np.float64]]) -> Floats:
    return np.asarray(np.mean(scores, axis=0), np.float64)
