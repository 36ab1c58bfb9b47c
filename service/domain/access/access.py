"""Who asks, and what they may do."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.errors import ConfigurationError


class AccessRole(StrEnum):
    """What a token allows; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "AccessRole") -> bool:
        """Whether this role may do what needs that one."""
        order = list(AccessRole)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks; `models` are those it may see, None for all; `token` is the number of its token, if it has one."""

    name: str
    role: AccessRole
    models: frozenset[str] | None = None
    token: int | None = None

    def may(self, needed: AccessRole, model: str | None) -> bool:
        """Whether it may do what needs that role, to that model or to none in particular."""
        return self.role.covers(needed) and (model is None or self.sees(model))

    def sees(self, model: str) -> bool:
        """Whether the model is among its own."""
        return self.models is None or model in self.models


ANONYMOUS = Principal("anonymous", AccessRole.ADMIN)
"""Everybody who reaches a server that listens on a loopback address and asks for no token."""

TOKEN_PREFIX = "hrt_"  # noqa: S105 - how each token begins, no token
"""By which scanners of secrets know a token of Headrace."""
RESERVED_NAMES = frozenset({ANONYMOUS.name, "trainer", "learner", "headrace"})
"""Names that the audit gives to others."""
TOKEN_NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"  # noqa: S105 - the form of a name
"""What a token may be called."""


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What a token is to allow; `lifetime_s` is None for one that does not expire."""

    name: str
    role: AccessRole
    models: frozenset[str] | None = None
    lifetime_s: float | None = None

    def __post_init__(self) -> None:
        """ConfigurationError for a name or a scope that cannot be."""
        if not re.fullmatch(TOKEN_NAME_PATTERN, self.name, re.ASCII) or self.name in RESERVED_NAMES:
            msg = (
                f"found the token's name {self.name!r}, expected one like deploy-eu: a letter, then letters, digits, "
                f"- . or _, and none of {', '.join(sorted(RESERVED_NAMES))}"
            )
            raise ConfigurationError(msg)
        if self.models is not None and not self.models:
            msg = "found no models, expected some, or none given for all; see `headrace model list`"
            raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the registry knows it: everything but its secret. `key` is its public part."""

    id: int
    key: str
    name: str
    role: AccessRole
    models: frozenset[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def principal(self) -> Principal:
        """Who holds it."""
        return Principal(self.name, self.role, self.models, self.id)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role.value,
            "models": None if self.models is None else sorted(self.models),
            "begins_with": f"{TOKEN_PREFIX}{self.key}",
            "created_at": self.created_at,
            "created_by": self.created_by,
            "expires_at": self.expires_at,
            "used_at": self.used_at,
            "revoked_at": self.revoked_at,
        }
