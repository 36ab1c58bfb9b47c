"""Decodes the native envelope: `{id, ts?, x, y?, group?, weight?}` as JSON."""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import UNSET

from service.domain.specification.limits import LARGEST_INTEGER
from service.domain.stream.events import Decoded, Event, Features, Label, Records, Refusal, Task
from service.domain.stream.json_keys import colons_explained
from service.stream.decoding import fields as parts
from service.stream.decoding.fields import PartError
from service.stream.decoding.json_documents import document
from service.stream.decoding.refusals import decoded, read_each

Member: TypeAlias = int | float | str | bool | msgspec.UnsetType | None
Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER - 1)]

_STEADY_LABELS: dict[Task, tuple[set[type], ...]] = {
    Task.BINARY: ({bool},),
    Task.MULTICLASS: ({str}, {bool}),
    Task.REGRESSION: ({float},),
}
_SHORT = 32
_BLOCK = 64


class Envelope(msgspec.Struct, gc=False):
    """An event as it is written; `parts` checks what the types leave open."""

    id: str | Integer
    x: dict[str, float | Integer | str | bool | None]
    ts: Member = UNSET
    y: Member = UNSET
    group: Member = UNSET
    weight: Member = UNSET


class EnvelopeDecoder:
    """Judges runs column by column, and looks closer only where that leaves a doubt."""

    def __init__(self, task: Task, *, max_event_bytes: int = 1_000_000, max_future_skew: float = 3600.0) -> None:
        self._task = task
        self._limit = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._typed = msgspec.json.Decoder(Envelope).decode

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event or one refusal."""
        count = len(records.values)
        found = self._parsed(records.values)
        events = self._together(records, found, slice(0, count))
        if events is not None:
            return decoded(records, events, [])
        into: tuple[list[Event], list[Refusal]] = ([], [])
        for start in range(0, count, _BLOCK):
            self._block(records, found, slice(start, min(start + _BLOCK, count)), into=into)
        return decoded(records, *into)

    def has_too_large(self, values: Sequence[bytes]) -> bool:
        """Whether any record is larger than an event may be."""
        return max(map(len, values)) > self._limit

    def _parsed(self, values: Sequence[bytes]) -> list[Envelope | None]:
        """Each record in its type; None where it does not fit, and so is looked at by itself."""
        if values and self.has_too_large(values):
            values = [raw if len(raw) <= self._limit else b"" for raw in values]
        found: list[Envelope | None] = []
        rest = iter(values)
        while len(found) < len(values):
            try:
                found.extend(map(self._typed, rest))
            except (ValueError, RecursionError):
                found.append(None)
        return found

    def _block(
        self,
        records: Records,
        found: Sequence[Envelope | None],
        at: slice,
        *,
        into: tuple[list[Event], list[Refusal]],
    ) -> None:
        events = self._together(records, found, at)
        if events is not None:
            into[0].extend(events)
            return
        reads = zip(found[at], records.values[at], records.offsets[at], records.timestamps[at], strict=True)
        read_each(reads, self._read, max_event_bytes=self._limit, into=into)

    def _together(self, records: Records, found: Sequence[Envelope | None], at: slice) -> list[Event] | None:
        """The events of a block in which nothing at all is in doubt."""
        block = found[at]
        if not block or None in block:
            return None
        whole = cast("Sequence[Envelope]", block)
        xs = [one.x for one in whole]
        return self._plain(records, whole, xs, at) or self._columns(records, whole, xs, at)

    def _plain(
        self, records: Records, whole: Sequence[Envelope], xs: Sequence[Features], at: slice
    ) -> list[Event] | None:
        """The commonest form, which has nothing but id, features and a label of the task's own type."""
        first = whole[0]
        ys = [one.y for one in whole]
        if not _absent((first.ts, first.group, first.weight)) or set(map(type, ys)) not in _STEADY_LABELS[self._task]:
            return None
        # Each further part, and each repeated key, would bring a colon more.
        if b"".join(records.values[at]).count(b":") != 3 * len(whole) + sum(map(len, xs)):
            return None
        try:
            ids = ids_of([one.id for one in whole])
        except PartError:
            return None
        return [*map(Event, records.offsets[at], ids, records.timestamps[at], xs, cast("Sequence[Label]", ys))]

    def _columns(
        self, records: Records, whole: Sequence[Envelope], xs: Sequence[Features], at: slice
    ) -> list[Event] | None:
        ts, ys = [one.ts for one in whole], [one.y for one in whole]
        groups, weights = [one.group for one in whole], [one.weight for one in whole]
        if not _all_keys_once(records.values[at], whole, optional=(ts, ys, groups, weights)):
            return None
        try:
            ids = ids_of([one.id for one in whole])
            columns: list[Any] = [ids, self.times(ts, records.timestamps[at]), xs, self._labels(ys)]
            if not _absent(groups) or not _absent(weights):
                columns += [map(parts.group, groups), map(parts.weight, weights)]
            return [*map(Event, records.offsets[at], *columns)]
        except PartError:
            return None

    def times(self, given: Sequence[Member], recorded: Sequence[int]) -> Sequence[int]:
        """The records' own, or milliseconds no later than the skew allows."""
        if _absent(given):
            return recorded
        times = [ts for ts in given if type(ts) is int]
        steady = len(times) == len(given) and min(times) >= 0 <= min(recorded)
        if steady and max(times) <= min(min(recorded) + self._skew_ms, parts.LAST_MS):
            return times
        return [parts.time(ts, recorded=own, skew_ms=self._skew_ms) for ts, own in zip(given, recorded, strict=True)]

    def _labels(self, given: Sequence[Member]) -> Sequence[Label | None]:
        """None where absent, else as the task needs them."""
        types = set(map(type, given))
        if types == {msgspec.UnsetType}:
            return [None] * len(given)
        if types in _STEADY_LABELS[self._task]:
            return cast("Sequence[Label]", given)
        return [*map(parts.label, given, repeat(self._task))]

    def _read(self, found: Envelope | None, raw: bytes, offset: int, recorded: int) -> Event:
        """One record; what does not fit its type, or may repeat a key, is parsed once more as plain JSON."""
        typed = found is not None and _keys_once(raw, found)
        part: Callable[[str], Any] = found.__getattribute__ if typed else document(raw).get
        return Event(
            offset,
            parts.event_id(part("id")),
            parts.time(part("ts"), recorded=recorded, skew_ms=self._skew_ms),
            part("x") if typed else parts.features(part("x")),
            parts.label(part("y"), self._task),
            parts.group(part("group")),
            parts.weight(part("weight")),
        )


