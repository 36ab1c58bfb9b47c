"""Decodes records that are CSV lines; the columns are known by configuration."""

import csv
import io
import re

from service.domain.specification.model import FieldsSpec
from service.domain.stream.csv_cell import cell_value
from service.domain.stream.events import Decoded, Event, Features, Reason, Records, Scalar, Task
from service.errors import ConfigurationError
from service.stream.decoding import fields as parts
from service.stream.decoding.fields import PartError
from service.stream.decoding.mapped import named_paths
from service.stream.decoding.refusals import one_by_one

_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


class CsvDecoder:
    """One record is one line; empty cells are null; `x` left out means every other column."""

    def __init__(
        self,
        fields: FieldsSpec,
        task: Task,
        *,
        max_event_bytes: int = 1_000_000,
        max_future_skew: float = 3600.0,
    ) -> None:
        if not fields.columns or len(set(fields.columns)) != len(fields.columns):
            msg = "fields.columns: found none or a repeated one, expected the names of the CSV columns"
            raise ConfigurationError(msg)
        self._columns = fields.columns
        self._task = task
        self._limit = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._parts = {name: getattr(fields, name) or name for name in ("id", "ts", "y", "group", "weight")}
        self._features = _feature_columns(fields, taken=set(self._parts.values()))

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event or one refusal."""
        return one_by_one(records, self._read, max_event_bytes=self._limit)

    def _read(self, raw: bytes, offset: int, recorded: int) -> Event:
        row = csv_row(raw, self._columns)
        text = {name: row.get(column) or None for name, column in self._parts.items()}
        return Event(
            offset,
            parts.event_id(text["id"]),
            parts.time(whole(text["ts"]), recorded=recorded, skew_ms=self._skew_ms),
            self._values(row),
            parts.label(self._label(text["y"]), self._task),
            parts.group(text["group"]),
            parts.weight(None if text["weight"] is None else scalar("weight", text["weight"])),
        )

    def _values(self, row: dict[str, str]) -> Features:
        return parts.features({name: scalar(name, row[column]) for name, column in self._features.items()})

    def _label(self, text: str | None) -> Scalar:
        return None if text is None else scalar("y", text)


def _feature_columns(fields: FieldsSpec, *, taken: set[str]) -> dict[str, str]:
    columns = fields.columns or ()
    if fields.x is None or fields.x == "$":
        return {name: name for name in columns if name not in taken}
    named = named_paths((fields.x,) if isinstance(fields.x, str) else fields.x) or {}
    found = {name: path[-1] for name, path in named.items()}
    unknown = sorted(set(found.values()) - set(columns))
    if unknown:
        msg = f"fields.x: found {unknown[0]!r}, expected one of fields.columns: {', '.join(columns)}"
        raise ConfigurationError(msg)
    return found


def csv_row(raw: bytes, columns: tuple[str, ...]) -> dict[str, str]:
    """The cells of one line by column; PartError where there are more or fewer, or it is the header."""
    try:
        rows = list(csv.reader(io.StringIO(raw.decode(), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise PartError(Reason.NOT_CSV, f"{error!s:.200}") from error
    cells = rows[0] if len(rows) == 1 else []
    if len(cells) != len(columns) or tuple(cells) == columns:
        detail = f"found {len(rows)} lines, {len(cells)} cells, expected one of {len(columns)} values"
        raise PartError(Reason.NOT_CSV, detail)
    return dict(zip(columns, cells, strict=True))


def whole(text: str | None) -> str | int | None:
    """An integer where the cell is one."""
    return int(text) if text is not None and _INTEGER.fullmatch(text) else text


def scalar(name: str, text: str) -> Scalar:
    """Return what the cell says; PartError for `nan` and `inf`."""
    found = cell_value(text)
    if isinstance(found, float) and _NOT_FINITE.fullmatch(text.strip()):
        raise PartError(Reason.NON_FINITE, f"{name!r:.80}: found {text.strip()}, expected a finite number")
    return found
