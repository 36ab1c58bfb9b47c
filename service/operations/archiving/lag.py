"""Measures how far the archive is behind the stream."""

from collections.abc import Sequence

from service.domain.registry.archive import ArchivedPartition, ArchivedTopic
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetBounds
from service.errors import BelowStartError, NotFoundError, PastEndError
from service.ports.stream import Source


def archive_lag(
    source: Source, topics: Sequence[ArchivedTopic], rows: Sequence[ArchivedPartition]
) -> dict[TopicPartition, int]:
    """Return by partition how many offsets are not archived yet; topics that do not exist are left out.

    Raise BelowStartError if records were deleted before they were archived, and PastEndError if the stream ends before
    the archive does.
    """
    lag: dict[TopicPartition, int] = {}
    rows_by_partition = {row.at: row for row in rows}
    for topic in topics:
        try:
            bounds = source.bounds([topic.topic])
        except NotFoundError:
            continue
        for at, stream_bounds in bounds.items():
            row = rows_by_partition.get(at)
            lag[at] = stream_bounds.end - (_next_offset(row, stream_bounds) if row else stream_bounds.start)
    return lag


def _next_offset(row: ArchivedPartition, stream_bounds: OffsetBounds) -> int:
    """Return the offset at which the partition's archiver continues."""
    name = f"the archive of {row.at.topic}[{row.at.partition}] at offset {row.next}"
    if row.next > stream_bounds.end:
        msg = (
            f"found {name}, expected {stream_bounds.end} or earlier, where the stream ends: it was truncated, "
            "or is another one; check its address"
        )
        raise PastEndError(msg)
    if row.records and row.next < stream_bounds.start:
        msg = (
            f"found {name}, expected {stream_bounds.start} or later, where the stream begins: "
            f"{stream_bounds.start - row.next} offsets were deleted before they were archived; "
            "keep `headrace archive` running, or the records for longer"
        )
        raise BelowStartError(msg)
    return max(row.next, stream_bounds.start)
