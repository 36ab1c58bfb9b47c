"""Decodes records that are CSV lines; the configuration names their columns."""

import csv
import io
import re

from service.domain.specification.model import FieldsSpec
from service.domain.stream.csv_cell import cell_value
from service.domain.stream.events import DecodedRecords, Event, Features, Records, RefusalReason, Scalar, Task
from service.errors import ConfigurationError
from service.stream.decoding import fields as fields_of_records
from service.stream.decoding.fields import FieldError
from service.stream.decoding.mapped import named_paths
from service.stream.decoding.refusals import decode_each

_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


class CsvDecoder:
    """Decodes each record as one line; empty cells are null, and without `x` every other column is a feature."""

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
        self._max_event_bytes = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._parts = {name: getattr(fields, name) or name for name in ("id", "ts", "y", "group", "weight")}
        self._features = _feature_columns(fields, taken=set(self._parts.values()))

    def decode(self, records: Records) -> DecodedRecords:
        """Decode every record to exactly one event or one refusal."""
        return decode_each(records, self._read_record, max_event_bytes=self._max_event_bytes)

    def _read_record(self, raw: bytes, offset: int, recorded: int) -> Event:
        row = parse_csv_line(raw, self._columns)
        text = {name: row.get(column) or None for name, column in self._parts.items()}
        return Event(
            offset,
            fields_of_records.parse_id(text["id"]),
            fields_of_records.parse_time(parse_integer_cell(text["ts"]), recorded=recorded, skew_ms=self._skew_ms),
            self._values(row),
            fields_of_records.parse_label(self._label(text["y"]), self._task),
            fields_of_records.parse_group(text["group"]),
            fields_of_records.parse_weight(None if text["weight"] is None else parse_cell("weight", text["weight"])),
        )

    def _values(self, row: dict[str, str]) -> Features:
        return fields_of_records.parse_features(
            {name: parse_cell(name, row[column]) for name, column in self._features.items()}
        )

    def _label(self, text: str | None) -> Scalar:
        return None if text is None else parse_cell("y", text)


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


def parse_csv_line(raw: bytes, columns: tuple[str, ...]) -> dict[str, str]:
    """Return the cells of a line by column; raise FieldError for the header, or another number of cells."""
    try:
        rows = list(csv.reader(io.StringIO(raw.decode(), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise FieldError(RefusalReason.NOT_CSV, f"{error!s:.200}") from error
    cells = rows[0] if len(rows) == 1 else []
    if len(cells) != len(columns) or tuple(cells) == columns:
        detail = f"found {len(rows)} lines, {len(cells)} cells, expected one of {len(columns)} values"
        raise FieldError(RefusalReason.NOT_CSV, detail)
    return dict(zip(columns, cells, strict=True))


def parse_integer_cell(text: str | None) -> str | int | None:
    """Return the cell as an integer if it is one, else as it is."""
    return int(text) if text is not None and _INTEGER.fullmatch(text) else text


def parse_cell(name: str, text: str) -> Scalar:
    """Return the value of the cell; raise FieldError for `nan` and `inf`."""
    found = cell_value(text)
    if isinstance(found, float) and _NOT_FINITE.fullmatch(text.strip()):
        raise FieldError(RefusalReason.NON_FINITE, f"{name!r:.80}: found {text.strip()}, expected a finite number")
    return found
