"""Protocols of serving: champion states, tokens, and responses stored under idempotency keys."""

from collections.abc import Sequence
from typing import Protocol

from service.domain.access.access import Token, TokenGrant
from service.domain.access.stored_response import StoredResponse
from service.domain.registry.champion_state import ChampionState


class RegistryWatcher(Protocol):
    """Waits for the registry to change; used by one thread."""

    def wait(self, *, timeout_s: float) -> bool:
        """Return whether something may have been committed, at once on the first call; raise UnavailableError."""
        ...

    def close(self) -> None:
        """Close the watcher's connection."""
        ...


class ChampionFeed(Protocol):
    """The states that serve."""

    def newest(self) -> Sequence[ChampionState]:
        """Return every champion's newest checkpoint, ordered by model name."""
        ...

    def oldest_append_ms(self, champion: ChampionState, *, after: int) -> int | None:
        """Return when the oldest record that the lineage learned after commit `after` was appended, if known."""
        ...

    def watch(self) -> RegistryWatcher:
        """Return a watcher for changes, to be used by one thread."""
        ...


class Tokens(Protocol):
    """The tokens of HTTP callers; a token's secret is shown once and never stored."""

    def create(self, grant: TokenGrant, *, actor: str) -> tuple[Token, str]:
        """Return the new token and its text, or raise RefusedError if one of that name is in force."""
        ...

    def verify(self, text: str) -> Token | None:
        """Return the token if it is in force, or None; takes equally long for every well-formed text."""
        ...

    def list(self, *, revoked: bool = False) -> Sequence[Token]:
        """Return tokens in force and expired ones, oldest first; with `revoked` all that ever were."""
        ...

    def revoke(self, which: str, *, actor: str, reason: str) -> Token:
        """Revoke the token of this name or id, or raise NotFoundError, which names the existing ones."""
        ...


class StoredResponses(Protocol):
    """Responses to HTTP writes, stored under their idempotency keys."""

    def claim(self, owner: str, key: str, *, request_digest: str) -> StoredResponse | None:
        """Return the stored response, or None if the caller has to carry out the request.

        Raise IdempotencyKeyError if the key was used for another request.
        """
        ...

    def save(self, owner: str, key: str, response: StoredResponse) -> None:
        """Store the response of the request that claimed the key."""
        ...

    def release(self, owner: str, key: str) -> None:
        """Give up the claim, because the request came to no final response; a repetition may try again."""
        ...
