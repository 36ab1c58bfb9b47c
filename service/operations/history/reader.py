"""Reads any part of a model's past records again, from the archive if it holds it, else from the stream."""

import threading
from collections.abc import Iterator, Mapping, Sequence

import structlog

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.exclusion import ExcludedRange, time_ranges
from service.domain.stream.offset_ranges import offset_count, subtract_ranges
from service.domain.stream.position import OffsetBounds, OffsetRange, Position
from service.errors import BelowStartError, NotFoundError, UnavailableError
from service.operations.history.archive_source import read_archived
from service.operations.history.record_runs import ConsumedItem, split_run
from service.operations.retry import Outage
from service.operations.services import Services
from service.ports.stream import Source

_log = structlog.get_logger(__name__)

POLL_LIMIT = 2000


class HistoryReader:
    """Reads runs in any order; each partition has a source of its own, so that runs of several may interleave.

    `outage` describes since when the stream cannot be read, or is None; setting `stop` ends reading early.
    """

    def __init__(self, services: Services, spec: ModelSpec) -> None:
        self.stop = threading.Event()
        self._services = services
        self._spec = spec
        self._archive = services.streams.archive(spec)
        self._readers: dict[TopicPartition, _PartitionReader] = {}
        self._archive_bounds: dict[str, Mapping[TopicPartition, OffsetBounds]] = {}
        self.outage: Outage | None = None

    def close(self) -> None:
        """Close every partition's source."""
        for tail in self._readers.values():
            tail.close()
        self._readers.clear()

    def read(self, run: OffsetRange, *, excluded_ranges: Sequence[ExcludedRange] = ()) -> Iterator[ConsumedItem]:
        """Yield the run's records in offset order; exclusions are left out of the archived part only."""
        at = TopicPartition(run.topic, run.partition)
        archived_bounds = self._partition_bounds(at)
        boundary = run.first
        if archived_bounds is not None and archived_bounds.start <= run.first < archived_bounds.end:
            boundary = min(run.last, archived_bounds.end)
            part = OffsetRange(run.topic, run.partition, run.first, boundary)
            yield from read_archived(part, self._archive, excluded_ranges=excluded_ranges)
        if boundary < run.last:
            yield from self._read_stream(at, boundary, run.last)

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the first and end offset of each partition that the stream holds now."""
        source = self._services.streams.source(f"{self._spec.name}-replay")
        try:
            return source.bounds(topics)
        finally:
            source.close()

    def missing(self, runs: Sequence[OffsetRange]) -> list[OffsetRange]:
        """Return the parts of the runs that neither the archive nor the stream holds any more."""
        topics = sorted({run.topic for run in runs})
        stream_bounds = self.bounds([topic for topic in topics if topic in self._spec.topics])
        known_bounds = [
            *stream_bounds.items(),
            *((at, held) for t in topics for at, held in self._topic_bounds(t).items()),
        ]
        return subtract_ranges(
            runs, [OffsetRange(at.topic, at.partition, found.start, found.end) for at, found in known_bounds]
        )

    def excluded_runs(
        self, runs: Sequence[OffsetRange], *, excluded_ranges: Sequence[ExcludedRange]
    ) -> list[OffsetRange]:
        """Return the offsets of the runs whose records have timestamps in an excluded time range."""
        found: list[OffsetRange] = []
        for one in time_ranges(excluded_ranges):
            for run in runs:
                found += self._runs_in_time_range(run, *one.bounds_ms)
        return found

    def _runs_in_time_range(self, run: OffsetRange, since_ms: int, until_ms: int) -> Iterator[OffsetRange]:
        at, archived_bounds = (
            TopicPartition(run.topic, run.partition),
            self._partition_bounds(TopicPartition(run.topic, run.partition)),
        )
        boundary = run.first if archived_bounds is None else min(max(run.first, archived_bounds.end), run.last)
        yield from self._archive.runs_between(
            at, OffsetBounds(run.first, boundary), since_ms=since_ms, until_ms=until_ms
        )
        if boundary == run.last:
            return
        for found in self._read_stream(at, max(boundary, self._first_offset_since(at, since_ms)), run.last):
            for offset, timestamp in zip(found.offsets, found.timestamps, strict=True):
                if since_ms <= timestamp < until_ms:
                    yield OffsetRange(at.topic, at.partition, offset, offset + 1)

    def _first_offset_since(self, at: TopicPartition, since_ms: int) -> int:
        source = self._services.streams.source(f"{self._spec.name}-replay")
        try:
            return source.bounds([at.topic], since_ms=since_ms)[at].start
        finally:
            source.close()

    def _partition_bounds(self, at: TopicPartition) -> OffsetBounds | None:
        return self._topic_bounds(at.topic).get(at)

    def _topic_bounds(self, topic: str) -> Mapping[TopicPartition, OffsetBounds]:
        if topic not in self._archive_bounds:
            self._archive_bounds[topic] = self._archive.bounds([topic])
        return self._archive_bounds[topic]

    def _read_stream(self, at: TopicPartition, first: int, last: int) -> Iterator[Records]:
        while first < last and not self.stop.is_set():
            try:
                for run in self._reader_of(at).read(first, last):
                    first = run.next_offset
                    self.outage = None
                    yield run
            except (UnavailableError, NotFoundError) as error:
                self._record_outage(at, error)
            except BelowStartError as error:
                raise missing_history_error(
                    [OffsetRange(at.topic, at.partition, first, last)], model=self._spec.name
                ) from error

    def _reader_of(self, at: TopicPartition) -> "_PartitionReader":
        if at not in self._readers:
            self._readers[at] = _PartitionReader(
                self._services.streams.source(f"{self._spec.name}-replay"), at, self.stop
            )
        return self._readers[at]

    def _record_outage(self, at: TopicPartition, error: Exception) -> None:
        if self.outage is None:
            _log.info("stream_unavailable", error=str(error))
        self.outage = Outage.updated(self.outage, error)
        self._readers.pop(at).close()
        self.stop.wait(0.5)


class _PartitionReader:
    """Reads one partition, and buffers what it has polled beyond a run for the next run."""

    def __init__(self, source: Source, at: TopicPartition, stop: threading.Event) -> None:
        self._source = source
        self._at = at
        self._stop = stop
        self._buffered: list[Records] = []
        self._offset = -1

    def close(self) -> None:
        self._source.close()

    def read(self, first: int, last: int) -> Iterator[Records]:
        """Yield the records from `first` up to but not including `last`; end early only if `stop` is set."""
        if self._offset != first:
            self._buffered.clear()
            self._source.assign(Position({self._at: first}))
            self._offset = first
        while self._offset < last and not self._stop.is_set():
            run = self._buffered.pop(0) if self._buffered else None
            if run is None:
                self._buffered += self._source.poll(timeout_s=0.1, limit=POLL_LIMIT)
                continue
            if run.next_offset > last:
                run, rest = split_run(run, last)
                self._buffered.insert(0, rest)
            self._offset = run.next_offset
            yield run


def missing_history_error(missing: Sequence[OffsetRange], *, model: str) -> BelowStartError:
    """Return an error for history that neither the stream nor the archive holds, with the commands that help."""
    listed = ", ".join(f"{run.topic}[{run.partition}] {run.first} to {run.last}" for run in missing[:5])
    return BelowStartError(
        f"found {offset_count(missing)} offsets of {model}'s history deleted by retention and in no archive "
        f"({listed}), expected all from the state a replay begins with; `headrace model rollback {model} --mode replay "
        f"--accept-gap` goes on without them, and `--mode restore` needs none of them"
    )
