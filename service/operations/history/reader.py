"""Reading any part of a model's stream again: from the archive where it holds it, else from the stream."""

import threading
from collections.abc import Iterator, Mapping, Sequence

import structlog

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.exclusion import Stretch, times
from service.domain.stream.offset_ranges import minus, size
from service.domain.stream.position import Bounds, Position, Run
from service.errors import BelowStartError, NotFoundError, UnavailableError
from service.operations.history.archive_source import archived
from service.operations.history.record_runs import FeedItem, cut_records
from service.operations.retry import Outage
from service.operations.services import Services
from service.ports.stream import Source

_log = structlog.get_logger(__name__)

POLL_LIMIT = 2000


class History:
    """Runs in any order; each partition has a reader of its own, so that orders may interleave."""

    def __init__(self, services: Services, spec: ModelSpec) -> None:
        self.stop = threading.Event()
        self._services = services
        self._spec = spec
        self._archive = services.archive(spec)
        self._tails: dict[TopicPartition, _Tail] = {}
        self._held: dict[str, Mapping[TopicPartition, Bounds]] = {}
        self.outage: Outage | None = None

    def close(self) -> None:
        """Release every reader."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def read(self, run: Run, *, exclusions: Sequence[Stretch] = ()) -> Iterator[FeedItem]:
        """The run's records in offset order; of what is archived, without what is excluded."""
        at = TopicPartition(run.topic, run.partition)
        held = self._archived(at)
        border = run.first
        if held is not None and held.start <= run.first < held.end:
            border = min(run.last, held.end)
            part = Run(run.topic, run.partition, run.first, border)
            yield from archived(part, self._archive, exclusions=exclusions)
        if border < run.last:
            yield from self._from_stream(at, border, run.last)

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """What the stream holds."""
        source = self._services.source(f"{self._spec.name}-replay")
        try:
            return source.bounds(topics)
        finally:
            source.close()

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """What neither the archive nor the stream holds any more; older history is in the archive alone."""
        topics = sorted({run.topic for run in runs})
        streamed = self.bounds([topic for topic in topics if topic in self._spec.topics])
        held = [*streamed.items(), *((at, held) for t in topics for at, held in self._bounds_of(t).items())]
        return minus(runs, [Run(at.topic, at.partition, found.start, found.end) for at, found in held])

    def excluded(self, runs: Sequence[Run], *, stretches: Sequence[Stretch]) -> list[Run]:
        """The offsets of the runs whose records have timestamps in an excluded range."""
        found: list[Run] = []
        for one in times(stretches):
            for run in runs:
                found += self._within(run, *one.ms)
        return found

    def _within(self, run: Run, since_ms: int, until_ms: int) -> Iterator[Run]:
        at, held = TopicPartition(run.topic, run.partition), self._archived(TopicPartition(run.topic, run.partition))
        border = run.first if held is None else min(max(run.first, held.end), run.last)
        yield from self._archive.within(at, Bounds(run.first, border), since_ms=since_ms, until_ms=until_ms)
        if border == run.last:
            return
        for found in self._from_stream(at, max(border, self._first_since(at, since_ms)), run.last):
            for offset, timestamp in zip(found.offsets, found.timestamps, strict=True):
                if since_ms <= timestamp < until_ms:
                    yield Run(at.topic, at.partition, offset, offset + 1)

    def _first_since(self, at: TopicPartition, since_ms: int) -> int:
        source = self._services.source(f"{self._spec.name}-replay")
        try:
            return source.bounds([at.topic], since_ms=since_ms)[at].start
        finally:
            source.close()

    def _archived(self, at: TopicPartition) -> Bounds | None:
        return self._bounds_of(at.topic).get(at)

    def _bounds_of(self, topic: str) -> Mapping[TopicPartition, Bounds]:
        if topic not in self._held:
            self._held[topic] = self._archive.bounds([topic])
        return self._held[topic]

    def _from_stream(self, at: TopicPartition, first: int, last: int) -> Iterator[Records]:
        while first < last and not self.stop.is_set():
            try:
                for run in self._tail(at).read(first, last):
                    first = run.next_offset
                    self.outage = None
                    yield run
            except (UnavailableError, NotFoundError) as error:
                self._note_down(at, error)
            except BelowStartError as error:
                raise gone([Run(at.topic, at.partition, first, last)], model=self._spec.name) from error

    def _tail(self, at: TopicPartition) -> "_Tail":
        if at not in self._tails:
            self._tails[at] = _Tail(self._services.source(f"{self._spec.name}-replay"), at, self.stop)
        return self._tails[at]

    def _note_down(self, at: TopicPartition, error: Exception) -> None:
        if self.outage is None:
            _log.info("stream_unavailable", error=str(error))
        self.outage = Outage.noted(self.outage, error)
        self._tails.pop(at).close()
        self.stop.wait(0.5)


class _Tail:
    """One partition's reader: what it has polled too far waits for the next run."""

    def __init__(self, source: Source, at: TopicPartition, stop: threading.Event) -> None:
        self._source = source
        self._at = at
        self._stop = stop
        self._spare: list[Records] = []
        self._offset = -1

    def close(self) -> None:
        self._source.close()

    def read(self, first: int, last: int) -> Iterator[Records]:
        """The records from `first` to before `last`; ends earlier only where it is told to stop."""
        if self._offset != first:
            self._spare.clear()
            self._source.assign(Position({self._at: first}))
            self._offset = first
        while self._offset < last and not self._stop.is_set():
            run = self._spare.pop(0) if self._spare else None
            if run is None:
                self._spare += self._source.poll(timeout_s=0.1, limit=POLL_LIMIT)
                continue
            if run.next_offset > last:
                run, rest = cut_records(run, last)
                self._spare.insert(0, rest)
            self._offset = run.next_offset
            yield run


def gone(missing: Sequence[Run], *, model: str) -> BelowStartError:
    """Neither the stream nor the archive holds what a replay needs; what is missing, and what helps."""
    shown = ", ".join(f"{run.topic}[{run.partition}] {run.first} to {run.last}" for run in missing[:5])
    return BelowStartError(
        f"found {size(missing)} offsets of {model}'s history deleted by retention and in no archive ({shown}), "
        f"expected all from the state a replay begins with; `headrace model rollback {model} --mode replay "
        f"--accept-gap` goes on without them, and `--mode restore` needs none of them"
    )
