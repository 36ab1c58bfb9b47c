"""What a request asks to have predicted: JSON, JSON Lines or CSV, one item or many."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from service.domain.stream.csv_cell import cell_value
from service.domain.stream.events import EventId, Features, Reason, Scalar
from service.domain.stream.json_keys import colons_explained, repeated_key
from service.learning.guard.feature_range import Kind
from service.learning.guard.prediction_guard import Judgement
from service.serving.edge.errors import MalformedError, UnprocessableError, UnsupportedMediaError

MOST_ITEMS = 100_000
MOST_TOLD = 100
_COLON = ord(":")
_decode = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(list[msgspec.Raw]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Asked(msgspec.Struct, frozen=True, gc=False):
    """Items in the order given; `many` where the answer is a list, too, though it be of one."""

    xs: Sequence[Features]
    ids: Sequence[EventId | None]
    many: bool


def asked(content_type: str, body: bytes, judgement: Judgement) -> Asked:
    """The items of a body; MalformedError, UnprocessableError or UnsupportedMediaError."""
    if content_type in _READERS:
        return _READERS[content_type](body, "", judgement)
    kind, _, rest = content_type.partition(";")
    read = _READERS.get(kind.strip().lower())
    if read is None:
        msg = f"found a body of type {content_type!r:.80}, expected one of {', '.join(filter(None, _READERS))}"
        raise UnsupportedMediaError(msg)
    return read(body, rest, judgement)


def _json(body: bytes, _rest: str, _judgement: Judgement) -> Asked:
    try:
        found = _decode(body)
    except _UNREADABLE as error:
        raise _malformed(error, "JSON") from error
    if type(found) is list:
        return _list(found, body)
    x, key = _item(found, 0)
    if body.count(b":") != (len(found) if x is found else len(found) + len(x)):
        _require_once([found], [body])
    return Asked([x], [key], many=False)


def _list(found: Sequence[Any], body: bytes) -> Asked:
    return _items(found, _colons(body), lambda: [bytes(one) for one in _members(body)])


def _colons(body: bytes) -> int:
    """Five times as quick for a large body as its own `count`."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == _COLON))


def _json_lines(body: bytes, _rest: str, _judgement: Judgement) -> Asked:
    lines = _lines(body)
    return _items([_line(n, line) for n, line in lines], _colons(body), lambda: [line for _, line in lines])


def _lines(body: bytes) -> list[tuple[int, bytes]]:
    return [(n, line) for n, line in enumerate(body.split(b"\n"), start=1) if line.strip()]


def _line(number: int, line: bytes) -> Any:
    try:
        return _decode(line)
    except _UNREADABLE as error:
        raise _malformed(error, f"line {number} of JSON Lines") from error


def _malformed(error: Exception, what: str) -> MalformedError:
    return MalformedError(f"found a body that is no {what}: {error!s:.200}")


def _items(found: Sequence[Any], colons: int, texts: Callable[[], Sequence[bytes]]) -> Asked:
    """Each member; `texts` are theirs, which are looked at where there are more colons than keys."""
    _require_few(found)
    pairs = [_item(one, n) for n, one in enumerate(found)]
    inner = sum([len(x) for one, (x, _) in zip(found, pairs, strict=True) if x is not one])
    if colons != sum(map(len, found)) + inner:
        _require_once(found, texts())
    return Asked([x for x, _ in pairs], [key for _, key in pairs], many=True)


def _require_few(found: Sequence[Any]) -> None:
    if len(found) > MOST_ITEMS:
        msg = f"found {len(found)} items, expected at most {MOST_ITEMS} in a request"
        raise UnprocessableError(msg)


def _require_once(found: Sequence[Any], texts: Sequence[bytes]) -> None:
    """UnprocessableError names each item that has a key twice, and the key."""
    faults = []
    for n, (one, text) in enumerate(zip(found, texts, strict=True)):
        name = _repeated(one, text)
        if name is not None:
            detail = f"found the key {name!r:.80} more than once in one object, expected it once"
            faults.append({"item": n, "feature": name, "reason": Reason.REPEATED_KEY, "detail": detail})
    if faults:
        msg = f"found repeated keys in {len(faults)} of {len(found)} items: {faults[0]['detail']}"
        raise UnprocessableError(msg, errors=faults[:MOST_TOLD])


def _repeated(one: Any, text: bytes) -> str | None:
    x, _ = _item(one, 0)
    objects = [one] if x is one else [one, x]
    keys = sum(map(len, objects))
    if text.count(b":") == keys or colons_explained(text, keys, chain(*objects, *(each.values() for each in objects))):
        return None
    try:
        return repeated_key(text)
    except RecursionError as error:
        raise _malformed(error, "JSON") from error


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
    _require_few(rows)
    cells = [[read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows]
    return Asked([dict(zip(names, row, strict=True)) for row in cells], [None] * len(cells), many=True)


def _reader(kind: Kind | None) -> Callable[[str], Scalar]:
    """How cells of a feature are read: text stays text where the model knows the feature as text."""
    return _text if kind is Kind.STRING else cell_value


def _text(cell: str) -> Scalar:
    return cell if cell.strip() else None


_READERS: Mapping[str, Callable[[bytes, str, Judgement], Asked]] = {
    "application/json": _json,
    "": _json,
    "application/jsonlines": _json_lines,
    "application/x-ndjson": _json_lines,
    "application/jsonl": _json_lines,
    "text/csv": _csv,
}
