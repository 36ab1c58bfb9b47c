"""Reading events from files and river's data sets, and appending them to a stream."""

import csv
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from river import datasets

from service.errors import ConfigurationError, NotFoundError
from service.ports import Sink

CHUNK = 1000
ENVELOPE = ("ts", "y", "group", "weight")
INSIDE_RIVER = (
    *("AirlinePassengers", "Bananas", "ChickWeights", "ImageSegments", "Phishing", "SMSSpam", "TrumpApproval"),
    *("WaterFlow", "WebTraffic"),
)
EPOCH_MS = 1_700_000_000_000


def read_events(source: str, *, format: str | None = None) -> Iterator[bytes]:  # noqa: A002 - as the option
    """Events as they are sent: JSON lines unchanged, other rows as envelopes."""
    if source.startswith("river:"):
        return _river(source.removeprefix("river:"))
    if source == "-":
        return _lines(sys.stdin.buffer)
    path = Path(source)
    if not path.exists():
        msg = f"found no file {source}; expected JSONL, CSV or Parquet, - for stdin, or river:Phishing"
        raise NotFoundError(msg)
    kind = format or path.suffix.removeprefix(".").lower()
    if kind in {"jsonl", "json", "ndjson"}:
        return _file_lines(path)
    if kind == "csv":
        return _csv(path)
    if kind in {"parquet", "pq"}:
        return _parquet(path)
    msg = f"found {path.name}, expected a file that ends in .jsonl, .csv or .parquet"
    raise ConfigurationError(msg)


def publish(
    sink: Sink,
    topic: str,
    events: Iterable[bytes],
    *,
    rate: float | None = None,
    repeat: int = 1,
    on_progress: Callable[[int], None] = lambda _sent: None,
) -> int:
    """Append in batches; with `repeat`, later rounds get ids of their own. How many were sent."""
    source = iter(events) if repeat == 1 else _repeated(list(events), repeat)
    size = CHUNK if rate is None else max(1, min(CHUNK, int(rate / 10)))
    began, sent = time.monotonic(), 0
    while chunk := list(islice(source, size)):
        sink.append(topic, chunk)
        sent += len(chunk)
        on_progress(sent)
        if rate is not None:
            time.sleep(max(began + sent / rate - time.monotonic(), 0))
    return sent


def _repeated(events: list[bytes], repeat: int) -> Iterator[bytes]:
    for number in range(repeat):
        for event in events:
            yield event if number == 0 else _renamed(event, number)


def _renamed(event: bytes, number: int) -> bytes:
    try:
        data = msgspec.json.decode(event)
    except msgspec.DecodeError:
        return event
    if isinstance(data, dict) and "id" in data:
        data["id"] = f"{data['id']}#{number}"
        return msgspec.json.encode(data)
    return event


def _lines(file: Iterable[bytes]) -> Iterator[bytes]:
    return (line.rstrip(b"\r\n") for line in file if line.strip())


def _file_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _lines(file)


def _csv(path: Path) -> Iterator[bytes]:
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            yield _envelope({name: _scalar(value) for name, value in row.items()}, f"{path.stem}-{number}")


def _parquet(path: Path) -> Iterator[bytes]:
    number = 0
    for batch in pq.ParquetFile(path).iter_batches(CHUNK):
        for row in batch.to_pylist():
            yield _envelope(row, f"{path.stem}-{number}")
            number += 1


def _river(name: str) -> Iterator[bytes]:
    if name not in INSIDE_RIVER:
        msg = f"found river:{name}, expected one of the data sets that river ships: {', '.join(INSIDE_RIVER)}"
        raise NotFoundError(msg)
    return _river_rows(name)


def _river_rows(name: str) -> Iterator[bytes]:
    for number, (x, y) in enumerate(getattr(datasets, name)()):
        features = {key: value for key, value in x.items() if isinstance(value, int | float | str | bool)}
        event = {"id": f"{name}-{number}", "ts": EPOCH_MS + 1000 * number, "x": features, "y": y}
        yield msgspec.json.encode(event)


def _envelope(row: Mapping[str, Any], name: str) -> bytes:
    event: dict[str, Any] = {"id": row.get("id") if row.get("id") is not None else name}
    event |= {key: row[key] for key in ENVELOPE if row.get(key) is not None}
    event["x"] = {key: value for key, value in row.items() if key != "id" and key not in ENVELOPE}
    return msgspec.json.encode(event)


def _scalar(text: str | None) -> Any:
    if text is None or text == "":
        return None
    if text in {"true", "True"}:
        return True
    if text in {"false", "False"}:
        return False
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
