"""Measure how often a challenger that is no better is promoted, and how often one that is better is.

The upper confidence limit of the share of false promotions (Clopper and Pearson, 1934) is held to the bound.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy import stats

from benchmarks.claims import Claim
from benchmarks.disagreement import episodes, independent, rare_and_large, spells
from service.domain.specification.promotion import ComparisonVerdict, Loss, PromoteSpec
from service.domain.stream.events import Task
from service.learning.evaluation.losses import LossPairs
from service.learning.evaluation.sequential_test import SequentialComparison, SequentialTestSettings

Streams: TypeAlias = Callable[[np.random.Generator, tuple[int, int]], Any]

EVENTS = 20_000
CONFIDENCE = 0.95
SHARES = (0.1, 0.3)
POWER = {0.1: 95.0, 0.3: 90.0}
SPEC = PromoteSpec(loss=Loss.ZERO_ONE)


def measure(events: int) -> list[Claim]:
    """Simulate one run of 20,000 events for each thousand of `events`."""
    runs = max(events // 1000, 20)
    equal: dict[str, Streams] = {}
    for share in SHARES:
        about = f"{share:.0%} disagreement"
        equal[f"{about}, independent"] = partial(independent, share=share)
        equal[f"{about}, episodes of 10 events"] = partial(episodes, share=share, length=10)
        equal[f"{about}, episodes of 50 events"] = partial(episodes, share=share, length=50)
        equal[f"{about}, spells of 50 events"] = partial(spells, share=share, length=50)
    equal["rare large losses"] = partial(rare_and_large, share=0.002)
    naive = _peeked(partial(independent, share=0.3), runs)
    return [
        *(_false(name, _promoted(streams, runs), at_most=5.0) for name, streams in equal.items()),
        *(_power(share, runs) for share in SHARES),
        _false("30% disagreement, episodes of 500 events", _promoted(_far, runs), note="longer than four blocks"),
        _false("30% disagreement, independent, by a z-test", naive, note="at 0.95, looked at after each block"),
    ]


def _promoted(streams: Streams, runs: int) -> list[int]:
    """Return for each run after how many events the challenger was promoted, or 0."""
    found = []
    for differences in streams(np.random.default_rng(1), (runs, EVENTS)):
        pairs = LossPairs(np.maximum(differences, 0).astype(float), np.maximum(-differences, 0).astype(float))
        done = SequentialComparison(SequentialTestSettings.of_shadow(SPEC, Task.BINARY, ordinal=1)).updated(pairs)
        found.append(done.events if done.verdict is ComparisonVerdict.PROMOTE else 0)
    return found


def _peeked(streams: Streams, runs: int) -> list[int]:
    """Return the same for a z-test at 0.95 that is repeated after each block, without correcting for repetition."""
    blocks = np.arange(SPEC.shadow.min_events, EVENTS + 1, SPEC.shadow.block)
    differences = streams(np.random.default_rng(1), (runs, EVENTS))
    sums, squares = (np.cumsum(one, axis=1, dtype=np.int32)[:, blocks - 1] for one in (differences, differences**2))
    crossed = sums >= stats.norm.ppf(0.975) * np.sqrt(squares)
    return [int(blocks[row.argmax()]) if row.any() else 0 for row in crossed]


def _far(chance: np.random.Generator, shape: tuple[int, int]) -> Any:
    return episodes(chance, shape, share=0.3, length=500)


def _false(name: str, found: list[int], **others: Any) -> Claim:
    """Return the claim about the share of false promotions."""
    promoted, runs = sum(map(bool, found)), len(found)
    limit = 100.0 if promoted == runs else 100 * float(stats.beta.ppf(CONFIDENCE, promoted + 1, runs - promoted))
    return Claim(f"{name}: false promotions", limit, 100 * promoted / runs, limit, unit="%", **others)


def _power(share: float, runs: int) -> Claim:
    found = _promoted(partial(independent, share=share, gain=0.02), runs)
    power = 100 * sum(map(bool, found)) / runs
    error = 100 * stats.norm.ppf((1 + CONFIDENCE) / 2) * math.sqrt(power / 100 * (1 - power / 100) / runs)
    note = f"{runs:,} runs of {EVENTS:,} events; half of the promotions after {np.median([n for n in found if n]):,.0f}"
    return Claim(
        f"{share:.0%} disagreement, 2 points better: promoted",
        power,
        power - error,
        min(power + error, 100.0),
        unit="%",
        at_least=POWER[share],
        note=note,
    )
