"""Reads events from files and river's data sets, and appends them to a stream."""

import csv
import difflib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

import msgspec
import pyarrow.parquet as pq
from river import datasets

from service.domain.specification.model import FieldsSpec
from service.errors import ConfigurationError, NotFoundError
from service.ports.stream import Sink
from service.stream.decoding.csv_lines import parse_cell
from service.stream.decoding.fields import FieldError
from service.stream.decoding.json_documents import parse_json_object
from service.stream.decoding.mapped import KeyPath, parse_path, value_at

CHUNK_EVENTS = 1000
ENVELOPE_FIELDS = ("ts", "y", "group", "weight")
RIVER_DATASETS = (
    *("AirlinePassengers", "Bananas", "ChickWeights", "ImageSegments", "Phishing", "SP500Stocks", "Shuttle"),
    *("TrumpApproval", "WaterFlow"),
)
EPOCH_MS = 1_700_000_000_000


def read_events(source: str, *, fields: FieldsSpec | None = None) -> Iterator[bytes]:
    """Yield events as they are sent; JSON lines, and CSV lines if the model reads CSV, stay unchanged.

    Rows of other files become envelopes, or one flat object each if `fields` maps the model's layout. Raise
    NotFoundError for a missing file or data set, ConfigurationError for an unknown kind of file.
    """
    if source.startswith("river:"):
        return _read_river(source.removeprefix("river:"))
    if source == "-":
        return _strip_lines(sys.stdin.buffer)
    path = FilePath(source)
    if not path.is_file():
        near = _suggestion(path.name, [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else [])
        msg = f"found no file {source}{near}; expected JSONL, CSV or Parquet, - for stdin, or river:Phishing"
        raise NotFoundError(msg)
    kind = path.suffix.removeprefix(".").lower()
    if kind in {"jsonl", "json", "ndjson"}:
        return _file_lines(path)
    if kind == "csv":
        lines = fields is not None and fields.format == "csv"
        return (
            _csv_lines(path, (fields and fields.columns) or ())
            if lines
            else _encode_rows(_csv_rows(path), path, fields)
        )
    if kind in {"parquet", "pq"}:
        return _encode_rows(_parquet_rows(path), path, fields)
    msg = f"found {path.name}, expected a file that ends in .jsonl, .csv or .parquet"
    raise ConfigurationError(msg)


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def publish_events(
    sink: Sink,
    topic: str,
    events: Iterable[bytes],
    *,
    rate: float | None = None,
    on_progress: Callable[[int], None] = lambda _sent: None,
) -> int:
    """Append the events in batches, at most `rate` a second if given; return how many were sent."""
    source = iter(events)
    size = CHUNK_EVENTS if rate is None else max(1, min(CHUNK_EVENTS, int(rate / 10)))
    began, sent = time.monotonic(), 0
    while chunk := list(islice(source, size)):
        sink.append(topic, chunk)
        sent += len(chunk)
        on_progress(sent)
        if rate is not None:
            time.sleep(max(began + sent / rate - time.monotonic(), 0))
    return sent


def repeat_events(events: Iterable[bytes], times: int, *, id_path: str = "id") -> Iterator[bytes]:
    """Yield the events `times` times; ids of later rounds end in `#` and the round's number.

    So no round's events are duplicates of another's. CSV lines are the exception: they stay as they are.
    """
    first_round: list[bytes] = []
    for event in events:
        if times > 1:
            first_round.append(event)
        yield event
    path = parse_path(id_path)
    for number in range(1, times):
        yield from (_with_round_id(event, number, path) for event in first_round)


def _with_round_id(event: bytes, number: int, id_path: KeyPath) -> bytes:
    """Return the event with the round in its id; one that is malformed or has no id stays as it is."""
    try:
        data = parse_json_object(event)
    except FieldError:
        return event
    holder = value_at(data, id_path[:-1])
    if not isinstance(holder, dict) or holder.get(id_path[-1]) is None:
        return event
    holder[id_path[-1]] = f"{holder[id_path[-1]]}#{number}"
    return msgspec.json.encode(data)


def _strip_lines(file: Iterable[bytes]) -> Iterator[bytes]:
    return (line.rstrip(b"\r\n") for line in file if line.strip())


def _file_lines(path: FilePath) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _strip_lines(file)


def _csv_lines(path: FilePath, columns: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines without their header."""
    lines = _file_lines(path)
    first = next(lines, None)
    if first is not None and next(csv.reader([first.decode(errors="replace")]), []) != list(columns):
        yield first
    yield from lines


def _csv_rows(path: FilePath) -> Iterator[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file, restkey="", restval=""):
            yield {name: _parse_cell(name, text) for name, text in row.items() if isinstance(text, str)}


def _parquet_rows(path: FilePath) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(path).iter_batches(CHUNK_EVENTS):
        for row in batch.to_pylist():
            yield {name: _json_value(value) for name, value in row.items()}


def _encode_rows(rows: Iterator[dict[str, Any]], path: FilePath, fields: FieldsSpec | None) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        yield msgspec.json.encode(row) if fields is not None else _envelope(row, f"{path.stem}-{number}")


def _read_river(name: str) -> Iterator[bytes]:
    if name not in RIVER_DATASETS:
        known = ", ".join(RIVER_DATASETS)
        msg = f"found river:{name}{_suggestion(name, RIVER_DATASETS)}, expected one that river ships: {known}"
        raise NotFoundError(msg)
    return _river_rows(name)


def _river_rows(name: str) -> Iterator[bytes]:
    for number, (x, y) in enumerate(getattr(datasets, name)()):
        features = {key: value for key, value in x.items() if isinstance(value, int | float | str | bool)}
        event = {"id": f"{name}-{number}", "ts": EPOCH_MS + 1000 * number, "x": features, "y": y}
        yield msgspec.json.encode(event)


def _envelope(row: Mapping[str, Any], name: str) -> bytes:
    event: dict[str, Any] = {"id": row.get("id") if row.get("id") is not None else name}
    event |= {key: row[key] for key in ENVELOPE_FIELDS if row.get(key) is not None}
    event["x"] = {key: value for key, value in row.items() if key != "id" and key not in ENVELOPE_FIELDS}
    return msgspec.json.encode(event)


def _parse_cell(name: str, text: str) -> Any:
    """Return a number, a boolean, null, or the text; infinity stays text, for the learner to refuse."""
    try:
        return _json_value(parse_cell(name, text))
    except FieldError:
        return None if text.strip().lower().endswith("nan") else text


def _json_value(value: Any) -> Any:
    """Return the value as JSON has it: NaN becomes null, and a time without a zone is taken as UTC."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return float(value) if isinstance(value, Decimal) else value
