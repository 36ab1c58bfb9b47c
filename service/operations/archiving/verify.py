"""Whether the archive has each record of the stream once, as the stream has it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from service.domain.registry.archive import Archived, ArchivedTopic, FileContents, FileFacts, missing
from service.domain.stream.events import Decoded, Event, Refusal, TopicPartition, Truth
from service.domain.stream.position import Bounds
from service.errors import HeadraceError, NotFoundError, UnavailableError
from service.operations.history.stream_range import streamed
from service.operations.services import Archiving, Services
from service.operations.states.verify import Finding
from service.ports.stream import Source


def verify_archive(services: Services, parts: Archiving, topics: Sequence[ArchivedTopic]) -> Iterator[Finding]:
    """A finding a file; those that the stream still holds are compared with it, record by record."""
    known = {topic.topic: topic for topic in topics}
    source = services.source("verify")
    try:
        for row in parts.rows.list():
            topic = known.get(row.at.topic)
            bounds = _bounds(source, row.at) if topic is not None else None
            yield from _Verified(services, parts, row, source, topic).findings(bounds)
    finally:
        source.close()


def _bounds(source: Source, at: TopicPartition) -> Bounds | None:
    try:
        return source.bounds([at.topic]).get(at)
    except NotFoundError:
        return None


class _Verified:
    """One partition's archive beside its row and its stream."""

    def __init__(
        self, services: Services, parts: Archiving, row: Archived, source: Source, topic: ArchivedTopic | None
    ) -> None:
        self._parts = parts
        self._row = row
        self._source = source
        self._topic = topic
        self._decoder = services.decoder(topic.spec) if topic else None
        self._archive = services.archive(topic.spec) if topic else None
        self._name = f"archive {row.at.topic}[{row.at.partition}]"

    def findings(self, bounds: Bounds | None) -> Iterator[Finding]:
        """The files in order, then what they lack together."""
        covered = self._row.first
        for first in self._parts.files.sizes(self._row.at):
            try:
                contents = self._parts.ranges.contents(self._row.at, first)
                facts = contents.facts
                problems = [*self._gap(covered, facts), *self._inside(first, contents)]
                problems += self._beside(contents, bounds)
                covered = max(covered, facts.end if facts.full else facts.next)
            except UnavailableError:
                raise
            except HeadraceError as error:
                problems = [str(error)]
            yield Finding(f"{self._name} {first}", "", "; ".join(problems))
        if covered < self._row.next:
            lacking = f"offsets {covered} to {self._row.next} are missing, which the registry says are there"
            yield Finding(self._name, "", lacking)

    def _gap(self, covered: int, facts: FileFacts) -> list[str]:
        """What lies between the file before and this one, and what it does not cover itself."""
        if facts.first < covered < facts.end and covered != self._row.first:
            return [f"offsets {facts.first} to {covered} are in two files"]
        gaps = missing(facts.spans, covered, min(facts.end, max(facts.next, self._row.next)))
        return [f"offsets {first} to {last} are missing" for first, last in gaps]

    def _inside(self, first: int, contents: FileContents) -> list[str]:
        """Whether the file is what its name and its own facts say."""
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

    def _beside(self, contents: FileContents, bounds: Bounds | None) -> list[str]:
        """Compare what both hold."""
        facts = contents.facts
        if bounds is None or not facts.spans:
            return []
        low = max(bounds.start, facts.spans[0].first)
        high = min(bounds.end, facts.next)
        return _differences(self._stream(low, high), self._archived(contents, low, high)) if low < high else []

    def _stream(self, low: int, high: int) -> "_Side":
        assert self._decoder is not None
        side = _Side()
        for run in streamed(self._source, self._row.at, low, high):
            side.stamps |= dict(zip(run.offsets, run.timestamps, strict=True))
            side.add(self._decoder.decode(run))
        return side

    def _archived(self, contents: FileContents, low: int, high: int) -> "_Side":
        assert self._archive is not None
        side = _Side()
        stamps = zip(contents.offsets, contents.timestamps, strict=True)
        side.stamps = {offset: at for offset, at in stamps if low <= offset < high}
        for span in contents.facts.spans:
            first, last = max(span.first, low), min(span.next, high)
            for decoded in self._archive.read(self._row.at, first, last) if first < last else ():
                side.add(decoded)
        return side


class _Side:
    """Timestamps and outcomes by offset, to the type of every value and the order of every feature."""

    def __init__(self) -> None:
        self.stamps: dict[int, int] = {}
        self.outcomes: dict[int, bytes] = {}

    def add(self, decoded: Decoded) -> None:
        """Encoded, so that 1, 1.0 and true differ."""
        encode = msgspec.msgpack.Encoder().encode
        found: list[Event | Truth | Refusal] = [*decoded.events, *decoded.truths, *decoded.refusals]
        for one in found:
            self.outcomes[one.offset] = encode(one)


def _differences(stream: _Side, archive: _Side) -> list[str]:
    if stream.stamps == archive.stamps and stream.outcomes == archive.outcomes:
        return []
    lacks, more = stream.stamps.keys() - archive.stamps.keys(), archive.stamps.keys() - stream.stamps.keys()
    both = stream.stamps.keys() & archive.stamps.keys()
    other = [at for at in both if _at(stream, at) != _at(archive, at)]
    told: Mapping[str, Sequence[int]] = {
        "of the stream are missing": sorted(lacks),
        "are not in the stream any more": sorted(more),
        "differ from the stream": sorted(other),
    }
    return [f"{len(found)} records {what}, the first at offset {found[0]}" for what, found in told.items() if found]


def _at(side: _Side, offset: int) -> tuple[int | None, bytes | None]:
    return side.stamps.get(offset), side.outcomes.get(offset)
