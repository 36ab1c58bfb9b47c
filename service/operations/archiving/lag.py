"""How far the archive is behind the stream."""

from collections.abc import Sequence

from service.domain.registry.archive import Archived, ArchivedTopic
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Bounds
from service.errors import BelowStartError, NotFoundError, PastEndError
from service.ports.stream import Source


def behind(source: Source, topics: Sequence[ArchivedTopic], rows: Sequence[Archived]) -> dict[TopicPartition, int]:
    """Offsets that are not durable yet, of the topics that are there; BelowStartError or PastEndError."""
    found: dict[TopicPartition, int] = {}
    known = {row.at: row for row in rows}
    for topic in topics:
        try:
            bounds = source.bounds([topic.topic])
        except NotFoundError:
            continue
        for at, held in bounds.items():
            row = known.get(at)
            found[at] = held.end - (_reached(row, held) if row else held.start)
    return found


def _reached(row: Archived, held: Bounds) -> int:
    """Where its archiver goes on."""
    name = f"the archive of {row.at.topic}[{row.at.partition}] at offset {row.next}"
    if row.next > held.end:
        msg = (
            f"found {name}, expected {held.end} or earlier, where the stream ends: it was truncated, or is another "
            "one; check its address"
        )
        raise PastEndError(msg)
    if row.records and row.next < held.start:
        msg = (
            f"found {name}, expected {held.start} or later, where the stream begins: {held.start - row.next} offsets "
            "were deleted before they were archived; keep `headrace archive` running, or the records for longer"
        )
        raise BelowStartError(msg)
    return max(row.next, held.start)
