"""Archives one partition: its open range file, its registry row, and the order in which both become durable."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from service.domain.registry.archive import ArchivedPartition, ArchivedTopic, split_records
from service.domain.stream.events import Records
from service.domain.stream.position import OffsetBounds
from service.operations.services import ArchivingServices
from service.ports.archive import OpenRange

_log = structlog.get_logger(__name__)


@dataclass
class PartitionArchiver:
    """Takes runs of records, and makes them durable in this order:

    1. the range's file is written under a temporary name, 2. fsynced, 3. renamed over the previous one;
    4. a transaction begins, 5. proves the lease, 6. advances the position and commits.

    After a crash in between, the file is ahead of the row; its metadata says how far, and archiving continues there.
    """

    archiving: ArchivingServices
    topic: ArchivedTopic
    row: ArchivedPartition
    range_size: int
    open_range: OpenRange = field(init=False)
    dirty_since_s: float | None = None
    _written_bytes: int = 0
    _unreported_bytes: int = 0
    _reported_records: int = 0

    def __post_init__(self) -> None:
        """Resume the range at the row's position, with what its file already holds."""
        at, ranges = self.row.at, self.archiving.ranges
        self.open_range = ranges.resume(self.topic, at, offset=self.row.next, range_size=self.range_size)
        self._unreported_bytes = sum(self.archiving.files.sizes(at).values()) - self.row.bytes
        self._resume_from_file()

    @property
    def position(self) -> int:
        """Return the next offset to read."""
        return self.open_range.file_info.next

    @property
    def full(self) -> bool:
        """Return whether the open range is full."""
        return self.open_range.file_info.is_full

    def skip_deleted(self, bounds: OffsetBounds) -> None:
        """Skip what the stream deleted before it was archived, and log the gap; a new archive just starts there."""
        if self.position >= bounds.start:
            return
        is_new = self.row.records == 0 and not self.open_range.file_info.spans
        if not is_new:
            _log.error(
                "archive_gap",
                topic=self.row.at.topic,
                partition=self.row.at.partition,
                first=self.position,
                next=bounds.start,
            )
        if bounds.start >= self.open_range.file_info.end:
            self.flush()
            offset = max(bounds.start - bounds.start % self.range_size, self.open_range.file_info.end)
            self._start_range(offset)
        self.open_range.skip(bounds.start)

    def add(self, run: Records) -> Iterator[None]:
        """Add the run's new records; yield when the range is full, so that the caller flushes before more is added."""
        rest: Records | None = split_records(run, self.position)[1] if _first_offset(run) < self.position else run
        while rest is not None:
            part, rest = split_records(rest, self.open_range.file_info.end)
            if part.next_offset > self.position:
                self.open_range.add(part)
                self.dirty_since_s = time.monotonic() if self.dirty_since_s is None else self.dirty_since_s
            if self.full:
                yield
            if self.full:
                return

    def flush(self) -> None:
        """Make the added records durable; UnavailableError changes nothing, so the call can be repeated."""
        if self.dirty_since_s is not None:
            self._write()
        if self.full:
            self._start_range(self.open_range.file_info.end)

    def _write(self) -> None:
        started_s = time.perf_counter()
        at, facts = self.row.at, self.open_range.file_info
        data = self.open_range.to_bytes()
        self.archiving.files.write(at, facts.first, data)
        added_bytes = len(data) - self._written_bytes + self._unreported_bytes
        records = facts.records - self._reported_records
        self.row = self.archiving.rows.advance(
            self.row, next_offset=facts.next, records=records, size_bytes=added_bytes
        )
        self._written_bytes, self._unreported_bytes, self._reported_records = len(data), 0, facts.records
        self.dirty_since_s = None
        seconds = time.perf_counter() - started_s
        self.archiving.telemetry.records_archived(at, records=records, size_bytes=self.row.bytes, seconds=seconds)

    def _start_range(self, offset: int) -> None:
        self.open_range = self.archiving.ranges.open_next(
            self.topic, self.row.at, offset=offset, range_size=self.range_size
        )
        self._resume_from_file()

    def _resume_from_file(self) -> None:
        """Take the counts from the file; if it is ahead of its row, have it written again so that the row follows."""
        facts = self.open_range.file_info
        self._written_bytes = self.archiving.files.sizes(self.row.at).get(facts.first, 0) if facts.records else 0
        self._reported_records = facts.records - self.open_range.count_from(self.row.next)
        if self.position > self.row.next:
            self.dirty_since_s = time.monotonic()


def _first_offset(run: Records) -> int:
    return run.offsets[0] if len(run.offsets) else run.next_offset
