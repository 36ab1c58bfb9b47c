"""Principals, their roles, and the tokens that authenticate them."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.errors import ConfigurationError


class AccessRole(StrEnum):
    """The role of a principal; each role includes the permissions of those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "AccessRole") -> bool:
        """Return whether this role includes `needed`."""
        order = list(AccessRole)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller; `models` are those it may see (None for all), `token` is the id of its token, if any."""

    name: str
    role: AccessRole
    models: frozenset[str] | None = None
    token: int | None = None

    def may(self, needed: AccessRole, model: str | None) -> bool:
        """Return whether the role suffices and the model, if one is named, is visible."""
        return self.role.covers(needed) and (model is None or self.sees(model))

    def sees(self, model: str) -> bool:
        """Return whether the caller may see this model."""
        return self.models is None or model in self.models


ANONYMOUS = Principal("anonymous", AccessRole.ADMIN)
"""The caller of a server that listens on a loopback address and requires no token."""

TOKEN_PREFIX = "hrt_"  # noqa: S105 - how each token begins, no token
"""Marks Headrace tokens, so that secret scanners recognize them."""
RESERVED_NAMES = frozenset({ANONYMOUS.name, "trainer", "learner", "headrace"})
"""Names that the audit log uses for other actors."""
TOKEN_NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"  # noqa: S105 - the form of a name
"""The allowed form of a token's name."""


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """A request for a new token; `lifetime_s` is None for one that never expires."""

    name: str
    role: AccessRole
    models: frozenset[str] | None = None
    lifetime_s: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigurationError for an invalid or reserved name, or an empty set of models."""
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
    """A token as the registry stores it, without its secret; `key` is its public part."""

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
        """Return the principal that this token authenticates."""
        return Principal(self.name, self.role, self.models, self.id)

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it is shown."""
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
