"""Verifies that the archive holds each record once, and equal to the stream's where the stream still holds it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from service.domain.registry.archive import (
    ArchivedPartition,
    ArchivedTopic,
    ArchiveFileContents,
    ArchiveFileInfo,
    missing_ranges,
)
from service.domain.stream.events import DecodedRecords, Event, LabelRecord, Refusal, TopicPartition
from service.domain.stream.position import OffsetBounds
from service.errors import HeadraceError, NotFoundError, UnavailableError
from service.operations.history.stream_range import read_stream_range
from service.operations.services import ArchivingServices, Services
from service.operations.states.verify import Finding
from service.ports.stream import Source


def verify_archive(
    services: Services, archiving: ArchivingServices, topics: Sequence[ArchivedTopic]
) -> Iterator[Finding]:
    """Yield a finding per file; records that the stream still holds are compared with it one by one."""
    topics_by_name = {topic.topic: topic for topic in topics}
    source = services.streams.source("verify")
    try:
        for row in archiving.rows.list():
            topic = topics_by_name.get(row.at.topic)
            bounds = _bounds(source, row.at) if topic is not None else None
            yield from _PartitionVerifier(services, archiving, row, source, topic).findings(bounds)
    finally:
        source.close()


def _bounds(source: Source, at: TopicPartition) -> OffsetBounds | None:
    try:
        return source.bounds([at.topic]).get(at)
    except NotFoundError:
        return None


class _PartitionVerifier:
    """Verifies one partition's archive against its row and its stream."""

    def __init__(
        self,
        services: Services,
        archiving: ArchivingServices,
        row: ArchivedPartition,
        source: Source,
        topic: ArchivedTopic | None,
    ) -> None:
        self._archiving = archiving
        self._row = row
        self._source = source
        self._topic = topic
        self._decoder = services.streams.decoder(topic.spec) if topic else None
        self._archive = services.streams.archive(topic.spec) if topic else None
        self._name = f"archive {row.at.topic}[{row.at.partition}]"

    def findings(self, bounds: OffsetBounds | None) -> Iterator[Finding]:
        """Yield a finding per file in order, then one if the files end before the row's position."""
        covered = self._row.first
        for first in self._archiving.files.sizes(self._row.at):
            try:
                contents = self._archiving.ranges.contents(self._row.at, first)
                facts = contents.facts
                problems = [*self._gap_problems(covered, facts), *self._content_problems(first, contents)]
                problems += self._stream_differences(contents, bounds)
                covered = max(covered, facts.end if facts.is_full else facts.next)
            except UnavailableError:
                raise
            except HeadraceError as error:
                problems = [str(error)]
            yield Finding(f"{self._name} {first}", "", "; ".join(problems))
        if covered < self._row.next:
            problem = f"offsets {covered} to {self._row.next} are missing, which the registry says are there"
            yield Finding(self._name, "", problem)

    def _gap_problems(self, covered: int, facts: ArchiveFileInfo) -> list[str]:
        """Return overlaps with the previous file, and offsets missing before and within this one."""
        if facts.first < covered < facts.end and covered != self._row.first:
            return [f"offsets {facts.first} to {covered} are in two files"]
        gaps = missing_ranges(facts.spans, covered, min(facts.end, max(facts.next, self._row.next)))
        return [f"offsets {first} to {last} are missing" for first, last in gaps]

    def _content_problems(self, first: int, contents: ArchiveFileContents) -> list[str]:
        """Return contradictions between the file's records, its metadata and its name."""
        facts, offsets = contents.facts, contents.offsets
        problems = []
        if facts.at != self._row.at or facts.first != first:
            problems.append(f"it says it is {facts.at.topic}[{facts.at.partition}] {facts.first}")
        if len(offsets) != facts.records:
            problems.append(f"found {len(offsets)} records, expected {facts.records}")
        if any(one >= other for one, other in pairwise(offsets)):
            problems.append("offsets are doubled or out of order")
        if offsets and (offsets[0] < facts.first or offsets[-1] >= facts.end):
            problems.append(f"found offsets {offsets[0]} to {offsets[-1]} in the range {facts.first} to {facts.end}")
        return problems

    def _stream_differences(self, contents: ArchiveFileContents, bounds: OffsetBounds | None) -> list[str]:
        """Return the differences in the offsets that both the file and the stream hold."""
        facts = contents.facts
        if bounds is None or not facts.spans:
            return []
        low = max(bounds.start, facts.spans[0].first)
        high = min(bounds.end, facts.next)
        return _differences(self._read_stream(low, high), self._read_archive(contents, low, high)) if low < high else []

    def _read_stream(self, low: int, high: int) -> "_OffsetOutcomes":
        assert self._decoder is not None
        side = _OffsetOutcomes()
        for run in read_stream_range(self._source, self._row.at, low, high):
            side.timestamps |= dict(zip(run.offsets, run.timestamps, strict=True))
            side.add(self._decoder.decode(run))
        return side

    def _read_archive(self, contents: ArchiveFileContents, low: int, high: int) -> "_OffsetOutcomes":
        assert self._archive is not None
        side = _OffsetOutcomes()
        timestamps = zip(contents.offsets, contents.timestamps, strict=True)
        side.timestamps = {offset: at for offset, at in timestamps if low <= offset < high}
        for span in contents.facts.spans:
            first, last = max(span.first, low), min(span.next, high)
            for decoded in self._archive.read(self._row.at, first, last) if first < last else ():
                side.add(decoded)
        return side


class _OffsetOutcomes:
    """Timestamps and decoded rows by offset, exact to the type of every value and the order of the features."""

    def __init__(self) -> None:
        self.timestamps: dict[int, int] = {}
        self.outcomes: dict[int, bytes] = {}

    def add(self, decoded: DecodedRecords) -> None:
        """Add decoded rows in encoded form, so that 1, 1.0 and true differ."""
        encode = msgspec.msgpack.Encoder().encode
        found: list[Event | LabelRecord | Refusal] = [*decoded.events, *decoded.truths, *decoded.refusals]
        for one in found:
            self.outcomes[one.offset] = encode(one)


def _differences(stream: _OffsetOutcomes, archive: _OffsetOutcomes) -> list[str]:
    if stream.timestamps == archive.timestamps and stream.outcomes == archive.outcomes:
        return []
    missing_offsets, surplus_offsets = (
        stream.timestamps.keys() - archive.timestamps.keys(),
        archive.timestamps.keys() - stream.timestamps.keys(),
    )
    both = stream.timestamps.keys() & archive.timestamps.keys()
    changed_offsets = [at for at in both if _record_at(stream, at) != _record_at(archive, at)]
    mismatches: Mapping[str, Sequence[int]] = {
        "of the stream are missing": sorted(missing_offsets),
        "are not in the stream any more": sorted(surplus_offsets),
        "differ from the stream": sorted(changed_offsets),
    }
    return [
        f"{len(found)} records {what}, the first at offset {found[0]}" for what, found in mismatches.items() if found
    ]


def _record_at(side: _OffsetOutcomes, offset: int) -> tuple[int | None, bytes | None]:
    return side.timestamps.get(offset), side.outcomes.get(offset)