def _absent(column: Sequence[Member]) -> bool:
    return column.count(UNSET) == len(column)


def ids_of(ids: Sequence[str | int]) -> Sequence[str | int]:
    """The same; integers are good by their type, strings if they are short in any encoding."""
    kinds = set(map(type, ids))
    if kinds == {int}:
        return ids
    lengths = {len(one) for one in ids if isinstance(one, str)}
    if lengths and not 0 < min(lengths) <= max(lengths) <= _SHORT:
        return [*map(parts.event_id, ids)]
    return ids


def _keys(found: Envelope) -> int:
    optional = (found.ts, found.y, found.group, found.weight)
    return 2 + len(found.x) + sum(part is not UNSET for part in optional)


def _keys_once(raw: bytes, found: Envelope) -> bool:
    keys = _keys(found)
    if raw.count(b":") == keys:
        return True
    texts = (found.id, found.ts, found.y, found.group, *found.x, *found.x.values())
    return colons_explained(raw, keys, texts)


def _all_keys_once(values: Sequence[bytes], found: Sequence[Envelope], *, optional: Sequence[Sequence[Member]]) -> bool:
    """Counts keys by column where every event has the same parts."""
    present = [len(column) - column.count(UNSET) for column in optional]
    if set(present) <= {0, len(found)}:
        names = 2 + sum(count > 0 for count in present)
        # No record has fewer colons than keys, so that the sums are equal only if all are.
        if b"".join(values).count(b":") == names * len(found) + sum([len(one.x) for one in found]):
            return True
    return all(map(_keys_once, values, found))
