"""Imports older history from the user's files.

Each file becomes one partition of a topic of its own, beside the archive of the live topic.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from service.domain.registry.archive import ArchivedTopic, ArchiveFileInfo, BackfillResult, range_end, split_records
from service.domain.stream.events import DecodedRecords, Event, LabelRecord, Records, TopicPartition
from service.ports.archive import ArchiveFiles
from service.ports.stream import Decoder
from service.stream.archive.range_file import NO_TIME, ParquetOpenRange
from service.stream.publish import read_events

CHUNK_RECORDS = 4096


class HistoryFile:
    """Implements `ports.archive.BackfillSource` for the files that `headrace stream publish` reads."""

    def __init__(self, path: Path, topic: ArchivedTopic, decoder: Decoder, files: ArchiveFiles, *, size: int) -> None:
        self._path = path
        self._topic = topic
        self._decoder = decoder
        self._files = files
        self._size = size
        self._lines = read_events(str(path), fields=topic.spec.fields)
        with path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, at: TopicPartition) -> BackfillResult:
        """Write the file's records to the archive from offset 0 on; first delete what an earlier attempt left."""
        for first in self._files.sizes(at):
            self._files.delete(at, first)
        records = size = refused = 0
        open_range = self._new_range(at, 0)
        for run, bad in self._read_records(at):
            refused += bad
            rest: Records | None = run
            while rest is not None:
                part, rest = split_records(rest, open_range.file_info.end)
                open_range.add(part)
                if open_range.file_info.is_full:
                    size += self._write_range(open_range)
                    records += open_range.file_info.records
                    open_range = self._new_range(at, open_range.file_info.end)
        if open_range.file_info.records:
            size += self._write_range(open_range)
            records += open_range.file_info.records
        return BackfillResult(records, refused, size)

    def _new_range(self, at: TopicPartition, first: int) -> ParquetOpenRange:
        file_info = ArchiveFileInfo(at, first, range_end(first, self._size), (), 0, NO_TIME, self.digest)
        return ParquetOpenRange(self._topic, self._decoder, file_info)

    def _write_range(self, open_range: ParquetOpenRange) -> int:
        data = open_range.to_bytes()
        self._files.write(open_range.file_info.at, open_range.file_info.first, data)
        return len(data)

    def _read_records(self, at: TopicPartition) -> Iterator[tuple[Records, int]]:
        """Yield runs of records, each with its number of refusals.

        A record's timestamp is its event's time, or the file's modification time when it has none.
        """
        arrived_ms = int(self._path.stat().st_mtime * 1000)
        first = 0
        while values := list(islice(self._lines, CHUNK_RECORDS)):
            offsets = range(first, first + len(values))
            here = TopicPartition(self._topic.topic, at.partition)
            untimed = Records(here, offsets, [NO_TIME] * len(values), values, offsets.stop)
            decoded = self._decoder.decode(untimed)
            times = _event_times(decoded, arrived_ms)
            times_ms = [times.get(offset, arrived_ms) for offset in offsets]
            yield replace(untimed, at=at, timestamps=times_ms), len(decoded.refusals)
            first = offsets.stop


def _event_times(decoded: DecodedRecords, arrived_ms: int) -> dict[int, int]:
    found: list[Event | LabelRecord] = [*decoded.events, *decoded.truths]
    return {one.offset: arrived_ms if one.ts == NO_TIME else one.ts for one in found}
