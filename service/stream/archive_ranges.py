"""Begins ranges of the archive, or takes them up where their file ends."""

from collections.abc import Callable

from service.domain.archive import ArchivedTopic, FileContents, FileFacts, range_end
from service.domain.events import TopicPartition
from service.domain.specification import ModelSpec
from service.errors import NotFoundError
from service.ports import ArchiveFiles, Decoder
from service.stream.archive_range import OpenRange, opened
from service.stream.archive_rows import milliseconds

NO_TIME = -1


class Ranges:
    """Implements `ports.ArchiveRanges`."""

    def __init__(self, files: ArchiveFiles, decoder: Callable[[ModelSpec], Decoder]) -> None:
        self._files = files
        self._decoder = decoder
        self._known: dict[tuple[TopicPartition, int], FileFacts] = {}

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """The newest file at or before the offset goes on, even a full one, unless its range lies before the offset."""
        aligned = offset - offset % size
        before = [first for first in self._files.sizes(at) if first <= offset]
        if not before:
            return self._new(topic, at, first=aligned, size=size)
        facts, held = opened(self._files.read(at, before[-1]), f"{at.topic}[{at.partition}] {before[-1]}")
        if facts.end <= offset:
            return self._new(topic, at, first=max(aligned, facts.end), size=size)
        return OpenRange(topic, self._decoder(topic.spec), facts, held=held)

    def follow(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """Up to the next multiple of the size; a file that is there already, ahead of its row, is taken up."""
        try:
            facts, held = opened(self._files.read(at, offset), f"{at.topic}[{at.partition}] {offset}")
        except NotFoundError:
            return self._new(topic, at, first=offset, size=size)
        return OpenRange(topic, self._decoder(topic.spec), facts, held=held)

    def facts(self, at: TopicPartition, first: int) -> FileFacts:
        """Those of a full file are read once, as it never changes."""
        known = self._known.get((at, first))
        if known is None:
            known = opened(self._files.read(at, first), f"{at.topic}[{at.partition}] {first}")[0]
            if known.full:
                self._known[at, first] = known
        return known

    def contents(self, at: TopicPartition, first: int) -> FileContents:
        """Read at once, since a tail may be replaced at any time."""
        facts, table = opened(self._files.read(at, first), f"{at.topic}[{at.partition}] {first}")
        return FileContents(facts, table.column("offset").to_pylist(), milliseconds(table.column("timestamp")))

    def _new(self, topic: ArchivedTopic, at: TopicPartition, *, first: int, size: int) -> OpenRange:
        facts = FileFacts(at, first, range_end(first, size), (), 0, NO_TIME)
        return OpenRange(topic, self._decoder(topic.spec), facts)
