"""Splitting runs and leaving out exclusions, compared with lists of single records."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.domain.stream.events import DecodedRecords, Records, SkippedOffsets, Task, TopicPartition
from service.domain.stream.exclusion import ExcludedRange, TimeRange
from service.domain.stream.position import OffsetRange
from service.operations.history.exclusion_filter import ExclusionFilter
from service.operations.history.record_runs import (
    ConsumedItem,
    first_offset,
    record_count,
    record_offsets,
    record_payload,
    split_after_count,
    split_item,
)
from service.stream.decoding.envelope import EnvelopeDecoder

AT = TopicPartition("events", 0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DECODER = EnvelopeDecoder(Task.BINARY)


@st.composite
def a_run(draw: st.DrawFn) -> Records:
    """Draw records with gaps between and after them, timestamps in any order, and some invalid values."""
    steps = draw(st.lists(st.integers(1, 3), min_size=1, max_size=15))
    offsets = [sum(steps[: i + 1]) for i in range(len(steps))]
    timestamps = [draw(st.integers(0, 20)) for _ in offsets]
    values = [b'{"id":%d,"x":{"a":1},"y":true}' % i if draw(st.booleans()) else b"{" for i in offsets]
    return Records(AT, offsets, timestamps, values, offsets[-1] + draw(st.integers(1, 3)))


@st.composite
def a_stretch(draw: st.DrawFn) -> ExcludedRange:
    """Draw a range of offsets of this partition or another, or a time range."""
    first = draw(st.integers(0, 30))
    last = first + draw(st.integers(1, 10))
    if draw(st.booleans()):
        return TimeRange(EPOCH + timedelta(milliseconds=first), EPOCH + timedelta(milliseconds=last))
    return OffsetRange(draw(st.sampled_from(["events", "labels"])), 0, first, last)


stretches = st.lists(a_stretch(), max_size=3)


def excluded(run: Records, given: list[ExcludedRange]) -> set[int]:
    """Return the excluded offsets, found record by record from the definition."""
    return {
        offset
        for offset, timestamp in zip(run.offsets, run.timestamps, strict=True)
        for one in given
        if (isinstance(one, TimeRange) and one.contains(timestamp))
        or (isinstance(one, OffsetRange) and (one.topic, one.partition) == AT and one.first <= offset < one.last)
    }


def joined(items: list[ConsumedItem], first: int, last: int) -> bool:
    """Return whether the items follow one another and cover everything from `first` to `last`."""
    for item in items:
        start = item.first if isinstance(item, SkippedOffsets) else first_offset(item)
        if start < first or item.next_offset < start:
            return False
        first = item.next_offset
    return first == last


@given(a_run(), stretches)
def test_records_are_learned_or_skipped(run: Records, given: list[ExcludedRange]) -> None:
    """Every record is in exactly one part, in order, and exactly the excluded ones are skipped."""
    pieces = [*ExclusionFilter(given).split(run)]
    kept = [offset for piece in pieces if isinstance(piece, Records) for offset in piece.offsets]
    gone = excluded(run, given)
    assert kept == [offset for offset in run.offsets if offset not in gone]
    assert all(
        any(piece.first <= offset < piece.next_offset for piece in pieces if isinstance(piece, SkippedOffsets))
        for offset in gone
    )
    assert joined(pieces, run.offsets[0], run.next_offset)
    rows = dict(zip(run.offsets, zip(run.timestamps, run.values, strict=True), strict=True))
    for piece in pieces:
        if isinstance(piece, Records):
            assert [*zip(piece.timestamps, piece.values, strict=True)] == [rows[offset] for offset in piece.offsets]


@given(a_run(), stretches)
def test_decoded_runs_are_cut_alike(run: Records, given: list[ExcludedRange]) -> None:
    """A decoded run is split by offset in the same places as its undecoded records."""
    sieve = ExclusionFilter([one for one in given if isinstance(one, OffsetRange)])
    raw, ready = sieve.split(run), sieve.split(DECODER.decode(run))
    assert [type(one) is SkippedOffsets for one in raw] == [type(one) is SkippedOffsets for one in ready]
    for one, other in zip(raw, ready, strict=True):
        if isinstance(one, Records):
            assert isinstance(other, DecodedRecords)
            found = DECODER.decode(one)
            assert (found.events, found.refusals) == ([*other.events], [*other.refusals])
            assert [*record_offsets(other)] == [*one.offsets]
            assert other.next_offset == one.next_offset


@given(a_run(), st.integers(1, 5), st.booleans())
def test_slices(run: Records, count: int, decode: bool) -> None:
    """Splitting after a number of records yields the whole run in order, and no part has more records."""
    whole: Records | DecodedRecords = DECODER.decode(run) if decode else run
    left: ConsumedItem | None = whole
    found: list[ConsumedItem] = []
    while left is not None:
        first, left = split_after_count(left, count)
        found.append(first)
    assert [offset for one in found if not isinstance(one, SkippedOffsets) for offset in record_offsets(one)] == [
        *run.offsets
    ]
    assert all(record_count(one) <= count for one in found if not isinstance(one, SkippedOffsets))
    assert joined(found, run.offsets[0], run.next_offset)


@given(a_run(), st.data(), st.booleans())
def test_taking_one_out(run: Records, data: st.DataObject, decode: bool) -> None:
    """Splitting at a record yields the records before it, itself and those after it, and its bytes are found."""
    whole: Records | DecodedRecords = DECODER.decode(run) if decode else run
    place = data.draw(st.integers(0, len(run.offsets) - 1))
    offset = run.offsets[place]
    before, tail = split_item(whole, offset)
    one, behind = split_item(tail, offset + 1)
    assert [[*record_offsets(part)] for part in (before, one, behind)] == [
        [*run.offsets[:place]],
        [offset],
        [*run.offsets[place + 1 :]],
    ]
    assert record_payload(whole, offset) == record_payload(one, offset) == run.values[place]
