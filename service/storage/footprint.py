"""The event being learned, in a small memory-mapped file that outlives the process."""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec

from service.domain.events import TopicPartition

_LONGEST_TOPIC = 255
_SLOT = struct.Struct(f"<qqH{_LONGEST_TOPIC}s")


class MappedFootprint:
    """`path` holds the mark; `path` with the suffix `.deaths` counts what starts have found there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tally = path.with_suffix(".deaths")
        self._map: mmap.mmap | None = None
        self._counted: dict[tuple[TopicPartition, int], int] | None = None

    def mark(self, at: TopicPartition, offset: int) -> None:
        """Costs a memory write; durable against the death of the process, not of the host."""
        topic = at.topic.encode()[:_LONGEST_TOPIC]
        if self._map is None:
            self._map = self._opened()
        _SLOT.pack_into(self._map, 0, offset, at.partition, len(topic), topic)

    def suspects(self) -> Mapping[tuple[TopicPartition, int], int]:
        """Events during which the process died, and how often; counts the newest death once."""
        if self._counted is None:
            self._counted = self._count_death()
        return self._counted

    def clear(self) -> None:
        """Forget; the lineage has got past."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._path.unlink(missing_ok=True)
        self._tally.unlink(missing_ok=True)
        self._counted = {}

    def _opened(self) -> mmap.mmap:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w+b") as file:
            file.write(_SLOT.pack(-1, 0, 0, b""))
            file.flush()
            return mmap.mmap(file.fileno(), _SLOT.size)

    def _count_death(self) -> dict[tuple[TopicPartition, int], int]:
        deaths = self._read_tally()
        where = self._read_mark()
        self._path.unlink(missing_ok=True)
        if where is not None:
            deaths[where] = deaths.get(where, 0) + 1
        rows = [(at.topic, at.partition, offset, count) for (at, offset), count in deaths.items()]
        aside = self._tally.with_suffix(".part")
        aside.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(msgspec.json.encode(rows))
        aside.replace(self._tally)
        return deaths

    def _read_mark(self) -> tuple[TopicPartition, int] | None:
        """What the last process marked; None where it died before its first mark was whole."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if len(data) != _SLOT.size:
            return None
        offset, partition, length, topic = _SLOT.unpack(data)
        if offset < 0:
            return None
        return TopicPartition(topic[:length].decode(errors="replace"), partition), offset

    def _read_tally(self) -> dict[tuple[TopicPartition, int], int]:
        data = self._tally.read_bytes() if self._tally.exists() else b"[]"
        try:
            rows = msgspec.json.decode(data, type=list[tuple[str, int, int, int]])
        except msgspec.DecodeError:
            return {}
        return {(TopicPartition(topic, partition), offset): count for topic, partition, offset, count in rows}
