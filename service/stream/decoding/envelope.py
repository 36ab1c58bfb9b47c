"""Decodes the native envelope: `{id, ts?, x, y?, group?, weight?}` as JSON."""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import UNSET

from service.domain.specification.limits import LARGEST_INTEGER
from service.domain.stream.events import DecodedRecords, Event, Features, Label, Records, Refusal, Task
from service.domain.stream.json_keys import has_unique_keys
from service.stream.decoding import fields as fields_of_records
from service.stream.decoding.fields import FieldError
from service.stream.decoding.json_documents import parse_json_object
from service.stream.decoding.refusals import read_each, to_decoded

Member: TypeAlias = int | float | str | bool | msgspec.UnsetType | None
Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER - 1)]

_UNIFORM_LABEL_TYPES: dict[Task, tuple[set[type], ...]] = {
    Task.BINARY: ({bool},),
    Task.MULTICLASS: ({str}, {bool}),
    Task.REGRESSION: ({float},),
}
_SHORT_ID_CHARS = 32
_BLOCK_RECORDS = 64


class Envelope(msgspec.Struct, gc=False):
    """An event as it is written; `fields` checks what the types leave open."""

    id: str | Integer
    x: dict[str, float | Integer | str | bool | None]
    ts: Member = UNSET
    y: Member = UNSET
    group: Member = UNSET
    weight: Member = UNSET


class EnvelopeDecoder:
    """Checks runs column by column, and single records only where that leaves a doubt."""

    def __init__(self, task: Task, *, max_event_bytes: int = 1_000_000, max_future_skew: float = 3600.0) -> None:
        self._task = task
        self._max_event_bytes = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._decode_typed = msgspec.json.Decoder(Envelope).decode

    def decode(self, records: Records) -> DecodedRecords:
        """Decode every record to exactly one event or one refusal."""
        count = len(records.values)
        found = self._parse(records.values)
        events = self._decode_block(records, found, slice(0, count))
        if events is not None:
            return to_decoded(records, events, [])
        into: tuple[list[Event], list[Refusal]] = ([], [])
        for start in range(0, count, _BLOCK_RECORDS):
            self._decode_block_into(records, found, slice(start, min(start + _BLOCK_RECORDS, count)), into=into)
        return to_decoded(records, *into)

    def has_too_large(self, values: Sequence[bytes]) -> bool:
        """Return whether any record is larger than an event may be."""
        return max(map(len, values)) > self._max_event_bytes

    def _parse(self, values: Sequence[bytes]) -> list[Envelope | None]:
        """Return each record as an envelope, or None when it does not fit the type and must be read by itself."""
        if values and self.has_too_large(values):
            values = [raw if len(raw) <= self._max_event_bytes else b"" for raw in values]
        found: list[Envelope | None] = []
        rest = iter(values)
        while len(found) < len(values):
            try:
                found.extend(map(self._decode_typed, rest))
            except (ValueError, RecursionError):
                found.append(None)
        return found

    def _decode_block_into(
        self,
        records: Records,
        found: Sequence[Envelope | None],
        at: slice,
        *,
        into: tuple[list[Event], list[Refusal]],
    ) -> None:
        events = self._decode_block(records, found, at)
        if events is not None:
            into[0].extend(events)
            return
        reads = zip(found[at], records.values[at], records.offsets[at], records.timestamps[at], strict=True)
        read_each(reads, self._read_record, max_event_bytes=self._max_event_bytes, into=into)

    def _decode_block(self, records: Records, found: Sequence[Envelope | None], at: slice) -> list[Event] | None:
        """Return the events of a block in which nothing is in doubt, else None."""
        block = found[at]
        if not block or None in block:
            return None
        whole = cast("Sequence[Envelope]", block)
        xs = [one.x for one in whole]
        return self._decode_common_form(records, whole, xs, at) or self._decode_by_column(records, whole, xs, at)

    def _decode_common_form(
        self, records: Records, whole: Sequence[Envelope], xs: Sequence[Features], at: slice
    ) -> list[Event] | None:
        """Decode the commonest form: id, features and a label of the task's own type; return None for any other."""
        first = whole[0]
        ys = [one.y for one in whole]
        if (
            not _all_absent((first.ts, first.group, first.weight))
            or set(map(type, ys)) not in _UNIFORM_LABEL_TYPES[self._task]
        ):
            return None
        # Each further part, and each repeated key, would bring a colon more.
        if b"".join(records.values[at]).count(b":") != 3 * len(whole) + sum(map(len, xs)):
            return None
        try:
            ids = checked_ids([one.id for one in whole])
        except FieldError:
            return None
        return [*map(Event, records.offsets[at], ids, records.timestamps[at], xs, cast("Sequence[Label]", ys))]

    def _decode_by_column(
        self, records: Records, whole: Sequence[Envelope], xs: Sequence[Features], at: slice
    ) -> list[Event] | None:
        ts, ys = [one.ts for one in whole], [one.y for one in whole]
        groups, weights = [one.group for one in whole], [one.weight for one in whole]
        if not _all_keys_are_unique(records.values[at], whole, optional=(ts, ys, groups, weights)):
            return None
        try:
            ids = checked_ids([one.id for one in whole])
            columns: list[Any] = [ids, self.event_times(ts, records.timestamps[at]), xs, self._labels(ys)]
            if not _all_absent(groups) or not _all_absent(weights):
                columns += [map(fields_of_records.parse_group, groups), map(fields_of_records.parse_weight, weights)]
            return [*map(Event, records.offsets[at], *columns)]
        except FieldError:
            return None

    def event_times(self, values: Sequence[Member], recorded: Sequence[int]) -> Sequence[int]:
        """Return the event times (epoch ms): the records' own, or those given if no later than the skew allows.

        Raise FieldError for one that is malformed or too late.
        """
        if _all_absent(values):
            return recorded
        times = [ts for ts in values if type(ts) is int]
        steady = len(times) == len(values) and min(times) >= 0 <= min(recorded)
        if steady and max(times) <= min(min(recorded) + self._skew_ms, fields_of_records.MAX_TIME_MS):
            return times
        return [
            fields_of_records.parse_time(ts, recorded=own, skew_ms=self._skew_ms)
            for ts, own in zip(values, recorded, strict=True)
        ]

    def _labels(self, values: Sequence[Member]) -> Sequence[Label | None]:
        """Return the labels as the task needs them, None where absent."""
        types = set(map(type, values))
        if types == {msgspec.UnsetType}:
            return [None] * len(values)
        if types in _UNIFORM_LABEL_TYPES[self._task]:
            return cast("Sequence[Label]", values)
        return [*map(fields_of_records.parse_label, values, repeat(self._task))]

    def _read_record(self, found: Envelope | None, raw: bytes, offset: int, recorded: int) -> Event:
        """Return the event of one record.

        A record that does not fit the type, or may repeat a key, is parsed again as plain JSON.
        """
        typed = found is not None and _keys_are_unique(raw, found)
        part: Callable[[str], Any] = found.__getattribute__ if typed else parse_json_object(raw).get
        return Event(
            offset,
            fields_of_records.parse_id(part("id")),
            fields_of_records.parse_time(part("ts"), recorded=recorded, skew_ms=self._skew_ms),
            part("x") if typed else fields_of_records.parse_features(part("x")),
            fields_of_records.parse_label(part("y"), self._task),
            fields_of_records.parse_group(part("group")),
            fields_of_records.parse_weight(part("weight")),
        )


