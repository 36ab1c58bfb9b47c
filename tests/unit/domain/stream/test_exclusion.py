"""The forms of an exclusion, and the state from which a replay begins."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from service.domain.registry.registry import LineageId, VersionNumber
from service.domain.registry.replay_routes import AncestorState, base_states, replay_routes
from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import ExcludedRange, TimeRange, format_range, parse_range
from service.domain.stream.position import OffsetRange, Position
from service.errors import ConfigurationError

ONE = [TopicPartition("events", 0), TopicPartition("labels", 0), TopicPartition("labels", 1)]
FOUR = [TopicPartition("events", partition) for partition in range(4)]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "partitions", "found"),
    [
        ("1000..2000", ONE, OffsetRange("events", 0, 1000, 2000)),
        (" 0..1 ", ONE, OffsetRange("events", 0, 0, 1)),
        ("3:1000..2000", FOUR, OffsetRange("events", 3, 1000, 2000)),
        ("labels/1:5..6", ONE, OffsetRange("labels", 1, 5, 6)),
        ("2026-01-31T12:00Z..2026-01-31T13:00Z", ONE, TimeRange(NOON, NOON + timedelta(hours=1))),
        ("2026-01-31T13:00+01:00..2026-01-31T12:00:01Z", FOUR, TimeRange(NOON, NOON + timedelta(seconds=1))),
    ],
)
def test_forms(text: str, partitions: list[TopicPartition], found: ExcludedRange) -> None:
    """A range is offsets with topic and partition where needed, or two times; its text form can be parsed again."""
    assert parse_range(text, partitions, events="events") == found
    assert parse_range(format_range(found), partitions, events="events") == found


@pytest.mark.parametrize(
    ("text", "partitions", "words"),
    [
        ("1000..2000", FOUR, ["4 partitions of events", "PARTITION:FROM..TO", "0:1000..2000"]),
        ("4:1..2", FOUR, ["expected one of the model's partitions", "events/0, events/1, events/2, events/3"]),
        ("others/0:1..2", ONE, ["expected one of", "labels/1"]),
        ("2000..1000", ONE, ["FROM before TO"]),
        ("5..5", ONE, ["FROM before TO"]),
        ("-5..5", ONE, ["1000..2000", "2026-01-31T12:00Z"]),
        ("1000", ONE, ["FROM..TO"]),
        ("1000-2000", ONE, ["FROM..TO"]),
        ("yesterday..today", ONE, ["FROM..TO"]),
        ("2026-01-31T12:00..2026-01-31T13:00", ONE, ["without a zone"]),
        ("2026-01-31T12:00Z..2026-01-31T12:00Z", ONE, ["FROM before TO"]),
    ],
)
def test_what_is_no_exclusion(text: str, partitions: list[TopicPartition], words: list[str]) -> None:
    """An invalid range is refused with what was found and which forms there are."""
    with pytest.raises(ConfigurationError, match=re.escape(repr(text.strip()))) as caught:
        parse_range(text, partitions, events="events")
    for word in words:
        assert word in str(caught.value)


def test_a_range_of_times_ends_before_its_end() -> None:
    """A range of times includes its first moment and not its last."""
    hour = TimeRange(NOON, NOON + timedelta(hours=1))
    since, until = hour.bounds_ms
    assert [hour.contains(ms) for ms in (since - 1, since, until - 1, until)] == [False, True, True, False]


def run(first: int, last: int) -> OffsetRange:
    """Return offsets of the only partition."""
    return OffsetRange("events", 0, first, last)


def state(name: str, *order: OffsetRange, lineage: int = 1, seen: tuple[OffsetRange, ...] = ()) -> AncestorState:
    """Return a state that has learned these runs."""
    return AncestorState(name, name, LineageId(lineage), VersionNumber(1), Position(), list(order), seen)


INITIAL, EARLY, MIDDLE, LATE = (state(f"at {end}", run(0, end)) for end in (0, 20, 40, 60))
LINE = [INITIAL, EARLY, MIDDLE, LATE]
RESTORED = state("restored", run(0, 20), lineage=2, seen=(run(0, 60),))
AFTER = state("after", run(0, 20), run(60, 80), lineage=2, seen=(run(0, 60),))
REPLAYED = state("replayed", run(0, 20), run(30, 70), lineage=3)


@pytest.mark.parametrize(
    ("candidates", "order", "holes", "name", "rest"),
    [
        (LINE, [run(0, 70)], [], "at 60", [run(60, 70)]),
        (LINE, [run(0, 70)], [run(45, 50)], "at 40", [run(40, 45), run(50, 70)]),
        (LINE, [run(0, 70)], [run(40, 50)], "at 40", [run(50, 70)]),
        (LINE, [run(0, 70)], [run(39, 50)], "at 20", [run(20, 39), run(50, 70)]),
        (LINE, [run(0, 70)], [run(30, 45), run(40, 50)], "at 20", [run(20, 30), run(50, 70)]),
        (LINE, [run(0, 70)], [run(45, 50), run(5, 6)], "at 0", [run(0, 5), run(6, 45), run(50, 70)]),
        (LINE, [run(0, 70)], [run(0, 70)], "at 0", []),
        # The champion was restored to 20 at offset 60: what it never learned is not learned now.
        ([*LINE, RESTORED, AFTER], [run(0, 20), run(60, 90)], [], "after", [run(80, 90)]),
        ([*LINE, RESTORED, AFTER], [run(0, 20), run(60, 90)], [run(70, 75)], "restored", [run(60, 70), run(75, 90)]),
        # The restored state has seen 20..60 in its metrics without having learned it.
        ([*LINE, RESTORED, AFTER], [run(0, 20), run(60, 90)], [run(30, 35)], "at 20", [run(60, 90)]),
        # A replay that left out 20..30 is usable only where that stays excluded.
        ([*LINE, REPLAYED], [run(0, 90)], [run(75, 80)], "at 60", [run(60, 75), run(80, 90)]),
        ([*LINE, REPLAYED], [run(0, 90)], [run(20, 30), run(75, 80)], "replayed", [run(70, 75), run(80, 90)]),
        ([*LINE, REPLAYED], [run(0, 20), run(30, 90)], [run(75, 80)], "replayed", [run(70, 75), run(80, 90)]),
        ([*LINE, REPLAYED], [run(0, 20), run(30, 90)], [run(40, 50)], "at 20", [run(30, 40), run(50, 90)]),
    ],
)
def test_the_newest_clean_ancestor(
    candidates: list[AncestorState],
    order: list[OffsetRange],
    holes: list[OffsetRange],
    name: str,
    rest: list[OffsetRange],
) -> None:
    """The replay begins with the state that learned most of the wanted runs and nothing else, and learns the rest."""
    best = replay_routes(candidates, order, excluded=holes)[0]
    assert best.ancestor.name == name
    assert best.runs == rest


@pytest.mark.parametrize(
    ("wanted", "flow", "names"),
    [
        (LATE, [1], ["at 0", "at 20", "at 40", "at 60"]),
        (EARLY, [1], ["at 0", "at 20"]),
        # A restored lineage does not build on the one it came from, while a replayed one does up to the exclusion.
        (AFTER, [2], ["restored", "after"]),
        (REPLAYED, [3, 1], ["at 0", "at 20", "replayed"]),
        (INITIAL, [1], ["at 0"]),
    ],
)
def test_what_leads_up_to_a_state(wanted: AncestorState, flow: list[int], names: list[str]) -> None:
    """Base states are beginnings of the target in its ancestor lineages, oldest first, then the target."""
    known = [*LINE, RESTORED, AFTER, REPLAYED]
    assert [one.name for one in base_states(wanted, known, ancestor_lineages=[LineageId(one) for one in flow])] == names
