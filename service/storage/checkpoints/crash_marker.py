"""The records being learned, in a small memory-mapped file that outlives the process."""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec

from service.domain.stream.position import Run

_LONGEST_TOPIC = 255
_SLOT = struct.Struct(f"<qqqH{_LONGEST_TOPIC}s")
_NOTHING = _SLOT.pack(-1, -1, 0, 0, b"")


class MappedFootprint:
    """`path` holds the mark; `path` with the suffix `.deaths` counts what starts have found there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tally = path.with_suffix(".deaths")
        self._map: mmap.mmap | None = None
        self._counted: dict[Run, int] | None = None

    def mark(self, run: Run) -> None:
        """Costs a memory write; durable against the death of the process, not of the host."""
        topic = run.topic.encode()[:_LONGEST_TOPIC]
        if self._map is None:
            self._map = self._opened()
        _SLOT.pack_into(self._map, 0, run.first, run.last, run.partition, len(topic), topic)

    def unmark(self) -> None:
        """They are learned; a death from here on is none of theirs."""
        if self._map is not None:
            self._map[:] = _NOTHING

    def suspects(self) -> Mapping[Run, int]:
        """Records during which the process died, and how often; counts the newest death once."""
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
            file.write(_NOTHING)
            file.flush()
            return mmap.mmap(file.fileno(), _SLOT.size)

    def _count_death(self) -> dict[Run, int]:
        deaths = self._read_tally()
        where = self._read_mark()
        self._path.unlink(missing_ok=True)
        if where is not None:
            deaths[where] = deaths.get(where, 0) + 1
        rows = [(run.topic, run.partition, run.first, run.last, count) for run, count in deaths.items()]
        aside = self._tally.with_suffix(".part")
        aside.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(msgspec.json.encode(rows))
        aside.replace(self._tally)
        return deaths

    def _read_mark(self) -> Run | None:
        """What the last process marked; None where it died before its first mark was whole."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if len(data) != _SLOT.size:
            return None
        first, last, partition, length, topic = _SLOT.unpack(data)
        return None if first < 0 else Run(topic[:length].decode(errors="replace"), partition, first, last)

    def _read_tally(self) -> dict[Run, int]:
        data = self._tally.read_bytes() if self._tally.exists() else b"[]"
        try:
            rows = msgspec.json.decode(data, type=list[tuple[str, int, int, int, int]])
        except msgspec.DecodeError:
            return {}
        return {Run(topic, partition, first, last): count for topic, partition, first, last, count in rows}
