"""One partition being archived: its open range, its row, and the order in which both become durable."""

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
    """Takes runs of records, and makes them durable:

    1. the range's file is written aside, 2. fsynced, 3. renamed over the one before;
    4. a transaction begins, 5. proves the lease, 6. moves the position and commits.

    After a death in between the file is ahead of the row, and its own facts say how far; it is taken up there.
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
        """Take up the range of the row's position, with what its file has."""
        at, ranges = self.row.at, self.archiving.ranges
        self.open_range = ranges.resume(self.topic, at, offset=self.row.next, range_size=self.range_size)
        self._unreported_bytes = sum(self.archiving.files.sizes(at).values()) - self.row.bytes
        self._resume_from_file()

    @property
    def position(self) -> int:
        """The next offset to read."""
        return self.open_range.file_info.next

    @property
    def full(self) -> bool:
        """Whether the open range takes nothing more."""
        return self.open_range.file_info.is_full

    def skip_deleted(self, bounds: OffsetBounds) -> None:
        """Pass over what the stream has deleted before it was archived; a new archive begins where the stream does."""
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
        """Add what is new of the run; yields when the range is full, and goes on in the next one once it is flushed."""
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
        """Make durable what was taken; UnavailableError leaves everything as it was, to be tried again."""
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
        """A file may be ahead of its row: then it is written once more, so that the row follows."""
        facts = self.open_range.file_info
        self._written_bytes = self.archiving.files.sizes(self.row.at).get(facts.first, 0) if facts.records else 0
        self._reported_records = facts.records - self.open_range.count_from(self.row.next)
        if self.position > self.row.next:
            self.dirty_since_s = time.monotonic()


def _first_offset(run: Records) -> int:
    return run.offsets[0] if len(run.offsets) else run.next_offset
