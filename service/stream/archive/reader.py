"""Reading the archive as a model's decoder would have read the stream."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from service.domain.registry.archive import FileFacts, Span, mapping_of, missing, origin_topic
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Decoded, TopicPartition
from service.domain.stream.offset_ranges import union
from service.domain.stream.position import Bounds, Run
from service.errors import BelowStartError, NotFoundError
from service.ports.archive import ArchiveFiles, Archives
from service.ports.stream import Decoder
from service.stream.archive.range_file import opened
from service.stream.archive.rows import Rows, decode

HELD_BYTES = 256_000_000


class ArchiveReader:
    """Implements `ports.Archive`; keeps the files it read last, since replays go to and fro between partitions."""

    def __init__(self, spec: ModelSpec, decoder: Decoder, files: ArchiveFiles, archives: Archives) -> None:
        self._spec = spec
        self._decoder = decoder
        self._files = files
        self._archives = archives
        self._names: dict[TopicPartition, list[int]] = {}
        self._held: OrderedDict[tuple[TopicPartition, int], Rows] = OrderedDict()

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """From the oldest file that is kept to the newest durable record."""
        rows = [row for row in self._archives.list() if row.at.topic in topics]
        return {row.at: Bounds(row.first, row.next) for row in rows}

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[Decoded]:
        """Chunks that follow each other from first to last; an error before the first of a file that lacks any."""
        while first < last:
            rows = self._rows(at, first, last)
            until = min(last, rows.facts.end)
            self._require(rows.facts, first, until)
            for span in rows.facts.spans:
                low, high = max(span.first, first), min(span.next, until)
                if low < high:
                    yield from self._span(rows, span, low, high)
            first = until

    def within(self, at: TopicPartition, held: Bounds, *, since_ms: int, until_ms: int) -> Sequence[Run]:
        """By the column of timestamps."""
        first, found = held.start, []
        while first < held.end:
            rows = self._rows(at, first, held.end)
            until = min(held.end, rows.facts.end)
            for _, _, chunk in rows.between(first, until):
                times = chunk.column("timestamp").cast(pa.int64()).to_numpy()
                inside = (times >= since_ms) & (times < until_ms)
                offsets = chunk.column("offset").to_numpy()[inside].tolist()
                found += [Run(at.topic, at.partition, offset, offset + 1) for offset in offsets]
            first = until
        return union(found)

    def _span(self, rows: Rows, span: Span, first: int, last: int) -> Iterator[Decoded]:
        columns = span.mapping == mapping_of(self._spec, origin_topic(rows.facts.at.topic))
        for low, high, chunk in rows.between(first, last):
            if not columns and chunk.column("raw").null_count:
                raise self._other_mapping(rows.facts, low, high)
            yield decode(chunk, rows.facts, cover=(low, high), decoder=self._decoder, columns=columns)

    def _rows(self, at: TopicPartition, first: int, last: int) -> Rows:
        """The file that has the offset; read anew where its tail has grown, or retention has moved on."""
        name = self._name(at, first)
        held = self._held.get((at, name))
        if held is None or held.facts.end <= first or missing(held.facts.spans, first, min(last, held.facts.end)):
            self._names.pop(at, None)
            name = self._name(at, first)
            held = Rows.of(*opened(self._files.read(at, name), f"{at.topic}[{at.partition}] {name}"))
            if held.facts.end <= first:
                raise self._lacking(at, first, last)
            self._hold(at, name, held)
        self._held.move_to_end((at, name))
        return held

    def _hold(self, at: TopicPartition, name: int, rows: Rows) -> None:
        self._held[at, name] = rows
        while len(self._held) > 1 and sum(one.table.nbytes for one in self._held.values()) > HELD_BYTES:
            self._held.popitem(last=False)

    def _name(self, at: TopicPartition, first: int) -> int:
        if at not in self._names:
            self._names[at] = list(self._files.sizes(at))
        place = bisect_right(self._names[at], first)
        if place == 0:
            raise self._lacking(at, first, first + 1)
        return self._names[at][place - 1]

    def _require(self, facts: FileFacts, first: int, last: int) -> None:
        gaps = missing(facts.spans, first, last)
        if gaps:
            raise self._lacking(facts.at, *gaps[0])

    def _lacking(self, at: TopicPartition, first: int, last: int) -> NotFoundError | BelowStartError:
        name = f"{at.topic}[{at.partition}]"
        held = self.bounds([at.topic]).get(at)
        if held is not None and first < held.start:
            msg = (
                f"{name}: found the archive to begin at offset {held.start}, expected {first}: the archive's retention "
                f"has deleted what comes before, or it began later. `headrace learn --accept-gap` goes on without it"
            )
            return BelowStartError(msg)
        extent = f"offsets {held.start} to {held.end}" if held else "nothing"
        msg = (
            f"{name}: found no offsets {first} to {last} in the archive, which has {extent} of it; start `headrace "
            "archive`, or see with `headrace registry verify` what is missing"
        )
        return NotFoundError(msg)

    def _other_mapping(self, facts: FileFacts, first: int, last: int) -> NotFoundError:
        msg = (
            f"{facts.at.topic}[{facts.at.partition}]: found offsets {first} to {last} archived by other `fields` or "
            "another task, without their bytes; they cannot be read as this model reads them. `archive: {raw: always}` "
            "keeps the bytes of what is archived from then on"
        )
        return NotFoundError(msg)


class NoArchive:
    """Implements `ports.Archive` where `storage.archive` is null."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Nothing."""
        del topics
        return {}

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[Decoded]:
        """NotFoundError."""
        msg = (
            f"{at.topic}[{at.partition}]: found no archive to read offsets {first} to {last} from, as storage.archive "
            "is null; name a folder there and start `headrace archive`"
        )
        raise NotFoundError(msg)

    def within(self, at: TopicPartition, held: Bounds, *, since_ms: int, until_ms: int) -> Sequence[Run]:
        """Nothing."""
        del at, held, since_ms, until_ms
        return ()
