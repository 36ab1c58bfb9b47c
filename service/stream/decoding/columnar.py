"""Decodes runs in which all events have the same numeric features straight into columns, for micro-batches."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from service.domain.specification.limits import LARGEST_EXACT
from service.domain.stream.events import DecodedRecords, Records, Task
from service.learning.engine.columns import EventColumns, Matrix, sort_columns
from service.stream.decoding.envelope import EnvelopeDecoder, Integer, Member, checked_ids
from service.stream.decoding.fields import FieldError
from service.stream.decoding.refusals import to_decoded

MAX_FEATURES = 1000
_LABELS: dict[Task, Any] = {Task.BINARY: bool, Task.MULTICLASS: str, Task.REGRESSION: float}
_features = attrgetter("x")
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ColumnarDecoder:
    """Decodes unambiguous runs with a type made for their features, and leaves all others to the plain decoder.

    The type has one float field for each feature of the first record, so that it rejects any record with other
    features, or with values that are not numbers.
    """

    def __init__(self, plain: EnvelopeDecoder, task: Task) -> None:
        self._plain = plain
        self._label = _LABELS[task]

    def decode(self, records: Records) -> DecodedRecords:
        """Decode every record to exactly one event or one refusal."""
        columns = self._columns(records)
        return self._plain.decode(records) if columns is None else to_decoded(records, columns, [])

    def _columns(self, records: Records) -> EventColumns | None:
        names, found = self._read(records.values)
        given_times = [one.ts for one in found]
        parts = (3 + len(names)) * len(found) + len(given_times) - given_times.count(msgspec.UNSET)
        # No record has fewer colons than keys, so that the sums are equal only if no key is repeated.
        if not found or b"".join(records.values).count(b":") != parts:
            return None
        try:
            ids, times = (
                checked_ids([one.id for one in found]),
                self._plain.event_times(given_times, records.timestamps),
            )
        except FieldError:
            return None
        ascending, numbers = _numbers(names, found)
        ys: list[Any] = [one.y for one in found]
        if not _is_exact(numbers) or (self._label is float and not _is_exact(np.array(ys))):
            return None
        return EventColumns(records.offsets, ids, times, ys, names=ascending, numbers=numbers)

    def _read(self, values: Sequence[bytes]) -> tuple[tuple[str, ...], list[Any]]:
        """Return the feature names and all decoded records; no records when any does not fit."""
        if not values or self._plain.has_too_large(values):
            return (), []
        try:
            names = tuple(_decode_names(_decode_names(values[0])["x"]))[:MAX_FEATURES]
            return names, [*map(_record_decoder(names, self._label), values)] if names else []
        except (ValueError, KeyError, RecursionError):
            return (), []


def _numbers(names: tuple[str, ...], found: Sequence[Any]) -> tuple[tuple[str, ...], Matrix]:
    values = chain.from_iterable(map(msgspec.structs.astuple, map(_features, found)))
    return sort_columns(names, np.fromiter(values, np.float64, len(found) * len(names)))


def _is_exact(numbers: Matrix) -> bool:
    """Return whether all numbers are small enough that a float holds every integer exactly."""
    return bool(numbers.min() >= -LARGEST_EXACT and numbers.max() <= LARGEST_EXACT)


@lru_cache(maxsize=16)
def _record_decoder(names: tuple[str, ...], label: type) -> Callable[[bytes], Any]:
    """Return a function that decodes a record with these features, and raises for any other."""
    numbers = [(f"f{at}", float, msgspec.field(name=name)) for at, name in enumerate(names)]
    features = msgspec.defstruct("Features", numbers, gc=False, forbid_unknown_fields=True)
    parts: list[Any] = [("id", str | Integer), ("x", features), ("y", label), ("ts", Member, msgspec.UNSET)]
    whole = msgspec.defstruct("Whole", parts, gc=False, forbid_unknown_fields=True)
    return msgspec.json.Decoder(whole).decode
