"""A source that follows a script, with an end of input and a crash in it: resumption without a broker."""

import time
from collections.abc import Mapping, Sequence
from enum import Enum

from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import NotFoundError


class Cue(Enum):
    """What a script says besides records; each takes an offset that holds no record, and happens once."""

    END = "end"
    CRASH = "crash"


END = Cue.END
"""The input ends here; a source that is assigned this offset goes on behind it."""
CRASH = Cue.CRASH
"""The poll that comes here raises CrashError."""


class CrashError(Exception):
    """The script's crash; no error of Headrace's own, so that nothing handles it."""


class Script:
    """One partition's items, read by one source after the other."""

    def __init__(self, items: Sequence[bytes | Cue], *, topic: str = "scripted") -> None:
        self.at = TopicPartition(topic, 0)
        self.acknowledged: Position | None = None
        self._items = list(items)
        self._consumed: set[int] = set()

    def source(self) -> "ScriptedSource":
        """A reader; cues that have happened to another are gaps to it."""
        return ScriptedSource(self)

    def next_cue(self, start: int, kinds: frozenset[Cue]) -> int:
        """The first offset from `start` on with such a cue still to come; else where the script is over."""
        for offset in range(start, len(self._items)):
            if self._items[offset] in kinds and offset not in self._consumed:
                return offset
        return len(self._items)

    def happens_at(self, offset: int, kind: Cue) -> bool:
        """Whether this cue happens now."""
        happens = self.next_cue(offset, frozenset({kind})) == offset < len(self._items)
        if happens:
            self._consumed.add(offset)
        return happens

    def records(self, start: int, stop: int) -> Records:
        """Return the records between two offsets."""
        found = [(i, item) for i, item in enumerate(self._items[start:stop], start) if isinstance(item, bytes)]
        offsets = [i for i, _ in found]
        return Records(self.at, offsets, offsets, [item for _, item in found], stop)


class ScriptedSource:
    """Implements `ports.Source`; a record's timestamp is its offset."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._offset = 0

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Up to the next END, a time being an offset; NotFoundError for an unknown topic."""
        for topic in topics:
            if topic != self._script.at.topic:
                msg = f"topic {topic!r} is not in this script; found {self._script.at.topic}"
                raise NotFoundError(msg)
        end = self._script.next_cue(0, frozenset({END}))
        return {self._script.at: OffsetBounds(min(since_ms or 0, end), end)}

    def assign(self, position: Position) -> None:
        """Read from here; behind an END where it is one."""
        require_within_bounds(position, self.bounds([self._script.at.topic]))
        self._offset = position.offsets[self._script.at]
        self._script.happens_at(self._offset, END)

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """The records before the next cue; CrashError at a CRASH, and nothing at an END."""
        stop = min(self._script.next_cue(self._offset, frozenset(Cue)), self._offset + limit)
        if stop > self._offset:
            start, self._offset = self._offset, stop
            return [self._script.records(start, stop)]
        if self._script.happens_at(self._offset, CRASH):
            msg = f"the script crashes at offset {self._offset}"
            raise CrashError(msg)
        time.sleep(timeout_s)
        return ()

    def acknowledge(self, position: Position) -> None:
        """Kept in the script's `acknowledged`."""
        self._script.acknowledged = position

    def close(self) -> None:
        """Nothing to release."""
