"""Excluded time ranges are found as offsets of the stream."""

from datetime import UTC, datetime, timedelta

from service.domain.stream.exclusion import TimeRange
from service.domain.stream.position import OffsetRange
from service.operations.history.exclusions import time_ranges_as_runs
from service.testing.stream import MemoryStream

BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_times_become_offsets_of_every_partition() -> None:
    """A time range includes its start and excludes its end; a partition or range without records yields no run."""
    stream = MemoryStream()
    sink = stream.sink()
    sink.create("events", partitions=1)
    sink.create("labels", partitions=1)
    at = [int((BEGAN + timedelta(minutes=i)).timestamp() * 1000) for i in range(10)]
    sink.append("events", [b"{}"] * 10, timestamps=at)
    times = [
        TimeRange(BEGAN + timedelta(minutes=2), BEGAN + timedelta(minutes=5)),
        TimeRange(BEGAN + timedelta(minutes=8), BEGAN + timedelta(hours=1)),
        TimeRange(BEGAN + timedelta(hours=2), BEGAN + timedelta(hours=3)),
    ]
    found = time_ranges_as_runs(stream.source(), ["events", "labels"], times)
    assert found == [OffsetRange("events", 0, 2, 5), OffsetRange("events", 0, 8, 10)]
