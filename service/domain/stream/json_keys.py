"""Detection of keys that repeat within a JSON object, which parsers silently merge."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any


def has_unique_keys(raw: bytes, keys: int, texts: Iterable[object]) -> bool:
    """Return whether the keys and the strings among `texts` account for every colon of the document.

    Every key as written brings one colon, so an equal count proves that none is repeated. Return False if the document
    has an escape, which could hide a colon of a string.
    """
    if b"\\" in raw:
        return False
    written = "".join([text for text in texts if isinstance(text, str)])
    return raw.count(b":") == keys + written.count(":")


def find_repeated_key(raw: bytes) -> str | None:
    """Return a key that repeats within one object, at any depth, or None; slow, because it visits every pair."""
    repeated: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        counts = Counter(name for name, _ in members)
        if len(counts) < len(members):
            repeated.append(counts.most_common(1)[0][0])

    json.loads(raw, object_pairs_hook=pairs, parse_int=len)
    return repeated[0] if repeated else None
