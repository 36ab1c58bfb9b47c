"""Confidence intervals of metrics on a stream, where errors are autocorrelated.

Proportions: the score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
JASA 22 (1927), with the effective number of independent events, whose autocorrelations are summed as in C. J. Geyer,
"Practical Markov chain Monte Carlo", Statistical Science 7 (1992). All else: the stationary bootstrap of D. N. Politis
and J. P. Romano, JASA 89 (1994), with the block length of D. N. Politis and H. White, Econometric Reviews 23 (2004), as
corrected by A. Patton, D. N. Politis and H. White, Econometric Reviews 28 (2009).
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, stats

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def wilson_interval(successes: float, count: float, *, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; `count` need not be whole."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = successes / count
    shrink = 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / shrink
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / shrink
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def effective_sample_size(series: npt.ArrayLike) -> float:
    """Return the number of independent values that estimate the mean as well as this series; at most its length."""
    values = np.asarray(series, dtype=float)
    count = len(values)
    rho = _autocorrelations(values)
    if len(rho) < 3:
        return float(count)
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
    positive = int(np.argmax(pairs <= 0)) if np.any(pairs <= 0) else len(pairs)
    monotone = np.minimum.accumulate(pairs[:positive])
    return count / max(2 * float(monotone.sum()) - 1, 1.0)


def block_length(series: npt.ArrayLike) -> float:
    """Return the best mean block length for this series; at least 1, at most a third of the series."""
    values = np.asarray(series, dtype=float)
    count = len(values)
    covariances = _autocovariances(values)
    if count < 8 or covariances[0] <= 0:
        return 1.0
    most = math.ceil(min(3 * math.sqrt(count), count / 3))
    bandwidth = min(
        2 * _last_correlated(covariances / covariances[0], count),
        math.ceil(math.sqrt(count)) + _insignificant_run(count),
    )
    lags = np.arange(1, min(bandwidth, count - 1) + 1)
    if not len(lags):
        return 1.0
    taper = np.clip(2 * (1 - lags / bandwidth), 0, 1)
    around = covariances[lags] * taper
    drift = 2 * float((lags * around).sum())
    spread = float(covariances[0] + 2 * around.sum())
    if spread <= 0:
        return 1.0
    best = (2 * drift**2 / (2 * spread**2)) ** (1 / 3) * count ** (1 / 3)
    return float(min(max(best, 1.0), most))


def bootstrap_rows(count: int, *, block: float, resamples: int, seed: int) -> Iterator[Indices]:
    """Yield the row indices of each resample: blocks of geometric length that start anywhere and wrap around."""
    chance = np.random.default_rng(seed)
    for _ in range(resamples):
        begins = chance.random(count) < 1 / block
        begins[0] = True
        places = np.flatnonzero(begins)
        starts = chance.integers(count, size=len(places))
        offsets = np.repeat(starts - places, np.diff(places, append=count))
        yield np.mod(offsets + np.arange(count), count)


def percentile_interval(replicates: npt.ArrayLike, *, confidence: float) -> tuple[float, float] | None:
    """Return the interval of the finite replicates, or None if there are fewer than 20, or half are not finite."""
    values = np.asarray(replicates, dtype=float)
    finite = values[np.isfinite(values)]
    if len(finite) < 20 or 2 * len(finite) < len(values):
        return None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _last_correlated(rho: Floats, count: int) -> int:
    """Return the lag after which a run of autocorrelations is not significant."""
    run = _insignificant_run(count)
    most = math.ceil(math.sqrt(count)) + run
    threshold = 2 * math.sqrt(math.log10(count) / count)
    large = np.abs(rho[1 : most + 1]) >= threshold
    for lag in range(len(large) - run + 1):
        if not large[lag : lag + run].any():
            return lag or 1
    return int(np.flatnonzero(large)[-1]) + 1 if large.any() else 1


def _insignificant_run(count: int) -> int:
    return max(5, math.ceil(math.sqrt(math.log10(count))))


def _autocorrelations(values: Floats) -> Floats:
    covariances = _autocovariances(values)
    return covariances / covariances[0] if len(covariances) and covariances[0] > 0 else np.ones(0)


def _autocovariances(values: Floats) -> Floats:
    """Return the autocovariances at all lags, by an FFT padded so that it does not wrap around."""
    count = len(values)
    if not count:
        return np.zeros(0)
    size = fft.next_fast_len(2 * count, real=True)
    spectrum: Any = fft.rfft(values - values.mean(), size)
    found: Floats = fft.irfft(spectrum * spectrum.conj(), size)[:count] / count
    return found if found[0] > 1e-15 else np.zeros(count)
