"""JSON objects that name a key more than once, which no parsed document can show."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any


def has_unique_keys(raw: bytes, keys: int, texts: Iterable[object]) -> bool:
    """Whether the keys and the strings among `texts` account for every colon.

    Each key as written brings a colon, so this proves that none is repeated; an escape could hide a colon of a string.
    """
    if b"\\" in raw:
        return False
    written = "".join([text for text in texts if isinstance(text, str)])
    return raw.count(b":") == keys + written.count(":")


def find_repeated_key(raw: bytes) -> str | None:
    """One that stands more than once in an object of the text, at any depth; looks at every pair of it."""
    repeated: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        counts = Counter(name for name, _ in members)
        if len(counts) < len(members):
            repeated.append(counts.most_common(1)[0][0])

    json.loads(raw, object_pairs_hook=pairs, parse_int=len)
    return repeated[0] if repeated else None
