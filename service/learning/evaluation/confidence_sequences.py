"""Time-uniform bounds on sums of paired loss differences.

Two boundaries, each exact for any number of observations:

- `block_boundary` for sums over blocks whose signs are as good as coin tosses. Where X is symmetric given the past,
  exp(lambda S - lambda^2/2 V) with V the sum of X^2 is a supermartingale for each lambda (de la Pena 1999, A general
  class of exponential inequalities for martingales and ratios, Lemma 6.1); the integral over lambda ~ N(0, 1/rho) has
  the closed form of Robbins (1970, Statistical methods related to the law of the iterated logarithm; as in Howard,
  Ramdas, McAuliffe, Sekhon 2021, Time-uniform, nonparametric, nonasymptotic confidence sequences, equation 14).
- `event_boundary` for single events, however skewed: where X >= -1 has mean zero given the past, exp(lambda S -
  psi(lambda) V) with psi(lambda) = -log(1 - lambda) - lambda is a supermartingale for each lambda of [0, 1)
  (Fan, Grama, Liu 2015, Exponential inequalities for martingales with applications, Lemma 4.1). It is mixed over a
  grid of lambda with the weights of the same normal density.

A mixture of such supermartingales begins at 1. By Ville's inequality, the probability that it ever reaches 1/level is
at most level.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_LAMBDAS = np.geomspace(1e-4, 0.95, 64)
_PSI = -np.log1p(-_LAMBDAS) - _LAMBDAS
_NEWTON_STEPS = 50


def tune_rho(spread: float, *, events: float, level: float) -> float:
    """Return the rho that makes the boundary narrowest after `events` of this mean square (Howard et al., 3.5)."""
    width = -2 * math.log(level)
    return spread * events / (width + math.log1p(width))


def block_boundary(squares: float, *, rho: float, level: float) -> float:
    """Return what the absolute sum of symmetric blocks ever reaches with probability at most `level`."""
    inner = squares + rho
    return math.sqrt(inner * (math.log(inner / rho) - 2 * math.log(level)))


def event_boundary(squares: float, *, rho: float, level: float) -> float:
    """Return what the absolute sum of differences in [-1, 1] ever reaches with probability at most `level`."""
    threshold = math.log(2 / level)
    offsets = _log_weights(rho) - _PSI * squares
    found = float(np.min((threshold - offsets) / _LAMBDAS))
    for _ in range(_NEWTON_STEPS):
        exponents = offsets + _LAMBDAS * found
        top = float(exponents.max())
        shares = np.exp(exponents - top)
        total = float(shares.sum())
        step = (top + math.log(total) - threshold) * total / float(shares @ _LAMBDAS)
        found -= step
        if step <= 1e-12 * max(found, 1.0):
            break
    return found


def _log_weights(rho: float) -> npt.NDArray[np.float64]:
    """Return log weights of a normal density with variance 1/rho on the logarithmic grid of lambda; they sum to 1."""
    found: Any = np.log(_LAMBDAS) - rho * _LAMBDAS**2 / 2
    top = found.max()
    return np.asarray(found - top - math.log(np.exp(found - top).sum()))
