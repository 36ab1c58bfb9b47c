"""Adds a file of records from before the archive began."""

from service.domain.registry.archive import ArchivedPartition, ArchivedTopic, BackfillResult, backfill_topic
from service.domain.stream.events import TopicPartition
from service.operations.services import ArchivingServices, Services
from service.ports.archive import BackfillSource


def backfill_file(
    services: Services, archiving: ArchivingServices, topic: ArchivedTopic, file: BackfillSource
) -> BackfillResult | None:
    """Add the file to the topic's backfill and return what was added, or None if the same file was added before.

    One transaction advances the row once everything is written, so that a file is added completely or not at all.
    """
    name = backfill_topic(topic.topic)
    rows = [row for row in archiving.rows.list() if row.at.topic == name]
    if any(archiving.ranges.file_info(row.at, row.first).source == file.digest for row in rows if row.next > row.first):
        return None
    at = TopicPartition(name, _free_partition(rows))
    archiving.files.lock(at)
    lease_row = archiving.leases.acquire(at, holder=services.holder, ttl_s=services.lease_ttl_s, first=0)
    try:
        backfilled_counts = file.write(at)
        archiving.leases.renew(lease_row, ttl_s=services.lease_ttl_s)
        archiving.rows.advance(
            lease_row,
            next_offset=backfilled_counts.records,
            records=backfilled_counts.records,
            size_bytes=backfilled_counts.bytes,
        )
    finally:
        archiving.leases.release(lease_row)
    return backfilled_counts


def _free_partition(rows: list[ArchivedPartition]) -> int:
    """Return a partition in which no file was completed, or the number of a new one."""
    unfinished = [row.at.partition for row in rows if row.next == row.first]
    return min(unfinished, default=1 + max((row.at.partition for row in rows), default=-1))
