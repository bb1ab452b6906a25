"""Test clustering and distances."""

from collections import Counter

import numpy as np
import pytest
from tutelage.student.clustering import densest, kmeans, spread_out, squared_distance


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def blobs(sizes: list[int], *, width: int = 8, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """Return unit vectors around as many axes as there are sizes."""
    random = np.random.default_rng(seed)
    centres = np.repeat(np.eye(width)[: len(sizes)], sizes, axis=0)
    return unit(*map(tuple, centres + random.normal(0, noise, centres.shape)))


def test_k_means_finds_separate_clusters() -> None:
    vectors = blobs([40, 20, 10])
    members, centres = kmeans(vectors, 3, np.random.default_rng(0))
    assert centres.shape == (3, 8)
    for axis in range(3):
        assert len(set(members[vectors.argmax(1) == axis])) == 1
    assert sorted(Counter(members.tolist()).values()) == [10, 20, 40]
    own = members == members[0]
    assert centres[members[0]] == pytest.approx(vectors[own].mean(0), abs=1e-6)


def test_k_means_handles_repeated_rows_and_as_many_clusters_as_rows() -> None:
    same = np.repeat(unit((1, 0), (0, 1)), 5, axis=0)
    members, _ = kmeans(same, 4, np.random.default_rng(0))
    assert len(set(members[:5])) == len(set(members[5:])) == 1
    assert members[0] != members[5]
    apart = np.eye(5, dtype=np.float32)
    assert sorted(kmeans(apart, 5, np.random.default_rng(0))[0]) == list(range(5))


def test_k_means_fits_large_sets_on_a_sample_and_assigns_all_rows() -> None:
    vectors = blobs([15_000, 8_000, 2_000])
    members, _ = kmeans(vectors, 3, np.random.default_rng(0))
    assert sorted(Counter(members.tolist()).values()) == [2_000, 8_000, 15_000]


def test_squared_distances_are_to_the_nearest_vector() -> None:
    vectors = unit((1, 0), (1, 1), (-1, 0))
    assert squared_distance(vectors, unit((1, 0), (0, 1))) == pytest.approx([0, 2 - 2**0.5, 2], abs=1e-6)
    assert squared_distance(vectors, None) == pytest.approx([2, 2, 2])
    many = blobs([3000, 2500])
    nearest = np.concatenate([(many[i : i + 500] @ many[1000:].T).max(1) for i in range(0, 5500, 500)])
    assert squared_distance(many, many[1000:]) == pytest.approx((2 - 2 * nearest).clip(0, 2), abs=1e-6)


def test_picks_are_drawn_by_weight_times_squared_distance() -> None:
    vectors, known = unit((1, 0, 0), (0, 1, 0), (1, 1, 0)), unit((1, 0, 0))
    weights = np.array([9.0, 1.0, 1.0])  # squared distances: 0, 2, 2 - √2
    draws = [
        spread_out(vectors, weights, [0], random=np.random.default_rng(seed), known=known)[0]
        for seed in range(1000)
    ]
    counts = Counter(draws)
    assert counts[0] == 0
    assert counts[1] / 1000 == pytest.approx(2 / (4 - 2**0.5), abs=0.04)
    # When only the known vector is left, it is taken too.
    every = spread_out(vectors, weights, [0] * 3, random=np.random.default_rng(0), known=known)
    assert every[2] == 0


def test_the_densest_text_has_the_nearest_neighbours() -> None:
    vectors = unit((1, 0), (1, 0.1), (1, 0.12), (1, 0.14), (1, 2))
    order = densest(vectors, vectors.mean(0))
    assert order[0] == 2
    assert order[-1] == 4
    assert densest(vectors[:1], vectors[0]).tolist() == [0]
