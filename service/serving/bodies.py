"""What a request asks to have predicted: JSON, JSON Lines or CSV, one item or many."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from service.domain.events import EventId, Features, Scalar
from service.learning.feature_range import Kind
from service.learning.judgement import Judgement
from service.serving.edge_errors import MalformedError, UnprocessableError, UnsupportedMediaError

MOST_ITEMS = 100_000
_decode = msgspec.json.Decoder().decode
_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "": None}


class Asked(NamedTuple):
    """Items in the order given; `many` where the answer is a list, too, though it be of one."""

    xs: Sequence[Features]
    ids: Sequence[EventId | None]
    many: bool


def asked(content_type: str, body: bytes, judgement: Judgement) -> Asked:
    """The items of a body; MalformedError, UnprocessableError or UnsupportedMediaError."""
    kind, _, rest = content_type.partition(";")
    read = _READERS.get(kind) or _READERS.get(kind.strip().lower())
    if read is None:
        msg = f"found a body of type {content_type!r:.80}, expected one of {', '.join(filter(None, _READERS))}"
        raise UnsupportedMediaError(msg)
    found = read(body, rest, judgement)
    if len(found.xs) > MOST_ITEMS:
        msg = f"found {len(found.xs)} items, expected at most {MOST_ITEMS} in a request"
        raise UnprocessableError(msg)
    return found


def _json(body: bytes, rest: str, judgement: Judgement) -> Asked:
    del rest, judgement
    found = _decoded(body, "JSON")
    if type(found) is list:
        return _items(found)
    x, key = _item(found, 0)
    return Asked([x], [key], many=False)


def _json_lines(body: bytes, rest: str, judgement: Judgement) -> Asked:
    del rest, judgement
    return _items([_decoded(line, f"line {n} of JSON Lines") for n, line in _lines(body)])


def _lines(body: bytes) -> list[tuple[int, bytes]]:
    return [(n, line) for n, line in enumerate(body.split(b"\n"), start=1) if line.strip()]


def _decoded(data: bytes, what: str) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"found a body that is no {what}: {error!s:.200}"
        raise MalformedError(msg) from error


def _items(found: Sequence[Any]) -> Asked:
    pairs = [_item(one, n) for n, one in enumerate(found)]
    return Asked([x for x, _ in pairs], [key for _, key in pairs], many=True)


def _item(found: Any, number: int) -> tuple[Features, EventId | None]:
    """Bare features, or an envelope with an object `x` in it."""
    if type(found) is not dict:
        msg = f'found item {number} to be {type(found).__name__}, expected an object of features, or {{"id", "x"}}'
        raise UnprocessableError(msg)
    inner = found.get("x")
    if type(inner) is not dict:
        return found, None
    key = found.get("id")
    if key is not None and (type(key) not in {str, int} or (type(key) is str and not 0 < len(key.encode()) <= 128)):
        msg = f"found {key!r:.80} as the id of item {number}, expected a string of up to 128 bytes or an integer"
        raise UnprocessableError(msg)
    return inner, key


def _csv(body: bytes, rest: str, judgement: Judgement) -> Asked:
    """A line an item; without a header its columns are the features in the order in which the model met them."""
    try:
        rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        msg = f"found a body that is no CSV: {error!s:.200}"
        raise MalformedError(msg) from error
    headless = re.search(r"\bheader\s*=\s*\"?absent\b", rest, re.IGNORECASE) is not None
    names = list(judgement.names) if headless else (rows.pop(0) if rows else [])
    if len(set(names)) != len(names):
        msg = f"found the header {','.join(names)!r:.200}, expected every column once"
        raise UnprocessableError(msg)
    wrong = next((n for n, row in enumerate(rows) if len(row) != len(names)), None)
    if wrong is not None:
        expected = ", ".join(names)
        msg = f"found {len(rows[wrong])} cells in item {wrong}, expected {len(names)}: {expected:.400}"
        raise UnprocessableError(msg)
    readers = [_reader(judgement.kind(name)) for name in names]
    cells = [[read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows]
    return Asked([dict(zip(names, row, strict=True)) for row in cells], [None] * len(cells), many=True)


def _reader(kind: Kind | None) -> Callable[[str], Scalar]:
    """How cells of a feature are read: text stays text where the model knows the feature as text."""
    return _text if kind is Kind.STRING else _scalar


def _text(cell: str) -> Scalar:
    return cell or None


def _scalar(cell: str) -> Scalar:
    """A number, true or false, nothing, or text."""
    try:
        return float(cell) if "_" not in cell else cell
    except ValueError:
        found = cell.strip().lower()
        return _WORDS.get(found, cell)


_READERS: Mapping[str, Callable[[bytes, str, Judgement], Asked]] = {
    "application/json": _json,
    "": _json,
    "application/jsonlines": _json_lines,
    "application/x-ndjson": _json_lines,
    "application/jsonl": _json_lines,
    "text/csv": _csv,
}
