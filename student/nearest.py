"""The nearest of many stored vectors, exactly: unlike that of a graph index, the answer misses nothing.

A vector of length 1 is split by a rotation into a head of 64 numbers and a tail. Cauchy-Schwarz bounds the
cosine of two vectors by the product of their heads plus the product of the lengths of their tails. One matrix
product of 65 columns yields these bounds, and only the few pairs whose bound reaches the threshold are
compared in full. The rotation is a principal component analysis of the first stored vectors, so that heads
hold most of the length; with any other rotation the result would be the same, only slower. The bound is
standard in exact search (e.g. Teflioudi et al. 2015, LEMP); its use on embeddings in blocks is ours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 8_192  # stored vectors compared at a time; the first block is compared in full
QUERIES = 1_000  # vectors compared with a block at a time
_HEAD = 64  # with 32, real texts have 16 times as many candidates
_ROUNDING = 1e-4  # more than float32 products of vectors of length 1 can be wrong by
_DENSE = 0.02  # share of candidates from which a block is compared in full (ours)
_PAIRS = 4_096  # pairs compared at a time, so that memory is bounded

Floats = NDArray[np.float32]
Found = tuple[str, float]  # a key and its similarity
BELOW_ONE = float(np.nextafter(1, 0))


class NearestVectors:
    """Vectors of length 1 under keys, in memory. Adding a key again replaces its vector."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._keys: list[str] = []
        self._blocks: list[Floats] = []
        self._bounds: list[Floats] = []  # of full blocks and of the last one, once there are two
        self._rotation: Floats | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def add(self, keys: Sequence[str], vectors: Floats) -> None:
        """Store vectors of shape (len(keys), d)."""
        for key, vector in zip(keys, vectors, strict=True):
            row = self._rows.setdefault(key, len(self._keys))
            if row == len(self._keys):
                self._keys.append(key)
            block, place = divmod(row, BLOCK)
            if block == len(self._blocks):
                self._new_block(len(vector))
            self._blocks[block][place] = vector
        if self._rotation is not None:
            rows = np.array([self._rows[key] for key in keys], np.int64)
            bounds = _bounds(vectors, self._rotation)
            for block in set((rows // BLOCK).tolist()):
                here = rows // BLOCK == block
                self._bounds[block][rows[here] % BLOCK] = bounds[here]

    def nearest(self, keys: Sequence[str], vectors: Floats, threshold: float) -> list[Found | None]:
        """Return for each vector the key and the similarity of the nearest stored one, or None below a
        threshold.

        The similarity is the cosine, in float64, so that it depends neither on the other vectors nor on the
        blocks. It is 1 for an equal key, and below 1 for any other one, even if the vectors are equal.
        """
        found: list[Found | None] = []
        for start in range(0, len(vectors), QUERIES):
            found += self._nearest(vectors[start : start + QUERIES], threshold)
        return [(key, 1.0) if key in self else one for key, one in zip(keys, found, strict=True)]

    def _nearest(self, queries: Floats, threshold: float) -> list[Found | None]:
        best, rows = np.full(len(queries), -np.inf), np.zeros(len(queries), np.int64)
        bounds = None if self._rotation is None else _bounds(queries, self._rotation)
        for number, block in enumerate(self._blocks):
            stored = block[: len(self._keys) - number * BLOCK]
            if bounds is None:
                pairs = _close(queries, stored, threshold)
            else:
                at_most = bounds @ self._bounds[number][: len(stored)].T
                pairs = _at_least(at_most, np.full(len(queries), threshold - _ROUNDING, np.float32))
                if len(pairs[0]) > _DENSE * at_most.size:
                    pairs = _close(queries, stored, threshold)
            cosines = _cosines(queries, stored, *pairs)
            for i, j, cosine in zip(*pairs, cosines, strict=True):
                if cosine > best[i]:
                    best[i], rows[i] = cosine, number * BLOCK + j
        return [
            (self._keys[row], float(cosine)) if cosine >= threshold else None
            for row, cosine in zip(rows, np.minimum(best, BELOW_ONE), strict=True)
        ]

    def _new_block(self, dimensions: int) -> None:
        if len(self._blocks) == 1:
            self._rotation = _rotation(self._blocks[0])
            self._bounds = [_bounds(self._blocks[0], self._rotation)]
        self._blocks.append(np.empty((BLOCK, dimensions), np.float32))
        if self._rotation is not None:
            self._bounds.append(np.empty((BLOCK, self._rotation.shape[1] + 1), np.float32))


def nearest_before(
    keys: Sequence[str], vectors: Floats, threshold: float, *, taken: Sequence[bool]
) -> list[tuple[int, float] | None]:
    """Return for each vector the position and the similarity of the nearest one before it, or None.

    Only vectors count that are not `taken` and have themselves no such neighbour at or above the threshold.
    """
    found: list[tuple[int, float] | None] = []
    free, places = NearestVectors(), dict[str, int]()  # the vectors that count, and their positions
    for start in range(0, len(vectors), QUERIES):
        part = vectors[start : start + QUERIES]
        before = free.nearest(keys[start : start + QUERIES], part, threshold)
        wide = part.astype(np.float64)
        inner = np.minimum(wide @ wide.T, BELOW_ONE)
        here: list[int] = []
        for i, earlier in enumerate(before):
            key = keys[start + i]
            near = [(places[earlier[0]], earlier[1])] if earlier else []
            if key in places:
                near = [(places[key], 1.0)]
            elif here:
                j = here[int(inner[i, here].argmax())]
                near += [(start + j, float(inner[i, j]))] if inner[i, j] >= threshold else []
            found.append(max(near, key=lambda one: one[1], default=None))
            if not near and not taken[start + i]:
                here.append(i)
                places[key] = start + i
        free.add([keys[start + i] for i in here], part[here])
    return found


def _rotation(vectors: Floats) -> Floats:
    """Return the first principal axes (about the origin) as columns; they are orthonormal."""
    wide = vectors.astype(np.float64)
    _, axes = np.linalg.eigh(wide.T @ wide)
    return np.ascontiguousarray(axes[:, ::-1][:, :_HEAD], np.float32)


def _bounds(vectors: Floats, rotation: Floats) -> Floats:
    """Return the heads of vectors and, as the last column, the lengths of their tails, rounded up."""
    heads = vectors @ rotation
    squares = (vectors * vectors).sum(1) - (heads * heads).sum(1)
    tails = np.sqrt(squares.clip(0) + 1e-5)  # more than the difference of two sums in float32 is wrong by
    return np.concatenate([heads, tails[:, None]], axis=1)


def _close(queries: Floats, stored: Floats, threshold: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs that may be the nearest of their query and at or above the threshold."""
    cosines = queries @ stored.T
    return _at_least(cosines, np.maximum(threshold, cosines.max(1)) - _ROUNDING)


def _at_least(values: Floats, limits: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the values that reach the limit of their row."""
    rows = np.flatnonzero(values.max(1) >= limits)  # few rows: the largest values are found fast
    i, j = np.nonzero(values[rows] >= limits[rows, None])
    return rows[i], j


def _cosines(
    queries: Floats, stored: Floats, i: NDArray[np.intp], j: NDArray[np.intp]
) -> NDArray[np.float64]:
    parts = [slice(start, start + _PAIRS) for start in range(0, len(i), _PAIRS)]
    found = [np.einsum("nd,nd->n", queries[i[p]], stored[j[p]], dtype=np.float64) for p in parts]
    return np.concatenate([np.zeros(0), *found])
