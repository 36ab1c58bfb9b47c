"""How far a sum of paired loss differences strays from its mean, at all times together.

Two boundaries, each exact for any number of observations:

- `of_blocks` for sums over blocks whose signs are as good as tossed. Where X is symmetric given the past,
  exp(lambda S - lambda^2/2 V) with V the sum of X^2 is a supermartingale for each lambda (de la Pena 1999,
  A general class of exponential inequalities for martingales and ratios, Lemma 6.1); the integral over
  lambda ~ N(0, 1/rho) has the closed form of Robbins (1970, Statistical methods related to the law of the
  iterated logarithm; as in Howard, Ramdas, McAuliffe, Sekhon 2021, Time-uniform, nonparametric,
  nonasymptotic confidence sequences, equation 14).
- `of_events` for single events, however skewed: where X >= -1 has mean zero given the past, exp(lambda S -
  psi(lambda) V) with psi(lambda) = -log(1 - lambda) - lambda is a supermartingale for each lambda of [0, 1)
  (Fan, Grama, Liu 2015, Exponential inequalities for martingales with applications, Lemma 4.1). Mixed over
  a grid of lambda whose weights are those of the same normal density.

By Ville's inequality a mixture of such supermartingales, which begin at 1, ever reaches 1/level with a
probability of at most level.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_LAMBDAS = np.geomspace(1e-4, 0.95, 64)
_PSI = -np.log1p(-_LAMBDAS) - _LAMBDAS
_NEWTON_STEPS = 50


def tune_rho(spread: float, *, events: float, level: float) -> float:
    """The rho with which the normal mixture is narrowest after `events` of this mean square (Howard et al., 3.5)."""
    width = -2 * math.log(level)
    return spread * events / (width + math.log1p(width))


def block_boundary(squares: float, *, rho: float, level: float) -> float:
    """What the absolute sum of symmetric blocks reaches, ever, with probability at most `level`."""
    inner = squares + rho
    return math.sqrt(inner * (math.log(inner / rho) - 2 * math.log(level)))


def event_boundary(squares: float, *, rho: float, level: float) -> float:
    """What the absolute sum of differences within [-1, 1] reaches, ever, with probability at most `level`."""
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
    """Of a normal density with variance 1/rho, on a grid of even steps in log(lambda); they add up to 1."""
    found: Any = np.log(_LAMBDAS) - rho * _LAMBDAS**2 / 2
    top = found.max()
    return np.asarray(found - top - math.log(np.exp(found - top).sum()))
