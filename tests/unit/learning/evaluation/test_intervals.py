"""Intervals equal those of the literature, and keep their level where errors are autocorrelated."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from service.learning.evaluation.intervals import (
    block_length,
    bootstrap_rows,
    effective_sample_size,
    percentile_interval,
    wilson_interval,
)


def autoregressive(count: int, *, phi: float, seed: int) -> Any:
    """Return an autoregressive series."""
    chance = np.random.default_rng(seed)
    noise = chance.normal(size=count)
    found = np.empty(count)
    found[0] = noise[0] / math.sqrt(1 - phi**2)
    for i in range(1, count):
        found[i] = phi * found[i - 1] + noise[i]
    return found


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    """For whole counts the interval is the one that scipy computes."""
    successes, count = counts
    oracle = stats.binomtest(successes, count).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, count, confidence=confidence) == pytest.approx(
        (oracle.low, oracle.high), abs=1e-12
    )


def test_independent_values_count_in_full() -> None:
    """In a series without autocorrelation nearly all values count, and never more than there are."""
    found = [effective_sample_size(np.random.default_rng(seed).random(2000)) for seed in range(20)]
    assert np.mean(found) > 1700
    assert max(found) <= 2000


@pytest.mark.parametrize("phi", [0.3, 0.7, 0.9])
def test_dependent_values_count_for_fewer(phi: float) -> None:
    """An autoregressive series of n values counts as n (1 - phi) / (1 + phi), as theory has it."""
    found = np.median([effective_sample_size(autoregressive(5000, phi=phi, seed=seed)) for seed in range(15)])
    assert found == pytest.approx(5000 * (1 - phi) / (1 + phi), rel=0.15)


def test_blocks_grow_with_memory_and_with_the_series() -> None:
    """Blocks are short without autocorrelation, and longer for more of it and for longer series."""

    def typical(count: int, phi: float) -> float:
        return float(np.median([block_length(autoregressive(count, phi=phi, seed=seed)) for seed in range(9)]))

    assert typical(2000, 0.0) < 3
    assert typical(2000, 0.3) < typical(2000, 0.7) < typical(2000, 0.9)
    assert typical(500, 0.9) < typical(8000, 0.9)


def test_a_constant_series_needs_no_blocks() -> None:
    """A constant or nearly empty series has a block length of 1."""
    for series in ([], [1.0], [0.0] * 100, [1.0] * 7):
        assert block_length(series) == 1.0
        assert effective_sample_size(series) == len(series)


def test_resamples_are_blocks_that_go_round() -> None:
    """Rows are consecutive within blocks of the mean length, and every row is equally likely."""
    rows = np.concatenate(list(bootstrap_rows(200, block=8, resamples=300, seed=1)))
    assert rows.min() == 0
    assert rows.max() == 199
    follows = np.mean(np.mod(np.diff(rows), 200) == 1)
    assert follows == pytest.approx(1 - 1 / 8 + 1 / 8 / 200, abs=0.01)
    assert np.bincount(rows).std() / 300 < 0.15


def test_the_same_seed_draws_the_same() -> None:
    """The same seed draws the same resamples."""
    one, same, other = (list(bootstrap_rows(50, block=3, resamples=5, seed=seed)) for seed in (7, 7, 8))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_undefined_replicates_give_no_interval() -> None:
    """A metric that is undefined in more than half of the resamples has no interval."""
    assert percentile_interval([1.0] * 30 + [math.nan] * 40, confidence=0.95) is None
    assert percentile_interval([1.0] * 5, confidence=0.95) is None
    assert percentile_interval(np.arange(1001) / 1000, confidence=0.9) == pytest.approx((0.05, 0.95))


def covered(count: int, *, runs: int, phi: float) -> tuple[float, float, float]:
    """Return how often the intervals contain the true accuracy: plain Wilson, adjusted Wilson, and the bootstrap."""
    hits = np.zeros(3)
    for seed in range(runs):
        errors = (autoregressive(count, phi=phi, seed=seed) * math.sqrt(1 - phi**2) < stats.norm.ppf(0.8)).astype(float)
        effective = effective_sample_size(errors)
        share = errors.mean()
        drawn = bootstrap_rows(count, block=block_length(errors), resamples=200, seed=seed)
        spans = [
            wilson_interval(share * count, count, confidence=0.95),
            wilson_interval(share * effective, effective, confidence=0.95),
            percentile_interval([errors[rows].mean() for rows in drawn], confidence=0.95),
        ]
        hits += [span is not None and span[0] <= 0.8 <= span[1] for span in spans]
    naive, corrected, bootstrap = (hits / runs).tolist()
    return naive, corrected, bootstrap


@pytest.mark.slow
def test_intervals_hold_their_level_on_a_stream() -> None:
    """With autocorrelated errors, adjusted intervals cover nearly as often as they claim; plain Wilson does not."""
    naive, corrected, bootstrap = covered(2000, runs=300, phi=0.8)
    assert naive < 0.85
    assert corrected > 0.91
    assert bootstrap > 0.89
