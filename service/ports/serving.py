"""TODO docstring of service/ports/serving.py"""

from collections.abc import Sequence
from typing import Protocol

from service.domain.access.access import Token, TokenGrant
from service.domain.access.stored_response import StoredResponse
from service.domain.registry.champion_state import ChampionState


class RegistryWatcher(Protocol):
    """Waits for the registry to change; one thread uses it."""

    def wait(self, *, timeout_s: float) -> bool:
        """Whether something may have been committed; at once the first time. UnavailableError."""
        ...

    def close(self) -> None:
        """Release its connection."""
        ...


class ChampionFeed(Protocol):
    """Which states stand for their models."""

    def newest(self) -> Sequence[ChampionState]:
        """Every champion's newest checkpoint, by the names of the models."""
        ...

    def oldest_append_ms(self, champion: ChampionState, *, after: int) -> int | None:
        """When the oldest record was appended that its lineage has learned since the commit `after`, if known."""
        ...

    def watch(self) -> RegistryWatcher:
        """Be told of new ones, in one thread."""
        ...


class Tokens(Protocol):
    """Who may ask over HTTP; the secret of a token is told once and kept nowhere."""

    def create(self, grant: TokenGrant, *, actor: str) -> tuple[Token, str]:
        """The token and its text; RefusedError where one of that name is in force."""
        ...

    def verify(self, text: str) -> Token | None:
        """The token of that text, if it is in force; the same work for every text that looks like one."""
        ...

    def list(self, *, revoked: bool = False) -> Sequence[Token]:
        """Those in force and expired, oldest first, or all that ever were."""
        ...

    def revoke(self, which: str, *, actor: str, reason: str) -> Token:
        """By name or number; NotFoundError names those there are."""
        ...


class StoredResponses(Protocol):
    """What writes over HTTP were answered, by their idempotency keys."""

    def claim(self, owner: str, key: str, *, request_digest: str) -> StoredResponse | None:
        """None where it is this caller's to answer; the answer there is; ConflictingKeyError where it is another's."""
        ...

    def save(self, owner: str, key: str, response: StoredResponse) -> None:
        """The answer of whoever has claimed it."""
        ...

    def release(self, owner: str, key: str) -> None:
        """It was not answered for good; the next may try."""
        ...
