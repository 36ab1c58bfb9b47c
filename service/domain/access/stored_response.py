"""The stored response to an HTTP write, returned again when the same request is repeated."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response; `request` is the digest of the request that it answered."""

    request: str
    status: int
    headers: Mapping[str, str]
    body: bytes
