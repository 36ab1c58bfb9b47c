"""Bringing in what was there before the archive began."""

from service.domain.registry.archive import Archived, ArchivedTopic, Brought, backfilled
from service.domain.stream.events import TopicPartition
from service.operations.services import Archiving, Services
from service.ports.archive import HistoryFile


def bring_in(services: Services, parts: Archiving, topic: ArchivedTopic, file: HistoryFile) -> Brought | None:
    """What came in; None where the same file is there already.

    Its row moves in one transaction once all is written, so that a file is there whole or not at all.
    """
    name = backfilled(topic.topic)
    rows = [row for row in parts.rows.list() if row.at.topic == name]
    if any(parts.ranges.facts(row.at, row.first).source == file.source for row in rows if row.next > row.first):
        return None
    at = TopicPartition(name, _free(rows))
    parts.files.claim(at)
    held = parts.leases.acquire(at, holder=services.holder, ttl_s=services.lease_ttl_s, first=0)
    try:
        brought = file.write(at)
        parts.leases.renew(held, ttl_s=services.lease_ttl_s)
        parts.rows.advance(held, to=brought.records, records=brought.records, size=brought.bytes)
    finally:
        parts.leases.release(held)
    return brought


def _free(rows: list[Archived]) -> int:
    """A partition that nothing was ever finished in, or a new one."""
    unfinished = [row.at.partition for row in rows if row.next == row.first]
    return min(unfinished, default=1 + max((row.at.partition for row in rows), default=-1))
