"""Test that the nearest vectors are found exactly, as by comparing every pair."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tutelage.student.nearest import BLOCK, QUERIES, NearestVectors, nearest_before

Floats = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def clustered(count: int, dimensions: int, rng: np.random.Generator) -> Floats:
    """Return vectors whose variance falls from axis to axis, as that of embeddings does."""
    axes = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    scale = np.arange(1, dimensions + 1) ** -0.5
    return unit((rng.standard_normal((count, dimensions)) * scale) @ axes)


def at_cosine(vectors: Floats, cosines: NDArray[np.float64], rng: np.random.Generator) -> Floats:
    """Return for each vector another one at the given cosine."""
    away = rng.standard_normal(vectors.shape)
    away -= (away * vectors).sum(1, keepdims=True) * vectors
    return unit(cosines[:, None] * vectors + np.sqrt(1 - cosines[:, None] ** 2) * unit(away))


def brute_force(vectors: Floats, stored: Floats, threshold: float) -> tuple[list[int | None], Floats]:
    cosines = vectors.astype(np.float64) @ stored.T.astype(np.float64)
    best = cosines.max(1)
    rows = [int(row) if top >= threshold else None for row, top in zip(cosines.argmax(1), best, strict=True)]
    return rows, best


@pytest.mark.parametrize("dimensions", [24, 384])
@pytest.mark.parametrize("threshold", [0.92, 0.2])
def test_planted_neighbours_around_the_threshold_are_found_as_by_brute_force(
    dimensions: int, threshold: float
) -> None:
    rng = np.random.default_rng(0)
    stored = clustered(2 * BLOCK + 700, dimensions, rng)
    near = threshold + rng.uniform(-1, 1, 900) * rng.choice([1e-6, 1e-4, 1e-2], 900)
    queries = np.concatenate(
        [at_cosine(rng.choice(stored, 900, replace=False), near, rng), clustered(QUERIES, dimensions, rng)]
    )
    index = NearestVectors()
    for start in range(0, len(stored), 1_500):
        part = stored[start : start + 1_500]
        index.add([str(start + i) for i in range(len(part))], part)
    found = index.nearest(["new"] * len(queries), queries, threshold)
    rows, best = brute_force(queries, stored, threshold)
    assert [one and int(one[0]) for one in found] == rows
    assert [one[1] for one in found if one] == pytest.approx([b for b in best if b >= threshold], abs=1e-12)
    assert sum(row is None for row in rows) > 100 or threshold < 0.5
    assert sum(row is not None for row in rows) > 300


def test_dense_vectors_have_the_same_neighbours_as_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    centre = clustered(1, 96, rng)
    stored = unit(centre + 0.01 * rng.standard_normal((BLOCK + 300, 96)))
    index = NearestVectors()
    index.add([str(i) for i in range(len(stored))], stored)
    queries = unit(centre + 0.01 * rng.standard_normal((50, 96)))
    found = index.nearest(["new"] * 50, queries, 0.92)
    assert [one and int(one[0]) for one in found] == brute_force(queries, stored, 0.92)[0]


@pytest.mark.parametrize("count", [10, 2 * BLOCK])
def test_adding_a_key_again_replaces_its_vector(count: int) -> None:
    rng = np.random.default_rng(2)
    stored, [new] = clustered(count, 32, rng), clustered(1, 32, rng)
    index = NearestVectors()
    index.add([str(i) for i in range(count)], stored)
    index.add(["7"], new[None])
    [at_new] = index.nearest(["new"], new[None], 0.99)
    assert at_new == ("7", pytest.approx(1, abs=1e-6))
    [at_old] = index.nearest(["new"], stored[7:8], 0.99)
    assert at_old is None


def test_only_an_equal_key_has_similarity_one() -> None:
    [vector] = clustered(1, 16, np.random.default_rng(3))
    index = NearestVectors()
    index.add(["a"], vector[None])
    same, other, far = index.nearest(["a", "b", "a"], np.stack([vector, vector, -vector]), 0.9)
    assert (same, far) == (("a", 1.0), ("a", 1.0))
    assert other is not None
    assert 0.999 < other[1] < 1
    assert index.nearest(["b"], vector[None], 1.0) == [None]


def test_without_vectors_nothing_is_near() -> None:
    empty = np.zeros((0, 8), np.float32)
    assert NearestVectors().nearest(["a"], np.ones((1, 8), np.float32), 0.5) == [None]
    assert NearestVectors().nearest([], empty, 0.5) == []
    assert nearest_before([], empty, 0.5, taken=[]) == []


def test_in_a_batch_the_first_of_near_vectors_stays_and_only_such_ones_count() -> None:
    rng = np.random.default_rng(4)
    base = clustered(1_500, 64, rng)
    near = 0.92 + rng.uniform(-1, 1, 1_500) * rng.choice([1e-6, 1e-3, 3e-2], 1_500)
    vectors = np.concatenate([base, at_cosine(base, near, rng), at_cosine(base, near, rng)])
    vectors = vectors[rng.permutation(len(vectors))]
    taken = (rng.random(len(vectors)) < 0.1).tolist()
    found = nearest_before([str(i) for i in range(len(vectors))], vectors, 0.92, taken=taken)
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    free: list[int] = []
    expected: list[int | None] = []
    for i in range(len(vectors)):
        best = max(free, key=lambda j: cosines[i, j], default=i)
        expected.append(best if best != i and cosines[i, best] >= 0.92 else None)
        if expected[-1] is None and not taken[i]:
            free.append(i)
    assert [one and one[0] for one in found] == expected
    assert 500 < sum(one is not None for one in expected) < 3_000
