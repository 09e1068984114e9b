"""Parts of a score: they add up, whatever the maps hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tellapart.evaluation.contributions import contributions, spread_onto

NUMBERS = st.floats(-5, 5, width=32)


def vector_of(maps, norm=(), epsilon=1e-6):
    """Features as the networks have them, by part."""
    final = maps["final"].mean(axis=(1, 2), dtype=np.float64)
    if norm:
        final = norm[0] * (final - final.mean()) / np.sqrt(final.var() + epsilon) + norm[1]
    parts = {"final": final}
    for name in sorted(maps):
        if name != "final":
            parts[f"{name}_mean"] = maps[name].mean(axis=(1, 2), dtype=np.float64)
            parts[f"{name}_std"] = maps[name].std(axis=(1, 2), dtype=np.float64)
    return parts


@given(
    arrays(np.float32, (3, 2, 2), elements=NUMBERS),
    arrays(np.float32, (2, 5, 4), elements=NUMBERS),
    st.integers(0, 1000),
    st.booleans(),
    st.booleans(),
)
def test_the_parts_add_up_to_the_score(last, early, seed, normed, pooled):
    maps = {"final": last, "stage0": early}
    rng = np.random.default_rng(seed)
    norm = (rng.normal(size=3), rng.normal(size=3)) if normed else ()
    features = vector_of(maps, norm)
    weights, means = (
        {name: rng.normal(size=len(part)) for name, part in features.items()} for _ in range(2)
    )
    score = sum(float(weights[k] @ (features[k] - means[k])) for k in features) + 0.25
    found = contributions(maps, features, weights, means, 0.25, pooled=pooled, norm=norm)
    assert found.total == pytest.approx(score, abs=1e-6)
    assert found.on_grid(14).sum() + found.rest == pytest.approx(score, abs=1e-6)
    assert ("final" in found.parts) == pooled


def test_a_place_that_alone_speaks_for_a_class_has_it_all():
    last = np.zeros((2, 4, 4), np.float32)
    last[1, 3, 0] = 16.0
    zero = {"final": np.zeros(2)}
    found = contributions(
        {"final": last}, vector_of({"final": last}), {"final": np.array([1.0, 2.0])}, zero, 0.0
    )
    assert found.parts["final"][3, 0] == pytest.approx(2.0)
    assert np.count_nonzero(found.parts["final"]) == 1
    grid = found.on_grid(8)
    assert np.unravel_index(grid.argmax(), grid.shape) in {(6, 0), (6, 1), (7, 0), (7, 1)}


def test_a_deviation_is_shared_as_the_variance_is():
    """One place of nine differs: it has eight ninths of the variance of its channel."""
    early = np.zeros((1, 3, 3), np.float32)
    early[0, 0, 0] = 9.0
    maps = {"final": np.zeros((1, 1, 1), np.float32), "stage0": early}
    features = vector_of(maps)
    weights = {name: np.zeros(1) for name in features} | {"stage0_std": np.ones(1)}
    means = {name: np.zeros(1) for name in features}
    part = contributions(maps, features, weights, means, 0.0).parts["stage0"]
    assert part.sum() == pytest.approx(early.std())
    assert part[0, 0] / part.sum() == pytest.approx(8 / 9)


def test_an_even_map_gives_every_place_the_same():
    early = np.full((1, 2, 2), 3.0, np.float32)
    maps = {"final": np.zeros((1, 1, 1), np.float32), "stage0": early}
    features = vector_of(maps)
    weights = {name: np.ones(1) for name in features}
    means = {name: np.zeros(1) for name in features}
    part = contributions(maps, features, weights, means, 0.0).parts["stage0"]
    np.testing.assert_allclose(part, 0.75)


@given(st.integers(1, 130), st.integers(1, 130))
def test_spreading_keeps_every_sum(side, length):
    matrix = spread_onto(side, length)
    assert matrix.shape == (side, length)
    np.testing.assert_allclose(matrix.sum(axis=0), 1)
    assert (matrix >= 0).all()
