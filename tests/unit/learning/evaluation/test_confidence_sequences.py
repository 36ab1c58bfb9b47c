"""The boundaries equal those of their mixtures, and chance crosses them no more often than allowed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from service.learning.evaluation import confidence_sequences

LEVELS = st.sampled_from([0.1, 0.05, 0.025, 0.001])


@given(st.floats(0, 1e6), st.floats(0.05, 1e4), LEVELS)
def test_of_blocks_is_where_the_integral_reaches_its_level(squares: float, rho: float, level: float) -> None:
    """Integrated numerically over the normal density, the supermartingale equals 1/level on the boundary."""
    found = confidence_sequences.block_boundary(squares, rho=rho, level=level)
    centre, width = found / (squares + rho), 1 / math.sqrt(squares + rho)
    density = stats.norm(scale=1 / math.sqrt(rho))

    def integrand(value: float) -> float:
        return math.exp(value * found - value**2 * squares / 2 + density.logpdf(value) + math.log(level))

    reached, _ = integrate.quad(integrand, centre - 12 * width, centre + 12 * width, points=[centre])
    assert reached == pytest.approx(1.0, rel=1e-6)


@given(st.floats(0, 1e5), st.floats(0.05, 1e4), LEVELS)
def test_of_events_is_where_the_mixture_reaches_half_its_level(squares: float, rho: float, level: float) -> None:
    """Summed over its grid as the definition has it, the mixture equals 2/level on the boundary."""
    found = confidence_sequences.event_boundary(squares, rho=rho, level=level)
    values = np.geomspace(1e-4, 0.95, 64)
    weights = values * stats.norm(scale=1 / math.sqrt(rho)).pdf(values)
    psi = -np.log(1 - values) - values
    logs = np.log(weights / weights.sum(), where=weights > 0, out=np.full(64, -np.inf)) + values * found - psi * squares
    assert np.logaddexp.reduce(logs) == pytest.approx(math.log(2 / level), abs=1e-6)


@given(st.floats(0, 0.9499), st.floats(-1, 50))
def test_what_of_events_rests_on(bet: float, difference: float) -> None:
    """exp(l x - psi(l) x^2) is at most 1 + l x for x of at least -1, so its mean is at most 1 if x has mean 0."""
    psi = -math.log1p(-bet) - bet
    assert math.exp(bet * difference - psi * difference**2) <= (1 + bet * difference) * (1 + 1e-12)


@given(st.floats(0, 5), st.floats(0, 50))
def test_what_of_blocks_rests_on(bet: float, size: float) -> None:
    """For x and -x equally likely, exp(l x - l^2 x^2 / 2) has a mean of at most 1."""
    logs = [sign * bet * size - (bet * size) ** 2 / 2 for sign in (1, -1)]
    assert np.logaddexp.reduce(logs) - math.log(2) <= 1e-12


@pytest.mark.parametrize("rho", [5.0, 50.0, 500.0])
def test_a_fair_walk_crosses_of_blocks_no_oftener_than_it_may(rho: float) -> None:
    """The exact crossing probability of 3,000 coin tosses, checked after each, is just below the level."""
    steps, level = 3000, 0.05
    chances = np.zeros(2 * steps + 3)
    chances[steps + 1] = 1.0
    places = np.arange(-steps - 1, steps + 2)
    crossed = 0.0
    for step in range(1, steps + 1):
        chances = (np.roll(chances, 1) + np.roll(chances, -1)) / 2
        over = np.abs(places) >= confidence_sequences.block_boundary(step, rho=rho, level=level)
        crossed += chances[over].sum()
        chances[over] = 0.0
    assert level / 10 < crossed <= level


@pytest.mark.parametrize("share", [0.5, 0.05, 0.002])
@pytest.mark.parametrize("rho", [1.0, 30.0])
def test_a_skewed_walk_crosses_of_events_no_oftener_than_it_may(share: float, rho: float) -> None:
    """For small gains and rare losses of 1 with mean zero, each side is crossed with at most half the level."""
    steps, level, gain = 1000, 0.05, share / (1 - share)
    chances = np.zeros(steps + 2)
    chances[0] = 1.0
    lost = np.arange(steps + 2)
    grid = np.linspace(0, steps, 4 * steps)  # between its points the boundary is taken for lower than it is
    reached = np.asarray([confidence_sequences.event_boundary(one, rho=rho, level=level) for one in grid])
    above = below = 0.0
    for step in range(1, steps + 1):
        chances = chances * (1 - share) + np.roll(chances, 1) * share
        sums, squares = (step - lost) * gain - lost, (step - lost) * gain**2 + lost
        limits = np.interp(squares[: step + 1], grid, reached)
        for sign in (1, -1):
            over = np.flatnonzero(sign * sums[: step + 1] >= limits)
            crossed = chances[over].sum()
            above, below = (above + crossed, below) if sign > 0 else (above, below + crossed)
            chances[over] = 0.0
    assert max(above, below) <= level / 2


def test_tuned_is_narrowest_where_it_was_asked_to_be() -> None:
    """No other rho gives a narrower boundary after that number of events."""
    best = confidence_sequences.tune_rho(0.2, events=5000, level=0.05)
    widths = [
        confidence_sequences.block_boundary(1000, rho=best * factor, level=0.05) for factor in (0.5, 0.9, 1.0, 1.1, 2.0)
    ]
    assert min(widths) == pytest.approx(widths[2], rel=1e-4)
