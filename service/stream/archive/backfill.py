"""Older history from the user's own files, as a partition each of a topic of its own beside the live one's archive."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from service.domain.registry.archive import ArchivedTopic, Brought, FileFacts, range_end, split_at
from service.domain.stream.events import Decoded, Event, Records, TopicPartition, Truth
from service.ports.archive import ArchiveFiles
from service.ports.stream import Decoder
from service.stream.archive.range_file import NO_TIME, OpenRange
from service.stream.publish import read_events

CHUNK = 4096


class HistoryFile:
    """Implements `ports.HistoryFile`: Parquet, CSV or JSON lines, as `headrace stream publish` reads them."""

    def __init__(self, path: Path, topic: ArchivedTopic, decoder: Decoder, files: ArchiveFiles, *, size: int) -> None:
        self._path = path
        self._topic = topic
        self._decoder = decoder
        self._files = files
        self._size = size
        self._lines = read_events(str(path), fields=topic.spec.fields)
        with path.open("rb") as file:
            self.source = hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, at: TopicPartition) -> Brought:
        """Its records from offset 0; whatever an attempt that died has left there is removed first."""
        for first in self._files.sizes(at):
            self._files.delete(at, first)
        records = size = refused = 0
        open_range = self._range(at, 0)
        for run, bad in self._records(at):
            refused += bad
            rest: Records | None = run
            while rest is not None:
                part, rest = split_at(rest, open_range.facts.end)
                open_range.add(part)
                if open_range.facts.full:
                    size += self._put(open_range)
                    records += open_range.facts.records
                    open_range = self._range(at, open_range.facts.end)
        if open_range.facts.records:
            size += self._put(open_range)
            records += open_range.facts.records
        return Brought(records, refused, size)

    def _range(self, at: TopicPartition, first: int) -> OpenRange:
        facts = FileFacts(at, first, range_end(first, self._size), (), 0, NO_TIME, self.source)
        return OpenRange(self._topic, self._decoder, facts)

    def _put(self, open_range: OpenRange) -> int:
        data = open_range.to_bytes()
        self._files.write(open_range.facts.at, open_range.facts.first, data)
        return len(data)

    def _records(self, at: TopicPartition) -> Iterator[tuple[Records, int]]:
        """Runs, and how many of each are refused; a record's time is its event's, or the file's where it has none."""
        arrived_ms = int(self._path.stat().st_mtime * 1000)
        first = 0
        while values := list(islice(self._lines, CHUNK)):
            offsets = range(first, first + len(values))
            here = TopicPartition(self._topic.topic, at.partition)
            bare = Records(here, offsets, [NO_TIME] * len(values), values, offsets.stop)
            decoded = self._decoder.decode(bare)
            times = _times(decoded, arrived_ms)
            stamps = [times.get(offset, arrived_ms) for offset in offsets]
            yield replace(bare, at=at, timestamps=stamps), len(decoded.refusals)
            first = offsets.stop


def _times(decoded: Decoded, arrived_ms: int) -> dict[int, int]:
    found: list[Event | Truth] = [*decoded.events, *decoded.truths]
    return {one.offset: arrived_ms if one.ts == NO_TIME else one.ts for one in found}
