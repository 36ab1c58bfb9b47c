"""An archive in memory, written by the archiver's own code: files by partition, and how far they go."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.domain.registry.archive import ArchivedPartition, ArchivedTopic, ArchiveFileInfo, origin_topic
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition
from service.errors import NotFoundError
from service.stream.archive.frames import ArchiveFrameReader
from service.stream.archive.range_file import ParquetOpenRange
from service.stream.decoding.factory import make_decoder

NOW = 1_700_000_000_000


class InMemoryArchive:
    """Implements what a reader needs of `ports.ArchiveFiles` and `ports.Archives`."""

    def __init__(self, *, size: int = 100) -> None:
        self.size = size
        self.reads = 0
        self._files: dict[TopicPartition, dict[int, bytes]] = {}
        self._rows: dict[TopicPartition, ArchivedPartition] = {}

    def write(
        self,
        spec: ModelSpec,
        at: TopicPartition,
        documents: Sequence[Mapping[str, Any] | bytes],
        *,
        first: int = 0,
        timestamps: Sequence[int] | None = None,
        raw: bool = False,
    ) -> None:
        """These records as the files of a partition, a millisecond apart where no timestamps are given."""
        values = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in documents]
        stamps = [*(timestamps or range(NOW, NOW + len(values)))]
        files = self._files.setdefault(at, {})
        for begin in range(0, len(values), self.size):
            end = min(begin + self.size, len(values))
            offsets = range(first + begin, first + end)
            range_ = ParquetOpenRange(
                ArchivedTopic(origin_topic(at.topic), spec, raw),
                make_decoder(spec),
                ArchiveFileInfo(at, offsets.start, first + begin + self.size, (), 0, -1),
            )
            range_.add(Records(at, offsets, stamps[begin:end], values[begin:end], offsets.stop))
            files[offsets.start] = range_.to_bytes()
        last = first + len(values)
        self._rows[at] = ArchivedPartition(at, first, last, len(values), 0, "", 1, datetime.now(UTC))

    def sizes(self, at: TopicPartition) -> Mapping[int, int]:
        """Bytes by first offset."""
        return {first: len(data) for first, data in sorted(self._files.get(at, {}).items())}

    def read(self, at: TopicPartition, first: int) -> bytes:
        """NotFoundError where there is none."""
        self.reads += 1
        if first not in self._files.get(at, {}):
            raise NotFoundError(str(first))
        return self._files[at][first]

    def list(self) -> Sequence[ArchivedPartition]:
        """By topic and partition."""
        return [self._rows[at] for at in sorted(self._rows)]

    def reader(self, spec: ModelSpec) -> ArchiveFrameReader:
        """The archive as that model reads it."""
        files: Any = self
        return ArchiveFrameReader(spec, make_decoder(spec), files, files)