def _all_absent(column: Sequence[Member]) -> bool:
    return column.count(UNSET) == len(column)


def checked_ids(ids: Sequence[str | int]) -> Sequence[str | int]:
    """Return the ids; integers are valid by their type, and strings are checked only if they may be too long."""
    kinds = set(map(type, ids))
    if kinds == {int}:
        return ids
    lengths = {len(one) for one in ids if isinstance(one, str)}
    if lengths and not 0 < min(lengths) <= max(lengths) <= _SHORT_ID_CHARS:
        return [*map(fields_of_records.parse_id, ids)]
    return ids


def _count_keys(found: Envelope) -> int:
    optional = (found.ts, found.y, found.group, found.weight)
    return 2 + len(found.x) + sum(part is not UNSET for part in optional)


def _keys_are_unique(raw: bytes, found: Envelope) -> bool:
    keys = _count_keys(found)
    if raw.count(b":") == keys:
        return True
    texts = (found.id, found.ts, found.y, found.group, *found.x, *found.x.values())
    return has_unique_keys(raw, keys, texts)


def _all_keys_are_unique(
    values: Sequence[bytes], found: Sequence[Envelope], *, optional: Sequence[Sequence[Member]]
) -> bool:
    """Return whether no record repeats a key, counting keys by column if every event has the same members."""
    present = [len(column) - column.count(UNSET) for column in optional]
    if set(present) <= {0, len(found)}:
        names = 2 + sum(count > 0 for count in present)
        # No record has fewer colons than keys, so that the sums are equal only if all are.
        if b"".join(values).count(b":") == names * len(found) + sum([len(one.x) for one in found]):
            return True
    return all(map(_keys_are_unique, values, found))
