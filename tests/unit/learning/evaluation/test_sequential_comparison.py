"""A comparison's verdict does not depend on batches, and only a better challenger is promoted."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification.promotion import (
    ComparisonEvidence,
    ComparisonVerdict,
    Loss,
    ProbationSpec,
    PromoteSpec,
    ShadowSpec,
)
from service.domain.stream.events import Task
from service.learning.evaluation.losses import LossPairs
from service.learning.evaluation.sequential_test import LOG_LOSS_CLIP, SequentialComparison, SequentialTestSettings

TERMS = SequentialTestSettings(Loss.ZERO_ONE, 0.025, min_events=200, max_events=4000, block=16, bound=1.0)


def disagreeing(events: int, *, gain: float, share: float = 0.3, seed: int = 1) -> LossPairs:
    """Return zero-one losses of two models that disagree on a share of the events."""
    drawn = np.random.default_rng(seed).random(events)
    return LossPairs(
        (drawn < (share + gain) / 2).astype(float), ((drawn >= (share + gain) / 2) & (drawn < share)) * 1.0
    )


def cut(pairs: LossPairs, start: int, end: int) -> LossPairs:
    """Return some of the pairs."""
    return LossPairs(pairs.champion[start:end], pairs.challenger[start:end])


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 400), max_size=12),
    st.sampled_from([-0.2, 0.0, 0.2]),
    st.sampled_from([Loss.ZERO_ONE, Loss.ABSOLUTE]),
)
def test_batches_do_not_matter(borders: list[int], gain: float, loss: Loss) -> None:
    """Whether fed at once, in any pieces, or through JSON in between, the state is the same to the last bit."""
    pairs = disagreeing(3000, gain=gain)
    noise = np.random.default_rng(2).random((2, 3000))
    pairs = LossPairs(pairs.champion + noise[0] / 3, pairs.challenger + noise[1] / 3)
    terms = replace(TERMS, loss=loss, bound=None if loss is Loss.ABSOLUTE else 1.0)
    found, start = SequentialComparison(terms), 0
    for size in [*borders, 3000]:
        found = SequentialComparison.from_json(
            json.loads(json.dumps(found.updated(cut(pairs, start, start + size)).to_json()))
        )
        start += size
    assert found == SequentialComparison(terms).updated(pairs)
    assert SequentialComparison.from_json(msgspec.msgpack.decode(msgspec.msgpack.encode(found.to_json()))) == found
    assert found.verdict is not ComparisonVerdict.WAIT or found.events_seen == 3000


@pytest.mark.parametrize(
    ("gain", "events", "verdict", "reason"),
    [
        (0.2, 4000, ComparisonVerdict.PROMOTE, "better by zero_one loss, at level 0.025"),
        (-0.2, 4000, ComparisonVerdict.REJECT, "worse by zero_one loss, at level 0.025"),
        (0.0, 4000, ComparisonVerdict.REJECT, "not shown to be better within 4000 events"),
        (0.0, 3999, ComparisonVerdict.WAIT, "not decided after 3999 of at most 4000 events"),
        (0.2, 199, ComparisonVerdict.WAIT, "not decided after 199 of at most 4000 events"),
        (0.2, 30, ComparisonVerdict.WAIT, "not decided after 30 of at most 4000 events"),
        (0.2, 0, ComparisonVerdict.WAIT, "not decided after 0 of at most 4000 events"),
    ],
)
def test_every_end_is_explained(gain: float, events: int, verdict: ComparisonVerdict, reason: str) -> None:
    """A better challenger is promoted, worse and equal ones are rejected, and few events decide nothing."""
    evidence = SequentialComparison(TERMS).updated(disagreeing(events, gain=gain)).evidence()
    assert (evidence.verdict, evidence.reason) == (verdict, reason)
    assert ComparisonEvidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence


@given(st.integers(0, 10_000), st.sampled_from([-0.2, -0.05, 0.0, 0.05, 0.2]))
def test_the_evidence_says_why(seed: int, gain: float) -> None:
    """The bounds contain the difference of the losses, and exclude zero exactly if the comparison is decided."""
    found = SequentialComparison(TERMS).updated(disagreeing(2000, gain=gain, seed=seed))
    evidence = found.evidence()
    assert evidence.champion_loss is not None
    assert evidence.challenger_loss is not None
    assert evidence.difference == pytest.approx(evidence.champion_loss - evidence.challenger_loss)
    assert evidence.lower is not None
    assert evidence.upper is not None
    assert evidence.lower < evidence.difference < evidence.upper
    assert (evidence.lower >= 0) == (evidence.verdict is ComparisonVerdict.PROMOTE)
    assert (evidence.upper <= 0) == (evidence.verdict is ComparisonVerdict.REJECT)


def test_a_verdict_is_final() -> None:
    """Events after the verdict change nothing."""
    decided = SequentialComparison(TERMS).updated(disagreeing(4000, gain=0.2))
    assert decided.events < 4000
    assert decided.updated(disagreeing(4000, gain=-0.2)) == decided


def test_nothing_is_decided_before_the_least_number_of_events() -> None:
    """A verdict comes no earlier than the first block that ends at or after the minimum number of events."""
    found = SequentialComparison(replace(TERMS, min_events=2000)).updated(disagreeing(4000, gain=0.25))
    assert found.verdict is ComparisonVerdict.PROMOTE
    assert 2000 <= found.events < 2016


def test_small_gains_prove_nothing_against_rare_large_losses() -> None:
    """A slightly better challenger on 3,000 events is not promoted if a rare loss could be a thousandfold."""
    pairs = LossPairs(np.full(3000, 0.001), np.zeros(3000))
    found = SequentialComparison(replace(TERMS, loss=Loss.BRIER)).updated(pairs)
    assert found.verdict is ComparisonVerdict.WAIT
    evidence = found.evidence()
    assert evidence.lower is not None
    assert evidence.lower < 0


def test_one_long_episode_proves_nothing() -> None:
    """A hundred consecutive events on which only the challenger is right do not promote it."""
    champion = np.zeros(4000)
    champion[1000:1100] = 1.0
    assert SequentialComparison(TERMS).updated(LossPairs(champion, np.zeros(4000))).verdict is ComparisonVerdict.REJECT


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_unit_of_a_regression_does_not_matter(unit: float) -> None:
    """Losses in other units give the same verdict after as many events, with bounds in these units."""
    chance = np.random.default_rng(3)
    pairs = LossPairs(np.abs(chance.normal(0, 1.3, 4000)), np.abs(chance.normal(0, 1.0, 4000)))
    terms = replace(TERMS, loss=Loss.ABSOLUTE, bound=None)
    here = SequentialComparison(terms).updated(pairs)
    there = SequentialComparison(terms).updated(LossPairs(pairs.champion * unit, pairs.challenger * unit))
    assert (there.verdict, there.events) == (here.verdict, here.events) == (ComparisonVerdict.PROMOTE, here.events)
    assert there.evidence().lower == pytest.approx((here.evidence().lower or 0) * unit)


def test_a_champion_without_losses_is_not_replaced() -> None:
    """A champion whose first losses are all zero is not replaced."""
    terms = replace(TERMS, loss=Loss.SQUARED, bound=None)
    assert (
        SequentialComparison(terms).updated(LossPairs(np.zeros(4000), np.zeros(4000))).verdict
        is ComparisonVerdict.REJECT
    )


def test_an_infinite_loss_is_clipped() -> None:
    """A confident wrong prediction costs the clip, not an infinite loss."""
    terms = SequentialTestSettings.of_shadow(PromoteSpec(loss=Loss.LOG), Task.BINARY, ordinal=1)
    pairs = LossPairs(np.full(2000, np.inf), np.full(2000, 0.1))
    evidence = SequentialComparison(terms).updated(pairs).evidence()
    assert evidence.champion_loss == pytest.approx(LOG_LOSS_CLIP)
    assert (
        SequentialComparison(terms).updated(LossPairs(np.full(4000, np.inf), np.full(4000, 0.1))).verdict
        is ComparisonVerdict.PROMOTE
    )


def test_terms_follow_from_the_specification() -> None:
    """The second challenger of a champion has a third of the first's level; probation has its own limit of events."""
    spec = PromoteSpec(
        shadow=ShadowSpec(min_events=900, max_events=9000, block=32), probation=ProbationSpec(events=800)
    )
    first, second = (SequentialTestSettings.of_shadow(spec, Task.BINARY, ordinal=ordinal) for ordinal in (1, 2))
    assert (first.loss, first.bound, first.min_events, first.max_events, first.block) == (
        Loss.BRIER,
        1.0,
        900,
        9000,
        32,
    )
    assert (first.level, second.level) == pytest.approx((0.025, 0.025 / 3))
    probation = SequentialTestSettings.of_probation(spec, Task.REGRESSION)
    assert (probation.min_events, probation.max_events, probation.bound) == (800, 800, None)
    assert (
        SequentialTestSettings.of_shadow(PromoteSpec(loss=Loss.SQUARED, clip=4.0), Task.REGRESSION, ordinal=1).bound
        == 4.0
    )
