"""Split a request's body into records, each with the bytes in which it arrived."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from service.serving.edge.errors import MalformedError, UnprocessableError, UnsupportedMediaError

MAX_RECORDS = 10_000
_decode_members = msgspec.json.Decoder(list[msgspec.Raw]).decode


def split_body(content_type: str, body: bytes, *, columns: Sequence[str] | None) -> list[bytes]:
    """Return the records of a JSON object, JSON list or JSON Lines, or of CSV if `columns` are given.

    A CSV header that names the columns is dropped. Raise UnsupportedMediaError, MalformedError or UnprocessableError.
    """
    kind = content_type.partition(";")[0].strip().lower()
    readers = _READERS if columns is None else _CSV_READERS
    read = readers.get(kind)
    if read is None:
        known = ", ".join(filter(None, readers))
        msg = f"found a body of type {content_type!r:.80}, expected one of {known}, as the model's records are"
        raise UnsupportedMediaError(msg)
    found = read(body)
    if columns is not None and found and found[0] == ",".join(columns).encode():
        del found[0]
    if not found:
        msg = "found no records in the body, expected at least one"
        raise UnprocessableError(msg)
    if len(found) > MAX_RECORDS:
        msg = f"found {len(found)} records, expected at most {MAX_RECORDS} in a request; nothing was appended"
        raise UnprocessableError(msg)
    return found


def _split_json(body: bytes) -> list[bytes]:
    """Return one object, or each member of a list, in its original bytes."""
    body = body.strip()
    if not body.startswith(b"["):
        return [body] if body else []
    try:
        return [bytes(one).strip() for one in _decode_members(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"found a body that is no JSON: {error!s:.200}; nothing was appended"
        raise MalformedError(msg) from error


def _split_lines(body: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in body.split(b"\n") if line.strip()]


_READERS: Mapping[str, Callable[[bytes], list[bytes]]] = {
    "application/json": _split_json,
    "": _split_json,
    "application/x-ndjson": _split_lines,
    "application/jsonl": _split_lines,
    "application/jsonlines": _split_lines,
}
_CSV_READERS: Mapping[str, Callable[[bytes], list[bytes]]] = {"text/csv": _split_lines, "": _split_lines}
