"""Reads the archive as a model's decoder would have read the stream."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from service.domain.registry.archive import ArchivedSpan, ArchiveFileInfo, mapping_digest, missing_ranges, origin_topic
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, TopicPartition
from service.domain.stream.offset_ranges import union_ranges
from service.domain.stream.position import OffsetBounds, OffsetRange
from service.errors import BelowStartError, NotFoundError
from service.ports.archive import ArchiveFiles, ArchiveProgress
from service.ports.stream import Decoder
from service.stream.archive.range_file import read_archive_file
from service.stream.archive.rows import ArchiveRows, decode_chunk

MAX_CACHED_BYTES = 256_000_000


class ArchiveReader:
    """Implements `ports.archive.Archive`; caches the files read last, since replays switch between partitions."""

    def __init__(self, spec: ModelSpec, decoder: Decoder, files: ArchiveFiles, archives: ArchiveProgress) -> None:
        self._spec = spec
        self._decoder = decoder
        self._files = files
        self._archives = archives
        self._file_offsets: dict[TopicPartition, list[int]] = {}
        self._cached_files: OrderedDict[tuple[TopicPartition, int], ArchiveRows] = OrderedDict()

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return, for each partition, the offsets from the oldest kept file to the newest durable record."""
        rows = [row for row in self._archives.list() if row.at.topic in topics]
        return {row.at: OffsetBounds(row.first, row.next) for row in rows}

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[DecodedRecords]:
        """Yield chunks that follow each other from first to last.

        Raise NotFoundError or BelowStartError, before the first chunk of a file, when that file lacks any of the
        offsets.
        """
        while first < last:
            rows = self._open_rows(at, first, last)
            until = min(last, rows.file_info.end)
            self._require_covered(rows.file_info, first, until)
            for span in rows.file_info.spans:
                low, high = max(span.first, first), min(span.next, until)
                if low < high:
                    yield from self._read_span(rows, span, low, high)
            first = until

    def runs_between(
        self, at: TopicPartition, bounds: OffsetBounds, *, since_ms: int, until_ms: int
    ) -> Sequence[OffsetRange]:
        """Return the runs of records whose timestamps are in the range, by the file's timestamp column."""
        first, found = bounds.start, []
        while first < bounds.end:
            rows = self._open_rows(at, first, bounds.end)
            until = min(bounds.end, rows.file_info.end)
            for _, _, chunk in rows.chunks_between(first, until):
                times = chunk.column("timestamp").cast(pa.int64()).to_numpy()
                inside = (times >= since_ms) & (times < until_ms)
                offsets = chunk.column("offset").to_numpy()[inside].tolist()
                found += [OffsetRange(at.topic, at.partition, offset, offset + 1) for offset in offsets]
            first = until
        return union_ranges(found)

    def _read_span(self, rows: ArchiveRows, span: ArchivedSpan, first: int, last: int) -> Iterator[DecodedRecords]:
        columns = span.mapping == mapping_digest(self._spec, origin_topic(rows.file_info.at.topic))
        for low, high, chunk in rows.chunks_between(first, last):
            if not columns and chunk.column("raw").null_count:
                raise self._other_mapping_error(rows.file_info, low, high)
            yield decode_chunk(chunk, rows.file_info, covered=(low, high), decoder=self._decoder, columns=columns)

    def _open_rows(self, at: TopicPartition, first: int, last: int) -> ArchiveRows:
        """Return the file that has the offset; read it again when its tail has grown or retention has deleted files."""
        name = self._file_of(at, first)
        cached = self._cached_files.get((at, name))
        if (
            cached is None
            or cached.file_info.end <= first
            or missing_ranges(cached.file_info.spans, first, min(last, cached.file_info.end))
        ):
            self._file_offsets.pop(at, None)
            name = self._file_of(at, first)
            cached = ArchiveRows.from_table(
                *read_archive_file(self._files.read(at, name), f"{at.topic}[{at.partition}] {name}")
            )
            if cached.file_info.end <= first:
                raise self._missing_error(at, first, last)
            self._cache(at, name, cached)
        self._cached_files.move_to_end((at, name))
        return cached

    def _cache(self, at: TopicPartition, name: int, rows: ArchiveRows) -> None:
        self._cached_files[at, name] = rows
        while (
            len(self._cached_files) > 1
            and sum(one.table.nbytes for one in self._cached_files.values()) > MAX_CACHED_BYTES
        ):
            self._cached_files.popitem(last=False)

    def _file_of(self, at: TopicPartition, first: int) -> int:
        if at not in self._file_offsets:
            self._file_offsets[at] = list(self._files.sizes(at))
        place = bisect_right(self._file_offsets[at], first)
        if place == 0:
            raise self._missing_error(at, first, first + 1)
        return self._file_offsets[at][place - 1]

    def _require_covered(self, file_info: ArchiveFileInfo, first: int, last: int) -> None:
        gaps = missing_ranges(file_info.spans, first, last)
        if gaps:
            raise self._missing_error(file_info.at, *gaps[0])

    def _missing_error(self, at: TopicPartition, first: int, last: int) -> NotFoundError | BelowStartError:
        name = f"{at.topic}[{at.partition}]"
        bounds = self.bounds([at.topic]).get(at)
        if bounds is not None and first < bounds.start:
            msg = (
                f"{name}: found the archive to begin at offset {bounds.start}, expected {first}: the archive's "
                f"retention has deleted what comes before, or it began later. `headrace learn --accept-gap` goes on "
                "without it"
            )
            return BelowStartError(msg)
        extent = f"offsets {bounds.start} to {bounds.end}" if bounds else "nothing"
        msg = (
            f"{name}: found no offsets {first} to {last} in the archive, which has {extent} of it; start `headrace "
            "archive`, or see with `headrace registry verify` what is missing"
        )
        return NotFoundError(msg)

    def _other_mapping_error(self, file_info: ArchiveFileInfo, first: int, last: int) -> NotFoundError:
        msg = (
            f"{file_info.at.topic}[{file_info.at.partition}]: found offsets {first} to {last} archived by other "
            "`fields` or another task, without their bytes; they cannot be read as this model reads them. `archive: "
            "{raw: always}` keeps the bytes of what is archived from then on"
        )
        return NotFoundError(msg)


class NoArchive:
    """Implements `ports.archive.Archive` when `storage.archive` is null."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return no bounds."""
        del topics
        return {}

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[DecodedRecords]:
        """Raise NotFoundError."""
        msg = (
            f"{at.topic}[{at.partition}]: found no archive to read offsets {first} to {last} from, as storage.archive "
            "is null; name a folder there and start `headrace archive`"
        )
        raise NotFoundError(msg)

    def runs_between(
        self, at: TopicPartition, bounds: OffsetBounds, *, since_ms: int, until_ms: int
    ) -> Sequence[OffsetRange]:
        """Return no runs."""
        del at, bounds, since_ms, until_ms
        return ()
