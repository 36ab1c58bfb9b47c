"""An answer that was given to a write over HTTP, to be given again to the same request."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`request` is the digest of what was asked."""

    request: str
    status: int
    headers: Mapping[str, str]
    body: bytes
