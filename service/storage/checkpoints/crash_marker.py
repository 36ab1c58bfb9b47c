"""Marks the records being learned in a small memory-mapped file that outlives the process."""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec

from service.domain.stream.position import OffsetRange

_MAX_TOPIC_BYTES = 255
_SLOT = struct.Struct(f"<qqqH{_MAX_TOPIC_BYTES}s")
_EMPTY_SLOT = _SLOT.pack(-1, -1, 0, 0, b"")


class MappedCrashMarker:
    """Implements `ports.artifacts.CrashMarker`.

    `path` holds the mark; `path` with the suffix `.deaths` counts the crashes that later starts have found there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._deaths_path = path.with_suffix(".deaths")
        self._map: mmap.mmap | None = None
        self._deaths: dict[OffsetRange, int] | None = None

    def mark(self, run: OffsetRange) -> None:
        """Mark the run of records; costs a memory write, and survives the death of the process but not of the host."""
        topic = run.topic.encode()[:_MAX_TOPIC_BYTES]
        if self._map is None:
            self._map = self._open()
        _SLOT.pack_into(self._map, 0, run.first, run.last, run.partition, len(topic), topic)

    def unmark(self) -> None:
        """Remove the mark once the records are learned, so that a later crash is not blamed on them."""
        if self._map is not None:
            self._map[:] = _EMPTY_SLOT

    def suspects(self) -> Mapping[OffsetRange, int]:
        """Return the records during which a process died, with the number of deaths; counts the newest death once."""
        if self._deaths is None:
            self._deaths = self._count_death()
        return self._deaths

    def clear(self) -> None:
        """Forget all marks and counts, once the lineage has got past these records."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._path.unlink(missing_ok=True)
        self._deaths_path.unlink(missing_ok=True)
        self._deaths = {}

    def _open(self) -> mmap.mmap:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w+b") as file:
            file.write(_EMPTY_SLOT)
            file.flush()
            return mmap.mmap(file.fileno(), _SLOT.size)

    def _count_death(self) -> dict[OffsetRange, int]:
        deaths = self._read_deaths()
        marked = self._read_mark()
        self._path.unlink(missing_ok=True)
        if marked is not None:
            deaths[marked] = deaths.get(marked, 0) + 1
        rows = [(run.topic, run.partition, run.first, run.last, count) for run, count in deaths.items()]
        temporary_path = self._deaths_path.with_suffix(".part")
        temporary_path.parent.mkdir(parents=True, exist_ok=True)
        temporary_path.write_bytes(msgspec.json.encode(rows))
        temporary_path.replace(self._deaths_path)
        return deaths

    def _read_mark(self) -> OffsetRange | None:
        """Return what the last process marked, or None if it marked nothing or died before its mark was complete."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if len(data) != _SLOT.size:
            return None
        first, last, partition, length, topic = _SLOT.unpack(data)
        return None if first < 0 else OffsetRange(topic[:length].decode(errors="replace"), partition, first, last)

    def _read_deaths(self) -> dict[OffsetRange, int]:
        data = self._deaths_path.read_bytes() if self._deaths_path.exists() else b"[]"
        try:
            rows = msgspec.json.decode(data, type=list[tuple[str, int, int, int, int]])
        except msgspec.DecodeError:
            return {}
        return {OffsetRange(topic, partition, first, last): count for topic, partition, first, last, count in rows}
