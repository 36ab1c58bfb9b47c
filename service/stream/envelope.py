"""Decodes the native envelope: `{id, ts?, x, y?, group?, weight?}` as JSON."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from service.domain.events import Decoded, Event, Features, Label, Records, Task
from service.stream import parts
from service.stream.documents import document
from service.stream.reading import decoded, one_by_one

Member: TypeAlias = int | float | str | bool | msgspec.UnsetType | None

_STEADY_LABELS: dict[Task, tuple[set[type], ...]] = {
    Task.BINARY: ({bool},),
    Task.MULTICLASS: ({str}, {bool}),
    Task.REGRESSION: ({float},),
}
_SHORT = 32


class Envelope(msgspec.Struct, gc=False):
    """An event as it is written; `parts` checks what the types leave open."""

    id: str | int
    x: Features
    ts: Member = UNSET
    y: Member = UNSET
    group: Member = UNSET
    weight: Member = UNSET


class EnvelopeDecoder:
    """Decodes whole runs into typed values, and looks closer only where that leaves a doubt."""

    def __init__(self, task: Task, *, max_event_bytes: int = 1_000_000, max_future_skew: float = 3600.0) -> None:
        self._task = task
        self._limit = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._typed = msgspec.json.Decoder(Envelope).decode

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event or one refusal."""
        events = self._all_at_once(records)
        if events is not None:
            return decoded(records, events, [])
        return one_by_one(records, self._read, max_event_bytes=self._limit)

    def _all_at_once(self, records: Records) -> list[Event] | None:
        """The events of a run in which nothing at all is in doubt."""
        values = records.values
        if not values or max(map(len, values)) > self._limit:
            return None
        try:
            found = [*map(self._typed, values)]
        except (ValueError, RecursionError):
            return None
        times = self._times([one.ts for one in found], records.timestamps)
        labels = self._labels([one.y for one in found])
        if times is None or labels is None or not _plain_ids([one.id for one in found]):
            return None
        if any(one.group is not UNSET or one.weight is not UNSET for one in found):
            return None
        names = 2 + (found[0].ts is not UNSET) + (found[0].y is not UNSET)
        xs = [one.x for one in found]
        if [raw.count(b":") for raw in values] != [names + len(x) for x in xs]:
            return None
        return [*map(Event, records.offsets, [one.id for one in found], times, xs, labels)]

    def _times(self, given: Sequence[Member], recorded: Sequence[int]) -> Sequence[int] | None:
        """All absent, or all milliseconds no later than the skew allows."""
        if given.count(UNSET) == len(given):
            return recorded
        times = [ts for ts in given if type(ts) is int]
        steady = len(times) == len(given) and min(times) >= 0 <= min(recorded)
        return times if steady and max(times) <= min(recorded) + self._skew_ms else None

    def _labels(self, given: Sequence[Member]) -> Sequence[Label | None] | None:
        """All absent, or all of the type that the task knows best."""
        types = set(map(type, given))
        if types == {msgspec.UnsetType}:
            return [None] * len(given)
        steady = types in _STEADY_LABELS[self._task]
        return [y for y in given if not isinstance(y, msgspec.UnsetType)] if steady else None

    def _read(self, raw: bytes, offset: int, recorded: int) -> Event:
        try:
            found = self._typed(raw)
        except (ValueError, RecursionError):
            return self._event(document(raw), offset, recorded)
        if raw.count(b":") != _keys(found):
            return self._event(document(raw), offset, recorded)
        return self._event(msgspec.structs.asdict(found), offset, recorded)

    def _event(self, found: dict[str, Any], offset: int, recorded: int) -> Event:
        return Event(
            offset,
            parts.event_id(found.get("id")),
            parts.time(found.get("ts"), recorded=recorded, skew_ms=self._skew_ms),
            parts.features(found.get("x")),
            parts.label(found.get("y"), self._task),
            parts.group(found.get("group")),
            parts.weight(found.get("weight")),
        )


def _plain_ids(ids: Sequence[str | int]) -> bool:
    """Whether these are certainly good: 64-bit integers, or strings short in any encoding."""
    numbers = [one for one in ids if isinstance(one, int)]
    if not numbers:
        lengths = {len(one) for one in ids if isinstance(one, str)}
        return min(lengths) > 0 and max(lengths) <= _SHORT
    bound = parts.LARGEST_INTEGER
    return len(numbers) == len(ids) and -bound <= min(numbers) and max(numbers) < bound


def _keys(found: Envelope) -> int:
    optional = (found.ts, found.y, found.group, found.weight)
    return 2 + len(found.x) + sum(part is not UNSET for part in optional)
