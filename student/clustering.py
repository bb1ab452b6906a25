"""Clustering of embeddings with numpy only: k-means, k-means++ picks, and density within clusters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tutelage.student.models.predictions import Floats

Embeddings = NDArray[np.float32]
Integers = NDArray[np.int64]

_BLOCK = 2048  # rows compared at a time, which limits the memory of a distance matrix
_FITTED = 20_000  # rows that k-means is fitted on; the others are only assigned to clusters (ours)
_CENTRAL = 1000  # number of texts nearest to a centre whose density is measured (ours)
_NEIGHBOURS = 20  # number of neighbours in TypiClust's density (Hacohen et al. 2022, section 3)


def kmeans(
    vectors: Embeddings, clusters: int, random: np.random.Generator, *, steps: int = 10
) -> tuple[Integers, Embeddings]:
    """Cluster unit vectors by Lloyd's algorithm with a k-means++ start (Arthur and Vassilvitskii 2007).

    If there are more than 20,000 rows, the fit uses a random sample of that size. A cluster that loses all
    its rows keeps its centre.

    Args:
        vectors: of shape (n, d), each of length 1.
        clusters: number of clusters, at most n.
        random: generator for the sample and the start.
        steps: maximum number of steps of Lloyd's algorithm.

    Returns:
        The cluster of each row, shape (n,), and the centres, shape (clusters, d).
    """
    fitted = vectors
    if len(vectors) > max(_FITTED, clusters):
        fitted = vectors[np.sort(random.choice(len(vectors), max(_FITTED, clusters), replace=False))]
    picked = spread_out(fitted, np.ones(len(fitted)), [0] * clusters, random=random)
    centres = fitted[picked].copy()
    members = np.full(len(fitted), -1)
    for _ in range(steps):
        before, members = members, nearest_centre(fitted, centres)
        if (before == members).all():
            break
        order = members.argsort(kind="stable")
        filled, starts, sizes = np.unique(members[order], return_index=True, return_counts=True)
        centres[filled] = np.add.reduceat(fitted[order], starts) / sizes[:, None]
    return nearest_centre(vectors, centres), centres


def nearest_centre(vectors: Embeddings, centres: Embeddings) -> Integers:
    """Return the index of the centre with the least Euclidean distance to each row, shape (n,)."""
    half = (centres**2).sum(1) / 2
    blocks = [
        (vectors[start : start + _BLOCK] @ centres.T - half).argmax(1)
        for start in range(0, len(vectors), _BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int64)


def spread_out(
    vectors: Embeddings,
    weights: Floats,
    turns: Sequence[int],
    *,
    random: np.random.Generator,
    groups: Integers | None = None,
    known: Embeddings | None = None,
) -> list[int]:
    """Pick rows far from each other and from `known`, by the seeding rule of k-means++.

    Each pick is drawn with a probability proportional to its weight times its squared distance to the
    nearest row picked before or known (Arthur and Vassilvitskii 2007; the weights are ours). All rows at
    an angle of 90 degrees or more count as equally far.

    Args:
        vectors: of shape (n, d), each of length 1.
        weights: of shape (n,), at least 0.
        turns: the group that each pick is taken from, in order; a group must have enough rows.
        random: generator for the draws.
        groups: the group of each row, shape (n,); all 0 by default.
        known: of shape (m, d): rows that count as picked before the first pick.

    Returns:
        Distinct indices of the picked rows, in the order of the picks.
    """
    distance = squared_distance(vectors, known)
    groups = np.zeros(len(vectors), np.int64) if groups is None else groups
    free = np.ones(len(vectors), bool)
    picked = []
    for group in turns:
        indices = np.flatnonzero(free & (groups == group))
        index = int(indices[_drawn(weights[indices] * distance[indices], weights[indices], random)])
        free[index] = False
        picked.append(index)
        distance = np.minimum(distance, 2 - 2 * (vectors @ vectors[index]).astype(float)).clip(0)
    return picked


def squared_distance(vectors: Embeddings, known: Embeddings | None) -> Floats:
    """Return the squared distance of each unit vector to the nearest of `known`, shape (n,), at most 2."""
    nearest = np.zeros(len(vectors))
    known = vectors[:0] if known is None else known
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for other in range(0, len(known), _BLOCK):
            cosines = vectors[rows] @ known[other : other + _BLOCK].T
            nearest[rows] = np.maximum(nearest[rows], cosines.max(1))
    return np.asarray((2 - 2 * nearest).clip(0))


def densest(vectors: Embeddings, centre: Embeddings) -> Integers:
    """Return the indices of a cluster's rows, sorted by density, the most typical first.

    The density is the inverse of the mean distance to the 20 nearest rows of the cluster (TypiClust,
    Hacohen et al. 2022, arXiv 2202.02794, eq. 1). It is measured for the 1,000 rows nearest to the centre;
    the others follow by their distance to it (ours: in large clusters all pairs would be too many).
    """
    order = (-(vectors @ centre)).argsort(kind="stable")
    central = order[:_CENTRAL]
    close = min(_NEIGHBOURS, len(vectors) - 1)
    if close < 1:
        return order
    parts = [central[start : start + 256] for start in range(0, len(central), 256)]
    means = [_mean_distance(vectors[part], vectors, close) for part in parts]
    return np.concatenate([central[np.concatenate(means).argsort(kind="stable")], order[_CENTRAL:]])


def _mean_distance(rows: Embeddings, vectors: Embeddings, close: int) -> Floats:
    """Return the mean distance of rows, which are among `vectors`, to their `close` nearest other rows."""
    nearest = -np.partition(-(rows @ vectors.T), close, axis=1)[:, : close + 1]  # the row itself is one
    distances = np.sqrt((2 - 2 * nearest.astype(float)).clip(0))
    return np.asarray((distances.sum(1) - distances.min(1)) / close)


def _drawn(chances: Floats, weights: Floats, random: np.random.Generator) -> int:
    """Draw an index in proportion to `chances`; if all are 0, to `weights`; if these are 0 too, uniformly."""
    for shares in (chances, weights):
        if (total := shares.sum()) > 0:
            return int(random.choice(len(shares), p=shares / total))
    return int(random.integers(len(chances)))
