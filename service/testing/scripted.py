"""A source that follows a script with an end of input and a crash in it: tests of resumption without a broker."""

import time
from collections.abc import Mapping, Sequence
from enum import Enum

from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import NotFoundError


class Cue(Enum):
    """What a script contains besides records; a cue takes an offset without a record, and happens once."""

    END = "end"
    CRASH = "crash"


END = Cue.END
"""The input ends here; a source that is assigned this offset continues after it."""
CRASH = Cue.CRASH
"""The poll that reaches this cue raises CrashError."""


class CrashError(Exception):
    """The script's crash; not one of Headrace's errors, so that nothing handles it."""


class Script:
    """One partition's items, for one source after the other."""

    def __init__(self, items: Sequence[bytes | Cue], *, topic: str = "scripted") -> None:
        self.at = TopicPartition(topic, 0)
        self.acknowledged: Position | None = None
        self._items = list(items)
        self._consumed: set[int] = set()

    def source(self) -> "ScriptedSource":
        """Return a new reader; cues that have happened to an earlier one are gaps for it."""
        return ScriptedSource(self)

    def next_cue(self, start: int, kinds: frozenset[Cue]) -> int:
        """Return the first offset from `start` on with a cue of these kinds still to come, or the script's end."""
        for offset in range(start, len(self._items)):
            if self._items[offset] in kinds and offset not in self._consumed:
                return offset
        return len(self._items)

    def happens_at(self, offset: int, kind: Cue) -> bool:
        """Return whether the next cue of this kind is at the offset, and mark it as happened."""
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
    """Implements `ports.stream.Source`; a record's timestamp is its offset."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._offset = 0

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the offsets up to the next END, taking times as offsets; raise NotFoundError for an unknown topic."""
        for topic in topics:
            if topic != self._script.at.topic:
                msg = f"topic {topic!r} is not in this script; found {self._script.at.topic}"
                raise NotFoundError(msg)
        end = self._script.next_cue(0, frozenset({END}))
        return {self._script.at: OffsetBounds(min(since_ms or 0, end), end)}

    def assign(self, position: Position) -> None:
        """Read from this position; an END at it is skipped."""
        require_within_bounds(position, self.bounds([self._script.at.topic]))
        self._offset = position.offsets[self._script.at]
        self._script.happens_at(self._offset, END)

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return the records before the next cue, or none at an END; raise CrashError at a CRASH."""
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
        """Store the position in the script's `acknowledged`."""
        self._script.acknowledged = position

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
