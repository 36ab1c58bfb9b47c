"""The guard refuses what would corrupt a model, and batches do not matter to it."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification.model import GuardSpec
from service.domain.stream.events import Event, Features, RefusalReason, Task
from service.learning.guard.guard import FeatureGuard


def _events(xs: list[Features], y: float | None = None) -> list[Event]:
    return [Event(offset=at, id=at, ts=at, x=x, y=y) for at, x in enumerate(xs)]


def _warm(spec: GuardSpec | None = None, count: int = 100) -> FeatureGuard:
    guard = FeatureGuard(spec or GuardSpec())
    xs: list[Features] = [{"a": float(at % 7), "s": "x", "b": True} for at in range(count)]
    assert not guard.admit(_events(xs)).refused
    return guard


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        ({"a": 9e11}, RefusalReason.OUT_OF_RANGE),
        ({"a": -9e11}, RefusalReason.OUT_OF_RANGE),
        ({"a": 2e12}, RefusalReason.MAGNITUDE),
        ({"a": 10**400}, RefusalReason.MAGNITUDE),
        ({"a": math.nan}, RefusalReason.NON_FINITE),
        ({"a": math.inf}, RefusalReason.NON_FINITE),
        ({"a": "1"}, RefusalReason.TYPE_CHANGED),
        ({"a": True}, RefusalReason.TYPE_CHANGED),
        ({"s": 1}, RefusalReason.TYPE_CHANGED),
        ({"b": 1}, RefusalReason.TYPE_CHANGED),
        ({"s": "x" * 1025}, RefusalReason.MAGNITUDE),
        ({"a": [1]}, RefusalReason.NON_SCALAR_FEATURE),
    ],
)
def test_refuses_with_a_reason(x: Any, reason: RefusalReason) -> None:
    """Each fault has its reason, in a batch of its own and among good events."""
    guard = _warm()
    state = guard.state()
    assert [one.reason for one in guard.admit(_events([x])).refused] == [reason]
    mixed = FeatureGuard.restore(GuardSpec(), state).admit(_events([{"a": 1.0}, x, {"a": 2.0}]))
    assert [(one.event.offset, one.reason) for one in mixed.refused] == [(1, reason)]
    assert [event.offset for event in mixed.events] == [0, 2]


def test_integers_past_64_bits_are_refused_whatever_the_limit() -> None:
    """A generous max_magnitude admits large floats but no integers past 64 bits."""
    guard = FeatureGuard(GuardSpec(max_magnitude=1e300))
    refused = guard.admit(_events([{"a": 2**70}, {"a": 1e30}])).refused
    assert [(one.event.offset, one.reason) for one in refused] == [(0, RefusalReason.MAGNITUDE)]


def test_null_says_nothing() -> None:
    """A null is admitted and fixes no type."""
    guard = FeatureGuard(GuardSpec())
    assert not guard.admit(_events([{"a": None}, {"a": 1}, {"a": None}, {"a": 2.5}])).refused


def test_a_new_norm_is_accepted() -> None:
    """After fifty values past the limits within a hundred the range is rebuilt from them."""
    guard = _warm()
    refused = guard.admit(_events([{"a": 1e6 + at} for at in range(80)])).refused
    assert [one.event.offset for one in refused] == list(range(49))


def test_rare_outliers_never_become_the_norm() -> None:
    """One value in three past the limits stays refused."""
    guard = _warm()
    xs: list[Features] = [{"a": 9e11 if at % 3 == 0 else 1.0} for at in range(900)]
    assert len(guard.admit(_events(xs)).refused) == 300


def test_new_features_are_refused_where_configured() -> None:
    """After a thousand accepted events an unknown feature is refused, unless allowed."""
    guard = _warm(GuardSpec(new_features="refuse"), count=1000)
    assert [one.reason for one in guard.admit(_events([{"a": 1.0, "n": 1}])).refused] == [RefusalReason.NEW_FEATURE]
    assert not _warm(count=1000).admit(_events([{"a": 1.0, "n": 1}])).refused


def test_the_table_is_bounded() -> None:
    """Events with features past max_features are refused, those with known ones are still admitted."""
    guard = FeatureGuard(GuardSpec(max_features=2))
    refused = guard.admit(_events([{"a": 1, "b": 1}, {"c": 1}, {"a": 2}])).refused
    assert [(one.event.offset, one.reason) for one in refused] == [(1, RefusalReason.TOO_MANY_FEATURES)]


def test_regression_labels_obey_the_range() -> None:
    """A label far outside is refused for regression, and not checked for classes."""
    for task, expected in ((Task.REGRESSION, [RefusalReason.OUT_OF_RANGE]), (Task.MULTICLASS, [])):
        guard = FeatureGuard(GuardSpec(), task)
        assert not guard.admit(_events([{"a": float(at)} for at in range(64)], y=5)).refused
        guard = FeatureGuard.restore(GuardSpec(), guard.state())
        assert [one.reason for one in guard.admit(_events([{"a": 1.0}], y=9e11)).refused] == expected


VALUES = st.one_of(
    st.floats(-10, 10),
    st.sampled_from([0.0, 1e-12, 9e11, -9e11, 1e13, math.nan, 2**70, 10**400, None, "s", True, 100, 100 + 1e-8]),
)
MOSTLY_GOOD = st.one_of(st.floats(-10, 10), st.floats(-10, 10), st.floats(1e5, 1e6), VALUES)
STREAMS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"a": st.floats(-10, 10), "b": MOSTLY_GOOD}),
        st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4),
    ),
    max_size=150,
)


@settings(max_examples=60, deadline=None)
@given(STREAMS, st.lists(st.integers(1, 70), min_size=1, max_size=5), st.integers(0, 60))
def test_batches_do_not_matter(xs: list[Any], sizes: list[int], plain: int) -> None:
    """Any division into batches, with restores between them, gives equal verdicts and state."""
    events = _events([{"a": float(at % 5), "b": float(at % 3)} for at in range(plain)] + xs, y=1.0)
    whole, single, divided = (FeatureGuard(GuardSpec(max_features=3), Task.REGRESSION) for _ in range(3))
    expected = whole.admit(events).refused
    one_by_one = [refused for event in events for refused in single.admit([event]).refused]
    found, start, turn = [], 0, 0
    while start < len(events):
        size = sizes[turn % len(sizes)]
        found += divided.admit(events[start : start + size]).refused
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(divided.state()))
        divided = FeatureGuard.restore(GuardSpec(max_features=3), packed)
        start, turn = start + size, turn + 1
    assert [r[1:] for r in expected] == [r[1:] for r in one_by_one] == [r[1:] for r in found]
    assert whole.state() == single.state() == divided.state()
