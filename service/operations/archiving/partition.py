"""One partition being archived: its open range, its row, and the order in which both become durable."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from service.domain.registry.archive import Archived, ArchivedTopic, split_at
from service.domain.stream.events import Records
from service.domain.stream.position import Bounds
from service.operations.services import Archiving
from service.ports.archive import OpenRange

_log = structlog.get_logger(__name__)


@dataclass
class Partition:
    """Takes runs of records, and makes them durable:

    1. the range's file is written aside, 2. fsynced, 3. renamed over the one before;
    4. a transaction begins, 5. proves the lease, 6. moves the position and commits.

    After a death in between the file is ahead of the row, and its own facts say how far; it is taken up there.
    """

    parts: Archiving
    topic: ArchivedTopic
    held: Archived
    size: int
    open: OpenRange = field(init=False)
    since: float | None = None
    _tail_bytes: int = 0
    _unsaid_bytes: int = 0
    _said_records: int = 0

    def __post_init__(self) -> None:
        """Take up the range of the row's position, with what its file has."""
        at, ranges = self.held.at, self.parts.ranges
        self.open = ranges.resume(self.topic, at, offset=self.held.next, size=self.size)
        self._unsaid_bytes = sum(self.parts.files.sizes(at).values()) - self.held.bytes
        self._take_up()

    @property
    def position(self) -> int:
        """The next offset to read."""
        return self.open.facts.next

    @property
    def full(self) -> bool:
        """Whether the open range takes nothing more."""
        return self.open.facts.full

    def begin(self, bounds: Bounds) -> None:
        """Pass over what the stream has deleted before it was archived; a new archive begins where the stream does."""
        if self.position >= bounds.start:
            return
        new = self.held.records == 0 and not self.open.facts.spans
        if not new:
            _log.error(
                "archive_gap",
                topic=self.held.at.topic,
                partition=self.held.at.partition,
                first=self.position,
                next=bounds.start,
            )
        if bounds.start >= self.open.facts.end:
            self.flush()
            offset = max(bounds.start - bounds.start % self.size, self.open.facts.end)
            self._turn_to(offset)
        self.open.skip(bounds.start)

    def take(self, run: Records) -> Iterator[None]:
        """Add what is new of the run; yields when the range is full, and goes on in the next one once it is flushed."""
        rest: Records | None = split_at(run, self.position)[1] if _begins(run) < self.position else run
        while rest is not None:
            part, rest = split_at(rest, self.open.facts.end)
            if part.next_offset > self.position:
                self.open.add(part)
                self.since = time.monotonic() if self.since is None else self.since
            if self.full:
                yield
            if self.full:
                return

    def flush(self) -> None:
        """Make durable what was taken; UnavailableError leaves everything as it was, to be tried again."""
        if self.since is not None:
            self._write()
        if self.full:
            self._turn_to(self.open.facts.end)

    def _write(self) -> None:
        began = time.perf_counter()
        at, facts = self.held.at, self.open.facts
        data = self.open.to_bytes()
        self.parts.files.write(at, facts.first, data)
        grown = len(data) - self._tail_bytes + self._unsaid_bytes
        records = facts.records - self._said_records
        self.held = self.parts.rows.advance(self.held, to=facts.next, records=records, size=grown)
        self._tail_bytes, self._unsaid_bytes, self._said_records = len(data), 0, facts.records
        self.since = None
        seconds = time.perf_counter() - began
        self.parts.telemetry.archived(at, records=records, size=self.held.bytes, seconds=seconds)

    def _turn_to(self, offset: int) -> None:
        self.open = self.parts.ranges.follow(self.topic, self.held.at, offset=offset, size=self.size)
        self._take_up()

    def _take_up(self) -> None:
        """A file may be ahead of its row: then it is written once more, so that the row follows."""
        facts = self.open.facts
        self._tail_bytes = self.parts.files.sizes(self.held.at).get(facts.first, 0) if facts.records else 0
        self._said_records = facts.records - self.open.count_from(self.held.next)
        if self.position > self.held.next:
            self.since = time.monotonic()


def _begins(run: Records) -> int:
    return run.offsets[0] if len(run.offsets) else run.next_offset
