"""The streams on which promotions are measured are what they are called."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.disagreement import episodes, independent, rare_and_large, spells
from benchmarks.promotions import _false

SHAPE = (200, 5000)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_independent_models_disagree_so_often(share: float) -> None:
    """The share is kept, and so is the gain."""
    found = independent(np.random.default_rng(1), SHAPE, share=share, gain=0.02)
    assert np.abs(found).mean() == pytest.approx(share, rel=0.02)
    assert found.mean() == pytest.approx(0.02, abs=0.002)


@pytest.mark.parametrize(("share", "length"), [(0.1, 10), (0.3, 50)])
def test_episodes_last_so_long(share: float, length: float) -> None:
    """Share and mean length are kept, and neither model is better."""
    found = episodes(np.random.default_rng(1), (400, 5000), share=share, length=length)
    begun = (found[:, 1:] != 0) & (found[:, :-1] == 0)
    assert np.abs(found).mean() == pytest.approx(share, rel=0.05)
    assert np.abs(found[:, 1:]).sum() / begun.sum() == pytest.approx(length, rel=0.1)
    assert abs(found.mean()) < 0.02


def test_spells_last_so_long() -> None:
    """Who is right stays so for spells of the mean length, while disagreement comes and goes."""
    found = spells(np.random.default_rng(1), SHAPE, share=1.0, length=50)
    changes = (found[:, 1:] != found[:, :-1]).mean()
    assert 1 / changes == pytest.approx(50, rel=0.05)
    assert np.abs(spells(np.random.default_rng(1), SHAPE, share=0.1, length=50)).mean() == pytest.approx(0.1, rel=0.05)


def test_rare_large_losses_have_mean_zero() -> None:
    """What is gained in small sums is lost in large ones."""
    assert abs(rare_and_large(np.random.default_rng(1), SHAPE, share=0.01).mean()) < 5e-4


@pytest.mark.parametrize(("promoted", "holds"), [(0, True), (38, True), (39, False), (1000, False)])
def test_the_limit_is_that_of_clopper_and_pearson(promoted: int, holds: bool) -> None:
    """With a chance as large as the limit no more than these were promoted in a twentieth of all cases."""
    claim = _false("", [1] * promoted + [0] * (1000 - promoted), at_most=5.0)
    if promoted < 1000:
        assert stats.binom.cdf(promoted, 1000, claim.value / 100) == pytest.approx(0.05)
    assert claim.holds is holds
